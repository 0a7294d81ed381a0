"""A Figure as .svg and .html: curves or points, their values under the pointer.

Every text in it passes SafeText and is escaped; nothing in it refers to anything outside.

A Grid or a Figure as .png: pixels, by matplotlib, which is an extra.
"""

from __future__ import annotations

import html
import io
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.errors import UsageError
from chargen.insight.plot import Axis, Figure, Plot, axes_of, tick_text
from chargen.insight.views import Grid
from chargen.terminal.export.grid import FONT, frame, hex_colours, ink_and_paper
from chargen.terminal.heatmap import column_label
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import safe_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_WIDE, _NARROW, _HIGH = 640, 330, 280
_LEFT, _TOP, _BOTTOM, _RIGHT = 64, 44, 44, 16
_LINE = 18
_ABREAST = 3
_POINTED_AT = 400
"""Points of a series that say what they are; more would only make the file large."""


def svg(figure: Figure, palette: Palette) -> bytes:
    """A picture that scales."""
    count = len(figure.plots)
    own = _WIDE if count == 1 else _NARROW
    abreast = min(count, _ABREAST)
    parts, top = [f'<text x="12" y="20">{_text(figure.title)}</text>'], 28
    for first in range(0, count, _ABREAST):
        row = figure.plots[first : first + _ABREAST]
        for number, plot in enumerate(row):
            parts.append(_plot(plot, palette, number * own, top, own))
        top += _HIGH + _LINE * max((_legend_rows(one) for one in row), default=0)
    width = max(abreast * own, 24 + 8 * len(safe_line(figure.title)))
    for note in figure.notes:
        for line in wrap(safe_line(note), (width - 24) // 8):
            top += _LINE
            parts.append(f'<text x="12" y="{top}">{html.escape(line)}</text>')
    return frame("\n".join(parts) + "\n", width, top + 14, figure.title, palette)


def page(figure: Figure, palette: Palette) -> bytes:
    """The same on one page that works offline."""
    ink, paper = ink_and_paper(palette)
    picture = svg(figure, palette).decode()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_text(figure.title)}</title>\n"
        f"<style>body {{ background: {paper}; color: {ink}; font: 14px/1.4 {FONT}; }} "
        "svg { max-width: 100%; height: auto; }</style>\n"
        f"</head>\n<body>\n{picture}</body>\n</html>\n"
    ).encode()


def _text(text: str) -> str:
    return html.escape(safe_line(text))


def _legend_rows(plot: Plot) -> int:
    return sum(bool(one.name) for one in plot.series) if len(plot.series) > 1 else 0


