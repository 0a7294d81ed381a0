"""Curves: whole pictures, and that no width or number breaks them; and as files."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from chargen.insight.plot import Axis, Figure, Plot, Series, axes_of, tick_text
from chargen.terminal.charts import render_figure
from chargen.terminal.export import export
from chargen.terminal.palette import Palette

PLAIN, COLOUR, ASCII = Palette(), Palette(depth=1 << 24), Palette(ascii=True)
EVIL = '"><script>alert(1)</script>\x1b[2J\u202e\x00&amp;]]>'


def figure(*curves, notes=(), **options) -> Figure:
    series = tuple(
        Series(name=name, x=np.arange(len(y), dtype=float), y=np.array(y, float))
        for name, y in curves
    )
    plot = Plot(series=series, x_label="steps", y_label="loss", **options)
    return Figure(title="a title", plots=(plot,), notes=notes)


def test_a_whole_picture_without_colours():
    drawn = figure(("down", [3, 2, 1]), ("up", [1, 2, 3]), notes=("so",))
    assert render_figure(drawn, PLAIN, 30) == [
        "a title",
        "loss",
        "  3│●                        ○",
        "   │ ●●                    ○○ ",
        "   │   ●●                ○○   ",
        "   │     ●●            ○○     ",
        "2.5│       ●          ○       ",
        "   │        ●●      ○○        ",
        "   │          ●●  ○○          ",
        "   │            ●○            ",
        "  2│            ○●            ",
        "   │          ○○  ●●          ",
        "   │        ○○      ●●        ",
        "1.5│       ○          ●       ",
        "   │     ○○            ●●     ",
        "   │   ○○                ●●   ",
        "   │ ○○                    ●● ",
        "  1│○                        ●",
        "   └──────────────────────────",
        "    0           1            2",
        "                         steps",
        "● down  ○ up",
        "so",
    ]


def test_dots_have_the_colour_of_their_series():
    lines = render_figure(figure(("a", [0, 1])), COLOUR, 40)
    dots = "".join(lines)
    assert "\x1b[38;2;86;180;233m" in dots
    assert any(0x2800 < ord(character) <= 0x28FF for character in dots)
    shown = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    # A straight line through all rows: a braille row has four dots.
    assert sum(any(0x2800 < ord(character) <= 0x28FF for character in line) for line in shown) == 16


def test_ascii_is_ascii():
    assert "".join(render_figure(figure(("a", [0, 1]), ("b", [1, 0])), ASCII, 60)).isascii()


@given(
    st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5), max_size=3),
    st.integers(20, 130),
    st.sampled_from([PLAIN, COLOUR, ASCII]),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_no_number_and_no_width_breaks_it(curves, width, palette, log_x, log_y, points):
    drawn = figure(
        *((f"s{number}", y) for number, y in enumerate(curves)),
        log_x=log_x,
        log_y=log_y,
        points=points,
    )
    for line in render_figure(Figure(title="t", plots=drawn.plots * 3), palette, width):
        assert wcswidth(re.sub(r"\x1b\[[\d;]*m", "", line)) <= width


def test_plots_stand_side_by_side_where_there_is_room():
    plot = figure(("a", [1, 2])).plots[0]
    wide = render_figure(Figure(title="t", plots=(plot, plot)), PLAIN, 79)
    narrow = render_figure(Figure(title="t", plots=(plot, plot)), PLAIN, 60)
    assert len(narrow) > 1.5 * len(wide)
    assert wide[1].count("loss") == 2


@pytest.mark.parametrize(
    ("axis", "count", "expected"),
    [
        (Axis(0, 1, False), 4, [0, 0.5, 1]),
        (Axis(0, 200, False), 4, [0, 50, 100, 150, 200]),
        (Axis(1.9, 2.6, False), 4, [2, 2.2, 2.4, 2.6]),
        (Axis(1, 1000, True), 4, [1, 10, 100, 1000]),
        (Axis(1e-8, 1, True), 3, [1e-8, 1e-4, 1]),
        (Axis(2, 5, True), 4, [2, 3, 4, 5]),
    ],
)
def test_ticks_are_round(axis, count, expected):
    assert axis.ticks(count) == pytest.approx(expected)


def test_places_on_axes():
    across, up = axes_of(figure(("a", [5, 0, 10, np.nan]), log_y=True).plots[0])
    np.testing.assert_allclose(across.positions(np.array([0, 3])), [0, 1])
    np.testing.assert_allclose(up.positions(np.array([5, 10, 0, np.nan])), [0, 1, np.nan, np.nan])
    (_, flat) = axes_of(figure(("a", [2, 2])).plots[0])
    assert flat.positions(np.array([2])) == 0.5


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (200, "200"), (1e-5, "1e-5"), (2.0, "2")]
)
def test_numbers_beside_an_axis(value, text):
    assert tick_text(value) == text


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("ending", [".svg", ".html"])
def test_files_are_sound_and_hold_nothing_hostile(points, ending):
    x = np.array([1.0, 2.0, np.nan, 4.0])
    series = Series(name=EVIL, x=x, y=x[::-1].copy(), labels=(EVIL,) * 4)
    plot = Plot(series=(series, series), x_label=EVIL, y_label=EVIL, title=EVIL, points=points)
    path = Path(f"a{ending}")
    export(Figure(title=EVIL, plots=(plot,) * 4, notes=(EVIL,)), path)
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    if ending == ".svg":
        root = ElementTree.fromstring(text)
        assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 16
        assert len(list(root.iter("{http://www.w3.org/2000/svg}title"))) == 16


def test_an_empty_figure_is_drawn():
    export(figure(), Path("a.svg"))
    ElementTree.parse("a.svg")
    assert render_figure(figure(), COLOUR, 50)[0] == "a title"
