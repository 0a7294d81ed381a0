"""A figure as .svg and .html, with the values under the pointer; grids and figures as .png.

Every text passes SafeText; in .svg and .html it is escaped, and nothing refers to anything
outside of the file. Only .png needs matplotlib, which is an extra.
"""

from __future__ import annotations

import io
import warnings
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.errors import UsageError
from chargen.insight.plot import Axis, Figure, Plot, Series, axes_of, tick_text
from chargen.insight.views import Grid
from chargen.terminal.export.grid import FONT, escaped, frame, hex_colours, ink_and_paper
from chargen.terminal.heatmap import column_label
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import safe_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Pixels of the svg: a plot's width alone and beside others, its height, and the room around the
# area between its axes.
_WIDTH_ALONE, _WIDTH, _HEIGHT = 640, 330, 280
_LEFT, _TOP, _BOTTOM, _RIGHT = 64, 44, 44, 16
_LINE_HEIGHT, _CHARACTER_WIDTH = 18, 8
_PLOTS_PER_ROW = 3
_MAX_POINTS_WITH_VALUE = 400
"""Points of a curve that show their value under the pointer; more would make a large file."""


def svg(figure: Figure, palette: Palette) -> bytes:
    """A picture that scales: plots in rows of three, under them their legends and the notes."""
    count = len(figure.plots)
    plot_width = _WIDTH_ALONE if count == 1 else _WIDTH
    parts, top = [f'<text x="12" y="20">{escaped(figure.title)}</text>'], 28
    for first in range(0, count, _PLOTS_PER_ROW):
        row = figure.plots[first : first + _PLOTS_PER_ROW]
        for number, plot in enumerate(row):
            parts.append(_plot_svg(plot, palette, number * plot_width, top, plot_width))
        top += _HEIGHT + _LINE_HEIGHT * max((_legend_rows(plot) for plot in row), default=0)
    title_width = 24 + _CHARACTER_WIDTH * len(safe_line(figure.title))
    width = max(min(count, _PLOTS_PER_ROW) * plot_width, title_width)
    for note in figure.notes:
        for line in wrap(safe_line(note), (width - 24) // _CHARACTER_WIDTH):
            top += _LINE_HEIGHT
            parts.append(f'<text x="12" y="{top}">{escaped(line)}</text>')
    return frame("\n".join(parts) + "\n", width, top + 14, figure.title, palette)


def page(figure: Figure, palette: Palette) -> bytes:
    """The svg on one page that works offline."""
    ink, paper = ink_and_paper(palette)
    picture = svg(figure, palette).decode()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escaped(figure.title)}</title>\n"
        f"<style>body {{ background: {paper}; color: {ink}; font: 14px/1.4 {FONT}; }} "
        "svg { max-width: 100%; height: auto; }</style>\n"
        f"</head>\n<body>\n{picture}</body>\n</html>\n"
    ).encode()


def _legend_rows(plot: Plot) -> int:
    return sum(bool(series.name) for series in plot.series) if len(plot.series) > 1 else 0


def _line_colour(number: int, palette: Palette) -> str:
    red, green, blue = palette.line_rgb(number)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _plot_svg(plot: Plot, palette: Palette, left: int, top: int, width: int) -> str:
    """One plot, whose upper left corner is at (left, top)."""
    across, up = axes_of(plot)
    x0, y0 = left + _LEFT, top + _TOP
    inner_width, inner_height = width - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    heading = f"{plot.title}: {plot.y_label}" if plot.title else plot.y_label
    parts = [
        f'<text x="{left + 12}" y="{top + 24}" font-size="12">{escaped(heading)}</text>',
        f'<path d="M{x0} {y0}v{inner_height}h{inner_width}" fill="none" stroke="currentColor" '
        'opacity="0.5"/>',
        f'<text x="{x0 + inner_width}" y="{y0 + inner_height + 34}" text-anchor="end" '
        f'font-size="12">{escaped(plot.x_label)}</text>',
        *_ticks_svg(across, up, x0, y0, inner_width, inner_height, width),
    ]
    for number, series in enumerate(plot.series):
        x = x0 + across.positions(series.x) * inner_width
        y = y0 + (1 - up.positions(series.y)) * inner_height
        parts += _series_svg(series, x, y, _line_colour(number, palette), plot.points)
    if _legend_rows(plot):
        for number, series in enumerate(plot.series):
            baseline = top + _HEIGHT + _LINE_HEIGHT * number
            parts.append(
                f'<rect x="{x0}" y="{baseline - 10}" width="10" height="10" '
                f'fill="{_line_colour(number, palette)}"/>'
                f'<text x="{x0 + 16}" y="{baseline}" font-size="12">{escaped(series.name)}</text>'
            )
    return "\n".join(parts)