def _colour(number: int, palette: Palette) -> str:
    red, green, blue = palette.line_rgb(number)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _plot(plot: Plot, palette: Palette, left: int, top: int, width: int) -> str:
    across, up = axes_of(plot)
    x0, y0 = left + _LEFT, top + _TOP
    wide, high = width - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM
    said = f"{plot.title}: {plot.y_label}" if plot.title else plot.y_label
    parts = [
        f'<text x="{left + 12}" y="{top + 24}" font-size="12">{_text(said)}</text>',
        f'<path d="M{x0} {y0}v{high}h{wide}" fill="none" stroke="currentColor" opacity="0.5"/>',
        f'<text x="{x0 + wide}" y="{y0 + high + 34}" text-anchor="end" font-size="12">'
        f"{_text(plot.x_label)}</text>",
        *_ticks(across, up, x0, y0, wide, high, width),
    ]
    for number, one in enumerate(plot.series):
        x = x0 + across.places(one.x) * wide
        y = y0 + (1 - up.places(one.y)) * high
        known = np.isfinite(x) & np.isfinite(y)
        colour = _colour(number, palette)
        if not plot.points:
            path = "".join(
                f"{'L' if place and known[place - 1] else 'M'}{x[place]:.1f} {y[place]:.1f}"
                for place in np.flatnonzero(known)
            )
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shown = np.flatnonzero(known)
        if not plot.points:  # what the pointer finds on a curve
            shown = shown[:: max(1, len(shown) // _POINTED_AT)]
        for place in shown:
            label = one.labels[place] if one.labels else one.name
            tip = f"{label}: {tick_text(float(one.x[place]))}, {tick_text(float(one.y[place]))}"
            seen = "0.7" if plot.points else "0"
            radius = "2.2" if plot.points else "5"
            parts.append(
                f'<circle cx="{x[place]:.1f}" cy="{y[place]:.1f}" r="{radius}" fill="{colour}" '
                f'fill-opacity="{seen}"><title>{_text(tip)}</title></circle>'
            )
    if _legend_rows(plot):
        for number, one in enumerate(plot.series):
            at = top + _HIGH + _LINE * number
            parts.append(
                f'<rect x="{x0}" y="{at - 10}" width="10" height="10" '
                f'fill="{_colour(number, palette)}"/>'
                f'<text x="{x0 + 16}" y="{at}" font-size="12">{_text(one.name)}</text>'
            )
    return "\n".join(parts)


def _ticks(
    across: Axis, up: Axis, x0: int, y0: int, wide: int, high: int, width: int
) -> list[str]:  # fmt: skip
    parts = []
    values = across.ticks(max(2, width // 90))
    for value, place in zip(values, across.places(np.array(values)), strict=True):
        if np.isfinite(place):
            x = x0 + place * wide
            parts.append(
                f'<text x="{x:.1f}" y="{y0 + high + 16}" text-anchor="middle" font-size="11">'
                f"{tick_text(value)}</text>"
            )
    values = up.ticks(5)
    for value, place in zip(values, up.places(np.array(values)), strict=True):
        if np.isfinite(place):
            y = y0 + (1 - place) * high
            parts.append(
                f'<path d="M{x0} {y:.1f}h{wide}" stroke="currentColor" opacity="0.15"/>'
                f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="11">'
                f"{tick_text(value)}</text>"
            )
    return parts


def png(picture: Grid | Figure, palette: Palette) -> bytes:
    """A picture of pixels.

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
    figure = _heat(picture, palette) if isinstance(picture, Grid) else _curves(picture, palette)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, bbox_inches="tight")
    return stream.getvalue()


def _heat(grid: Grid, palette: Palette) -> Any:
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure as Canvas

    ink, paper = ink_and_paper(palette)
    rows, columns = grid.values.shape
    figure = Canvas(
        figsize=(max(6.0, columns * 0.12), max(1.6, rows * 0.12) + 1.0), facecolor=paper
    )
    axes = figure.subplots()
    colours = ListedColormap(hex_colours(palette, grid.kind))
    axes.imshow(grid.values, cmap=colours, vmin=grid.low, vmax=grid.high, aspect="auto")
    labels = [_plain(column_label(one)[0]) for one in grid.column_labels]
    axes.set_xticks(range(columns), labels, fontfamily="monospace", fontsize=7)
    axes.set_yticks(range(rows), [_plain(one) for one in grid.row_labels], fontsize=6)
    axes.tick_params(colors=ink, length=0)
    axes.set_title(_plain(grid.title), color=ink, fontsize=9)
    return figure


def _curves(picture: Figure, palette: Palette) -> Any:
    from matplotlib.figure import Figure as Canvas

    ink, paper = ink_and_paper(palette)
    count = len(picture.plots)
    figure = Canvas(figsize=(7.0 if count == 1 else 4.0 * count, 4.4), facecolor=paper)
    every: list[Axes] = list(figure.subplots(1, count, squeeze=False)[0])
    for axes, plot in zip(every, picture.plots, strict=True):
        axes.set_facecolor(paper)
        for number, one in enumerate(plot.series):
            red, green, blue = palette.line_rgb(number)
            style = {"linestyle": "none", "marker": "."} if plot.points else {}
            axes.plot(
                one.x, one.y, color=(red / 255, green / 255, blue / 255), label=_plain(one.name),
                **style,
            )  # fmt: skip
        axes.set_xscale("log" if plot.log_x else "linear")
        axes.set_yscale("log" if plot.log_y else "linear")
        axes.set(xlabel=_plain(plot.x_label), ylabel=_plain(plot.y_label), title=_plain(plot.title),
                 xlim=plot.x_range, ylim=plot.y_range)  # fmt: skip
        axes.tick_params(colors=ink)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(ink)
        if plot.series:
            axes.legend(fontsize=7)
    figure.suptitle(_plain(picture.title), color=ink, fontsize=10)
    return figure


def _plain(text: str) -> str:
    """Safe, and no formula: matplotlib sets what stands between dollars as mathematics."""
    return safe_line(text).replace("$", r"\$")
