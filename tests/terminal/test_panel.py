"""The panel: text above, picture below, through a terminal's eyes."""

from __future__ import annotations

import io
from os import terminal_size

import pyte
import pytest

from chargen.terminal.panel import Panel


class Glass:
    """A terminal of some size that a panel and a text write to."""

    def __init__(self, columns: int = 30, rows: int = 12) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.screen.set_mode(pyte.modes.LNM)
        self.stream = pyte.Stream(self.screen)
        self.out = io.StringIO()
        self.rows = rows
        self.columns = columns

    def size(self) -> terminal_size:
        return terminal_size((self.columns, self.rows))

    def look(self) -> list[str]:
        self.stream.feed(self.out.getvalue())
        self.out.seek(0)
        self.out.truncate()
        return [line.rstrip() for line in self.screen.display]


@pytest.fixture
def glass() -> Glass:
    return Glass()


def test_text_goes_on_above_the_picture(glass):
    panel = Panel(glass.out, glass.size)
    for number in range(30):
        glass.out.write(f"line {number}\n")
        panel.show([f"picture {number}", "legend"])
        lines = glass.look()
        assert lines[-2:] == [f"picture {number}", "legend"]
        assert f"line {number}" in lines[:10]
    panel.close()
    lines = glass.look()
    assert "legend" not in lines
    assert "line 29" in lines
    glass.out.write("and on")
    assert "and on" in glass.look()


def test_text_in_the_middle_of_a_line_stays_where_it_is(glass):
    panel = Panel(glass.out, glass.size)
    glass.out.write("\n" * 11 + "half of ")
    panel.show(["picture"] * 3)
    glass.out.write("a line")
    panel.show(["picture"] * 3)
    assert "half of a line" in glass.look()
    panel.close()
    glass.out.write(", all of it")
    assert "half of a line, all of it" in glass.look()


def test_only_rows_that_changed_are_written(glass):
    panel = Panel(glass.out, glass.size)
    panel.show(["one", "two", "three"])
    glass.look()
    panel.show(["one", "2", "three"])
    assert glass.out.getvalue().count("\x1b[K") == 1
    glass.look()
    panel.show(["one", "2", "three"])
    assert glass.out.getvalue() == ""


def test_another_size_draws_it_anew(glass):
    panel = Panel(glass.out, glass.size)
    glass.out.write("text\n")
    panel.show(["one", "two"])
    glass.look()
    glass.columns, glass.rows = 20, 8
    glass.screen.resize(8, 20)
    assert panel.is_stale
    panel.show(["three", "four"])
    lines = glass.look()
    assert lines[-2:] == ["three", "four"]
    assert "one" not in lines


def test_a_higher_picture_makes_itself_room(glass):
    panel = Panel(glass.out, glass.size)
    glass.out.write("\n" * 11 + "text")
    panel.show(["one"])
    panel.show(["one", "two", "three"])
    lines = glass.look()
    assert lines[-3:] == ["one", "two", "three"]
    assert "text" in lines[:-3]


def test_nothing_to_show_is_nothing(glass):
    panel = Panel(glass.out, glass.size)
    panel.show([])
    panel.close()
    assert glass.out.getvalue() == ""
    glass.rows = 5
    assert panel.room() == (29, 0)