def _series_svg(series: Series, x: Any, y: Any, colour: str, points: bool) -> list[str]:
    """A curve, or points, at the pixels x (N,) and y (N,); with values for the pointer to find."""
    finite = np.isfinite(x) & np.isfinite(y)
    shown = np.flatnonzero(finite)
    opacity, radius = ("0.7", "2.2") if points else ("0", "5")
    parts = []
    if not points:
        path = "".join(
            f"{'L' if index and finite[index - 1] else 'M'}{x[index]:.1f} {y[index]:.1f}"
            for index in shown
        )
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shown = shown[:: max(1, len(shown) // _MAX_POINTS_WITH_VALUE)]
    for index in shown:
        label = series.labels[index] if series.labels else series.name
        tip = f"{label}: {tick_text(float(series.x[index]))}, {tick_text(float(series.y[index]))}"
        parts.append(
            f'<circle cx="{x[index]:.1f}" cy="{y[index]:.1f}" r="{radius}" fill="{colour}" '
            f'fill-opacity="{opacity}"><title>{escaped(tip)}</title></circle>'
        )
    return parts


def _ticks_svg(
    across: Axis, up: Axis, x0: int, y0: int, inner_width: int, inner_height: int, width: int
) -> list[str]:
    """The numbers along both axes, and thin lines at those of the vertical one."""
    parts = []
    values = across.ticks(max(2, width // 90))
    for value, position in zip(values, across.positions(np.array(values)), strict=True):
        if np.isfinite(position):
            x = x0 + position * inner_width
            parts.append(
                f'<text x="{x:.1f}" y="{y0 + inner_height + 16}" text-anchor="middle" '
                f'font-size="11">{tick_text(value)}</text>'
            )
    values = up.ticks(5)
    for value, position in zip(values, up.positions(np.array(values)), strict=True):
        if np.isfinite(position):
            y = y0 + (1 - position) * inner_height
            parts.append(
                f'<path d="M{x0} {y:.1f}h{inner_width}" stroke="currentColor" opacity="0.15"/>'
                f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="11">'
                f"{tick_text(value)}</text>"
            )
    return parts


def png(picture: Grid | Figure, palette: Palette) -> bytes:
    """A grid or a figure as pixels.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UsageError(
            "needs matplotlib; pip install 'chargen[plot]', or export .svg or .html"
        ) from error
    mpl.use("Agg")
    if isinstance(picture, Grid):
        canvas = _grid_canvas(picture, palette)
    else:
        canvas = _figure_canvas(picture, palette)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # matplotlib draws a box for a character that its font lacks; a warning helps no one.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        canvas.savefig(stream, format="png", dpi=120, bbox_inches="tight")
    return stream.getvalue()


def _grid_canvas(grid: Grid, palette: Palette) -> Any:
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure as Canvas

    ink, paper = ink_and_paper(palette)
    rows, columns = grid.values.shape
    canvas = Canvas(
        figsize=(max(6.0, columns * 0.12), max(1.6, rows * 0.12) + 1.0), facecolor=paper
    )
    axes = canvas.subplots()
    colours = ListedColormap(hex_colours(palette, grid.kind))
    axes.imshow(grid.values, cmap=colours, vmin=grid.low, vmax=grid.high, aspect="auto")
    labels = [_no_formula(column_label(text)[0]) for text in grid.column_labels]
    axes.set_xticks(range(columns), labels, fontfamily="monospace", fontsize=7)
    axes.set_yticks(range(rows), [_no_formula(label) for label in grid.row_labels], fontsize=6)
    axes.tick_params(colors=ink, length=0)
    axes.set_title(_no_formula(grid.title), color=ink, fontsize=9)
    return canvas


def _figure_canvas(figure: Figure, palette: Palette) -> Any:
    from matplotlib.figure import Figure as Canvas

    ink, paper = ink_and_paper(palette)
    count = len(figure.plots)
    canvas = Canvas(figsize=(7.0 if count == 1 else 4.0 * count, 4.4), facecolor=paper)
    all_axes: list[Axes] = list(canvas.subplots(1, count, squeeze=False)[0])
    for axes, plot in zip(all_axes, figure.plots, strict=True):
        axes.set_facecolor(paper)
        style = {"linestyle": "none", "marker": "."} if plot.points else {}
        for number, series in enumerate(plot.series):
            axes.plot(
                series.x,
                series.y,
                color=_line_colour(number, palette),
                label=_no_formula(series.name),
                **style,
            )
        axes.set_xscale("log" if plot.log_x else "linear")
        axes.set_yscale("log" if plot.log_y else "linear")
        axes.set(
            xlabel=_no_formula(plot.x_label),
            ylabel=_no_formula(plot.y_label),
            title=_no_formula(plot.title),
            xlim=plot.x_range,
            ylim=plot.y_range,
        )
        axes.tick_params(colors=ink)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(ink)
        if plot.series:
            axes.legend(fontsize=7)
    canvas.suptitle(_no_formula(figure.title), color=ink, fontsize=10)
    return canvas


def _no_formula(text: str) -> str:
    """Safe text for matplotlib, which would set what stands between dollars as mathematics."""
    return safe_line(text).replace("$", r"\$")
