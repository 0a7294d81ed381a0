"""A Grid or a Figure as .png: pixels, by matplotlib, which is an extra."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from chargen.errors import UsageError
from chargen.insight.plot import Figure
from chargen.insight.views import Grid
from chargen.terminal.heatmap import column_label
from chargen.terminal.palette import Palette
from chargen.terminal.safetext import safe_line
from chargen.terminal.svg import hex_colours, ink_and_paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
