"""Drawings: the same picture through rich and as lines of ANSI, in every number of colours."""

from __future__ import annotations

import io

import numpy as np
import pyte
import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.table import Table

from chargen.inference.engine import Stepper
from chargen.insight.plot import Figure, Plot, Series
from chargen.insight.step import break_down_step
from chargen.insight.views import Grid
from chargen.terminal.charts import Chart, Sparkline
from chargen.terminal.drawing import MIN_WIDTH, Drawing, ansi_line, ansi_lines, fold
from chargen.terminal.heatmap import Heatmap
from chargen.terminal.palette import Palette
from chargen.terminal.step_display import StepDisplay
from tests.conftest import make_model

SYSTEMS = {0: None, 16: "standard", 256: "256", 1 << 24: "truecolor"}
EVIL = "\x1b[2J\x07\u202e\n"
WIDTH = 70


def grid(layout: str = "heat", text: str = "to be, or 中文\n") -> Grid:
    rows = 1 if layout == "text" else 5
    values = np.linspace(-1, 1, rows * len(text)).reshape(rows, -1).astype(np.float32)
    values[0, 3] = np.nan
    return Grid(
        values=values, row_labels=tuple("abcde"[:rows]), column_labels=tuple(text), low=-1.0,
        high=1.0, kind="diverging", title="a picture", layout=layout, notes=("a note",),
        cells=(tuple(text),) * rows if layout == "cells" else (),
    )  # fmt: skip


def figure() -> Figure:
    series = tuple(
        Series(name=name, x=np.arange(3.0), y=np.array(y, float))
        for name, y in (("down", [3, 2, 1]), ("up", [1, 2, 3]))
    )
    plot = Plot(series=series, x_label="steps", y_label="loss")
    return Figure(title="a title", plots=(plot, plot), notes=("so",))


def drawings(palette: Palette) -> dict[str, Drawing]:
    model = make_model("gru", 1)
    stepper = Stepper(model.config, model.weights)
    step = StepDisplay(
        breakdown=break_down_step(stepper, 3, stepper.zero_state()),
        vocabulary=[chr(97 + token) for token in range(model.config.vocab_size)],
        layer=0, palette=palette,
    )  # fmt: skip
    heatmaps = {
        layout: Heatmap(grid(layout), palette) for layout in ("heat", "text", "cells", "strips")
    }
    sparkline = Sparkline("L1:3", np.linspace(-1, 1, 40), palette.ascii)
    return {**heatmaps, "chart": Chart(figure(), palette), "sparks": sparkline, "step": step}


NAMES = tuple(drawings(Palette()))


def printed(renderable: object, depth: int = 0, width: int = WIDTH) -> str:
    """What rich writes."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, color_system=SYSTEMS[depth], force_terminal=True,
        legacy_windows=False, markup=False, highlight=False, _environ={},
    )  # fmt: skip
    console.print(renderable)
    return stream.getvalue()


def seen(text: str) -> list[list[tuple[object, ...]]]:
    """The characters and colours that a terminal shows."""
    screen = pyte.Screen(WIDTH + 10, 80)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return [[tuple(screen.buffer[y][x]) for x in range(WIDTH + 10)] for y in range(80)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", SYSTEMS)
def test_rich_shows_what_lines_of_ansi_show(name, depth):
    drawing = drawings(Palette(depth=depth))[name]
    lines = ansi_lines(drawing, WIDTH)
    assert seen(printed(drawing, depth)) == seen("\n".join(lines))
    if depth >= 256 and name != "sparks":
        assert "\x1b[" in "".join(lines)
    if depth == 0:
        assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [20, 33, 70])
def test_it_fits_the_column_of_a_table(name, width):
    table = Table(show_header=False)
    table.add_column()
    table.add_row(drawings(Palette(depth=256))[name])
    screen = seen(printed(table, 256, width))
    rows = ["".join(cell[0] for cell in row).rstrip() for row in screen]
    rows = [row for row in rows if row]
    assert {row[0] for row in rows[1:-1]} == {"│"}
    assert {row[-1] for row in rows[1:-1]} == {"│"}
    assert len(rows) > 2


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_for_the_width_that_it_takes(name):
    console = Console(width=WIDTH)
    drawing = drawings(Palette())[name]
    asked = drawing.__rich_measure__(console, console.options)
    widest = max(Segment.get_line_length(line) for line in drawing.lines(WIDTH))
    assert asked.maximum == widest <= WIDTH
    assert asked.minimum == min(MIN_WIDTH, widest)


def test_a_style_that_ends_leaves_nothing_behind():
    bold, red = Style(bold=True), Style(color="red")
    both = Style(color="red", bgcolor="blue")
    line = [Segment("a", bold), Segment("b", red), Segment("c", both), Segment("d", both),
            Segment("e", red), Segment("f")]  # fmt: skip
    assert ansi_line(line) == (
        "\x1b[1ma\x1b[0m\x1b[31mb\x1b[31;44mcd\x1b[0m\x1b[31me\x1b[0mf"
    )  # fmt: skip
    assert ansi_line([Segment("plain")]) == "plain"


@pytest.mark.parametrize("palette", [Palette(), Palette(depth=1 << 24)])
def test_hostile_texts_reach_no_segment(palette):
    values = np.zeros((1, 1), np.float32)
    grids = [
        Grid(
            values=values, row_labels=(EVIL,), column_labels=(EVIL,), low=-1.0, high=1.0,
            kind="diverging", title=EVIL, measure=EVIL, layout=layout, notes=(EVIL,),
            cells=((EVIL,),) if layout == "cells" else (),
        )
        for layout in ("heat", "text", "cells", "strips")
    ]  # fmt: skip
    series = Series(name=EVIL, x=np.arange(2.0), y=np.arange(2.0))
    plot = Plot(series=(series,), x_label=EVIL, y_label=EVIL, title=EVIL)
    step = drawings(palette)["step"]
    hostile = [
        *(Heatmap(grid, palette) for grid in grids),
        Chart(Figure(title=EVIL, plots=(plot,), notes=(EVIL,)), palette),
        Sparkline(EVIL, np.arange(3.0)),
        StepDisplay(
            breakdown=step.breakdown, vocabulary=[EVIL] * len(step.vocabulary), layer=0,
            palette=palette,
        ),
    ]  # fmt: skip
    for drawing in hostile:
        text = "".join(segment.text for line in drawing.lines(79) for segment in line)
        assert not set("\x1b\x07\u202e\n") & set(text)
        assert "␛" in text


def test_folded_text_is_safe_and_keeps_an_empty_line():
    assert fold("", 40) == [[Segment("")]]
    assert fold("to be or\x1b not to be", 12) == [[Segment("to be or␛")], [Segment("not to be")]]
