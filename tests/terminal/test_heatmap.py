"""Pictures in a terminal: exact lines, exact widths, in every number of colours."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from chargen.insight.views import Grid, surprise_view
from chargen.terminal.charts import spark_line, sparks
from chargen.terminal.heatmap import column_label, columns_that_fit, one_line, render
from chargen.terminal.palette import LEVELS, Palette, is_dark, luminance, make_palette

DEPTHS = (0, 16, 256, 1 << 24)


def grid_of(values, labels, **changes) -> Grid:
    values = np.array(values, np.float32)
    settings = {
        "values": values,
        "row_labels": tuple(str(row) for row in range(len(values))),
        "column_labels": tuple(labels),
        "low": -1.0,
        "high": 1.0,
        "kind": "diverging",
        "title": "a picture",
        "measure": "activation",
    }
    return Grid(**{**settings, **changes})


def bare(line: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", line)


SMALL = grid_of([[-1, 0, 1], [1, 0, -1], [0.5, np.nan, -0.5]], ["a", " ", "\n"])


def test_without_colours_shades_keep_the_meaning():
    assert render(SMALL, Palette(), 60) == [
        "0  ▒█",
        "1 █▒ ",
        "2 ▓ ░",
        "  a·⏎",
        "-1.0    ░░░▒▒▒▒▓▓▓███ +1.0  activation: a picture",
    ]


def test_ascii_alone_when_asked():
    lines = render(SMALL, Palette(ascii=True), 60)
    assert lines[:4] == ["0  +@@", "1 @+  ", "2 # ::", "  a \\n"]
    assert all(line.isascii() for line in lines)


def test_with_colours_a_line_holds_two_rows():
    palette = Palette(depth=1 << 24)
    lines = render(SMALL, palette, 60)
    least, middle, most = (
        ";".join(map(str, palette.rgb("diverging")[level])) for level in (0, 32, 63)
    )
    cells = [(least, most), (middle, middle), (most, least)]
    expected = "".join(f"\x1b[38;2;{upper};48;2;{lower}m▀" for upper, lower in cells)
    assert lines[0] == f"0 {expected}\x1b[0m"
    assert bare(lines[1]) == "2 ▀ ▀"
    assert bare(lines[2]) == "  a·⏎"
    assert len(lines) == 4


def test_sixteen_colours_show_the_sign_by_hue_and_the_size_by_shade():
    lines = render(SMALL, Palette(depth=16), 60)
    assert lines[0] == "0 \x1b[34m█\x1b[0m \x1b[33m█\x1b[0m"


def test_the_last_columns_are_shown_where_not_all_fit():
    grid = grid_of([list(np.linspace(-1, 1, 50))], [chr(97 + k % 26) for k in range(50)])
    lines = render(grid, Palette(), 22)
    assert lines[1] == "  " + "".join(chr(97 + k % 26) for k in range(30, 50))
    assert wcswidth(lines[0]) == 22


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["a", " ", "\n", "\t", "中", "é", "́", "א", "م", "👍", "", "ab", " the"]
            ),
            st.text(max_size=9),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(DEPTHS),
    st.booleans(),
    st.integers(20, 100),
)
def test_columns_stand_over_their_text_whatever_it_is_made_of(labels, depth, ascii, width):
    values = np.tile(np.linspace(-1, 1, len(labels)), (4, 1))
    palette = Palette(depth=depth, ascii=ascii)
    grid = grid_of(values, labels)
    lines = render(grid, palette, width)
    rows = 2 if palette.paints and not ascii else 4
    count = columns_that_fit(labels, width - 2, ascii=ascii)
    total = sum(column_label(text, ascii=ascii)[1] for text in labels[len(labels) - count :])
    for line in lines[: rows + 1]:
        shown = bare(line)
        assert "\n" not in shown
        marks = shown.replace("\u200e", "")
        assert wcswidth(marks) == 2 + total <= width
        assert not any(unicodedata.category(character) == "Cc" for character in shown)


@pytest.mark.parametrize("width", [20, 40, 79, 200])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("layout", ["heat", "text", "strips", "cells"])
def test_no_line_is_wider_than_the_screen(layout, depth, width):
    labels = list("to be, or not to be:\nthat is 中文 the question ") * 4
    text = layout == "text"
    rows = 1 if text else 6
    values = np.random.default_rng(0).uniform(-1, 1, (rows, len(labels)))
    cells = tuple(tuple(labels[k:] + labels[:k]) for k in range(rows)) if layout == "cells" else ()
    grid = grid_of(values, labels, layout=layout, cells=cells, notes=("a note " * 30,))
    for line in render(grid, Palette(depth=depth), width):
        assert wcswidth(bare(line)) <= width


def test_a_text_is_coloured_line_by_line():
    grid = surprise_view(np.array([np.nan, 8.0, 0.0]), ("a", "\n", "b"))
    palette = Palette(depth=256)
    least, most = (palette.colours("sequential")[level].number for level in (0, 63))
    lines = render(grid, palette, 60)
    assert lines[0] == f"\x1b[39;49ma\x1b[38;5;16;48;5;{most}m⏎\x1b[0m"
    assert lines[1] == f"\x1b[38;5;231;48;5;{least}mb\x1b[0m"
    assert render(grid, Palette(), 60)[:4] == ["a⏎", " █", "b", " "]


def test_unlikely_guesses_are_left_out_without_colours():
    grid = grid_of(
        [[0.9, 0.2], [0.05, 0.2]], ["a", "b"], low=0.0, kind="sequential", layout="cells",
        row_labels=("1", "2"), cells=(("x", "y"), ("z", "w")),
    )  # fmt: skip
    assert render(grid, Palette(), 60)[:3] == ["  ab", "1 xy", "2  w"]


def test_hostile_labels_are_harmless():
    evil = "\x1b[2J\x07\u202e"
    grid = grid_of([[0.0]], [evil], title=evil, row_labels=(evil,), measure=evil, notes=(evil,))
    for layout in ("heat", "text", "strips"):
        text = "\n".join(render(grid_of([[0.0]], [evil], title=evil, row_labels=(evil,),
                                        measure=evil, notes=(evil,), layout=layout),
                                Palette(), 80))  # fmt: skip
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert grid.title == evil


def test_white_space_is_made_visible():
    assert [column_label(text)[0] for text in (" ", "\n", "\t")] == ["·", "⏎", "→"]
    assert column_label("\u0301") == ("◌\u0301", 1)
    assert column_label("") == (" ", 1)
    assert one_line("a b\nc") == "a b⏎c"
    assert one_line("a b\nc", ascii=True) == "a b\\nc"
    assert column_label("א")[0] == "א\u200e"


def test_levels_reach_from_the_least_to_the_most():
    palette = Palette()
    levels = palette.levels(np.array([[-9.0, -1.0, 0.0, 0.999, 1.0, 9.0, np.nan]]), -1, 1)
    assert levels == [[0, 0, LEVELS // 2, LEVELS - 1, LEVELS - 1, LEVELS - 1, -1]]


@pytest.mark.parametrize("dark", [True, False])
def test_colours_of_a_ramp_grow_apart_in_brightness(dark):
    palette = Palette(depth=1 << 24, dark=dark)
    weights = np.array([0.2126, 0.7152, 0.0722])
    sequential = np.array(palette.rgb("sequential")) @ weights
    assert np.all(np.diff(sequential) * (1 if dark else -1) > -2)
    signed = np.array(palette.rgb("diverging")) @ weights
    toward = signed if dark else -signed
    assert toward.argmin() in range(24, 40), "the middle is nearest to the background"
    red, _, blue = np.array(palette.rgb("diverging")).T
    assert np.all(blue[:16] > red[:16])
    assert np.all(red[-16:] > blue[-16:])


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("kind", ["sequential", "diverging"])
def test_256_colours_come_near_the_true_ones(kind, dark):
    near = Palette(depth=256, dark=dark)
    colours = near.colours(kind)
    assert colours[-1].is_default
    for rgb, colour in zip(near.rgb(kind), colours, strict=False):
        assert colour.number >= 16, "the first sixteen depend on the terminal's theme"
        shown = colour.get_truecolor()
        assert max(abs(a - b) for a, b in zip(rgb, shown, strict=True)) <= 60


@pytest.mark.parametrize("dark", [True, False])
def test_256_colours_keep_the_sign_and_the_order(dark):
    palette = Palette(depth=256, dark=dark)
    signed = np.array([colour.get_truecolor() for colour in palette.colours("diverging")[:LEVELS]])
    red, _, blue = signed.T
    assert np.all(blue[:16] > red[:16])
    assert np.all(red[-16:] > blue[-16:])
    for kind, tolerance in (("sequential", 0.15), ("diverging", 0.1)):
        true = np.array([luminance(rgb) for rgb in palette.rgb(kind)])
        shown = np.array(
            [luminance(colour.get_truecolor()) for colour in palette.colours(kind)[:-1]]
        )
        assert np.abs(shown - true).max() < tolerance


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("depth", [16, 256, 1 << 24])
def test_curves_have_colours_of_their_own(depth, dark):
    palette = Palette(depth=depth, dark=dark)
    assert len({palette.line_style(number).color for number in range(6)}) == 6
    assert Palette().line_style(0) is None


@pytest.mark.parametrize(
    ("environ", "dark"),
    [({}, True), ({"COLORFGBG": "0;15"}, False), ({"COLORFGBG": "15;0"}, True),
     ({"COLORFGBG": "0;default;7"}, False), ({"COLORFGBG": "x"}, True)],
)  # fmt: skip
def test_the_background_is_what_the_terminal_says(environ, dark):
    assert is_dark(environ) is dark
    assert is_dark(environ, "light") is False
    assert is_dark(environ, "dark") is True


def test_the_depth_is_the_terminals():
    names = {"truecolor": 1 << 24, "256": 256, "standard": 16, None: 0}
    for name, depth in names.items():
        assert make_palette(name, {}, ascii=False).depth == depth


def test_sparks():
    assert sparks(np.array([-1, 0, 1, np.nan]), -1, 1) == "▁▅█ "
    assert sparks(np.array([-1, 0, 1]), -1, 1, ascii=True) == "_+@"
    assert spark_line("L1:3", np.array([-1.0, 1.0]), 20) == "L1:3 ▁█        +1.00"
    assert spark_line("L1:3", np.zeros(0), 12) == "L1:3        "
    assert len(spark_line("L1:3", np.zeros(50), 9)) == 9


def test_a_painted_heatmap_survives_a_terminal():
    screen = pyte.Screen(40, 10)
    lines = render(SMALL, Palette(depth=1 << 24), 39)
    pyte.Stream(screen).feed("\r\n".join(lines))
    assert screen.buffer[0][2].data == "▀"
    assert screen.buffer[0][2].fg != screen.buffer[0][2].bg
