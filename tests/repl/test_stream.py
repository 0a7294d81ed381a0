"""The stream: what reaches the screen, what keys do, what copies look like."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from os import terminal_size

import numpy as np
import pytest

from chargen.api import Model
from chargen.errors import ChargenError
from chargen.repl.keys import STOP
from chargen.repl.screen import Screen
from chargen.repl.session import Session
from chargen.repl.settings import change_sample, set_value
from chargen.repl.stream import Stream
from chargen.terminal.context import Terminal
from chargen.terminal.palette import Palette
from chargen.text.overlap import MIN_COPY_SYMBOLS, CopyWatch, build_index
from tests.conftest import CYCLE, make_cycle_model, make_model
from tests.text.test_overlap import longest_copies


class Fingers:
    """A keyboard: presses the next keys of a list in each frame of the stream."""

    def __init__(self, presses: Iterator[list[str]]) -> None:
        self._presses = presses

    def wait(self, seconds: float) -> list[str]:
        return next(self._presses, [])


class Desk:
    """A session, and a screen that keeps everything written to it."""

    def __init__(self, file=None, **settings: str) -> None:
        self.session = Session(Model(file or make_cycle_model()), seed=1)
        for name, value in {"temperature": "0", "length": "60", "speed": "max"}.items():
            set_value(self.session.settings, name, value)
        self.session.settings.copies = False
        for name, value in settings.items():
            set_value(self.session.settings, name.replace("_", "-"), value)
        self.out = io.StringIO()
        terminal = Terminal(out=self.out, err=self.out, environ={})
        self.screen = Screen(terminal, interactive=True)
        self.screen.size = lambda: terminal_size((60, 24))
        self.screen.palette = Palette(depth=256)

    def train_on(self, text: str) -> None:
        self.session.settings.copies = True
        tokens = self.session.model.tokenizer.encode(text).astype(np.uint8)
        self.session._index = build_index(tokens, self.session.model.tokenizer)
        self.session._copies = CopyWatch(self.session._index)

    def write(self, presses=()) -> str:
        """The text that the stream leaves on the screen, with the codes for underlining."""
        self.reason = Stream(self.session, self.screen, Fingers(iter(presses))).run()
        return self.shown()

    def shown(self) -> str:
        """The text on the screen so far, without the picture below it."""
        # The panel saves the cursor before it draws, and restores it afterwards.
        text = re.sub(r"\x1b7.*?\x1b8", "", self.out.getvalue(), flags=re.DOTALL)
        return re.sub(r"\x1b\[[\d;?]*[A-Zhlr]|\x1b[78D]", "", text)


def test_all_is_shown_and_is_the_text():
    desk = Desk()
    desk.session.append("abc")
    assert desk.write() == desk.session.text()[3:] + "\n"
    assert (desk.reason, desk.session.position) == ("length", 63)


@pytest.mark.parametrize("lag", [False, True])
def test_stopping_keeps_exactly_what_was_shown(lag):
    desk = Desk(length="100000")
    if lag:
        desk.train_on(CYCLE * 3)
    desk.session.append("abc")

    def presses():
        while desk.session.position == 3:
            yield []
        yield [STOP]

    shown = re.sub(r"\x1b\[\d*m", "", desk.write(presses()))
    assert desk.reason == "stopped"
    assert desk.session.text() == "abc" + shown.removesuffix("\n")
    assert 3 < desk.session.position < 100_000
    again = Session(Model(make_cycle_model()), seed=1)
    again.append(desk.session.text())
    np.testing.assert_array_equal(
        desk.session.tree.state(desk.session.tree.tip), again.tree.state(again.tree.tip)
    )


def test_an_interrupt_from_outside_is_a_stop():
    def presses():
        yield []
        raise KeyboardInterrupt

    desk = Desk(length="100000")
    shown = desk.write(presses())
    assert desk.reason == "stopped"
    assert desk.session.text() == shown.removesuffix("\n")


def test_a_pause_shows_nothing_until_it_ends():
    desk = Desk(length="100000")
    shown = []

    def presses():
        yield [" "]
        for _ in range(5):
            shown.append(desk.shown())
            yield []
        yield [" "]
        shown.append(desk.shown())
        yield []
        shown.append(desk.shown())
        yield [STOP]

    desk.write(presses())
    assert len(set(shown[:5])) == 1
    assert len(shown[-1]) > len(shown[4])


def test_keys_change_the_speed():
    desk = Desk(speed="120", length="1000000")
    desk.write([["+"], ["+"], ["="], ["-"], [STOP]])
    assert desk.session.settings.speed == pytest.approx(120 * 1.5**2)
    desk = Desk(speed="max", length="1000000")
    desk.write([["-"], [STOP]])
    assert desk.session.settings.speed == pytest.approx(1000 / 1.5)


def test_keys_change_the_temperature_of_what_was_not_shown_yet():
    desk = Desk(length="1000000")
    desk.train_on(CYCLE * 3)

    def presses():
        yield ["]"] * 60
        before = desk.session.position
        while desk.session.position < before + 100:
            yield []
        yield [STOP]

    desk.write(presses())
    assert desk.session.settings.sample.temperature == pytest.approx(6.0)
    text = desk.session.text()
    cycle = (" " + CYCLE[2:] + "\n") * (2 + len(text) // len(CYCLE))
    assert text != cycle[: len(text)]


def test_copies_are_underlined_from_their_first_character_to_their_last():
    desk = Desk(length="120")
    desk.train_on(CYCLE[2:28] + CYCLE[5:20])
    desk.session.append("\n")
    desk.session.settings.sample = change_sample(desk.session.settings.sample, top_k=0)
    shown = desk.write()
    marked = re.findall(r"\x1b\[4m(.*?)\x1b\[24m", shown, re.DOTALL)
    assert marked == [], "the alphabet is shorter than what counts"
    desk = Desk(length="120")
    desk.train_on("xyz" + CYCLE[1:] + CYCLE + "zzz")
    desk.session.append("\n")
    shown = desk.write()
    plain = re.sub(r"\x1b\[\d*m", "", shown)
    training = [CYCLE.index(char) for char in "xyz" + CYCLE[1:] + CYCLE + "zzz"]
    read = [CYCLE.index(char) for char in "\n" + plain.removesuffix("\n")]
    flags = [False] * len(read)
    for end, length in enumerate(longest_copies(training, read), 1):
        flags[end - length : end] = [True] * length
    expected, on = "", False
    for text, flag in zip(plain.removesuffix("\n"), flags[1:], strict=True):
        if flag != on:
            expected += "\x1b[4m" if flag else "\x1b[24m"
            on = flag
        expected += text
    assert "\x1b[4m" in expected
    assert shown == expected + ("\x1b[24m" if on else "") + "\n"
    assert desk.session.longest_copy == max(longest_copies(training, read))


@pytest.mark.parametrize("limit", [16, 40, 60])
def test_what_would_copy_too_much_is_written_otherwise(limit):
    desk = Desk(length="300", max_copy=str(limit))
    training = (CYCLE[1:] + "\n") * 6
    desk.train_on(training)
    desk.session.append("a")
    shown = re.sub(r"\x1b\[\d*m", "", desk.write()).removesuffix("\n")
    assert desk.session.text() == "a" + shown
    assert desk.session.position == 301
    ids = [CYCLE.index(char) for char in desk.session.text()]
    longest = max(longest_copies([CYCLE.index(char) for char in training], ids))
    assert longest <= max(limit, MIN_COPY_SYMBOLS - 1)


def test_a_temperature_beyond_its_range_stays():
    desk = Desk()
    desk.write([["["] * 3, [STOP]])
    assert desk.session.settings.sample.temperature == 0


def test_white_space_is_shown_when_asked():
    desk = Desk(whitespace="on", length="3")
    desk.session.append("y")
    assert desk.write() == "z⏎\n·\n"


@pytest.mark.parametrize("view", ["hidden", "cell", "forget"])
def test_the_live_picture_is_that_of_the_text(view):
    desk = Desk(length="1000000")
    desk.session.heat_on = True
    desk.session.heat.set_view(view=view, layer=0, order="index")
    desk.session.append("abc")
    grids = []
    original = desk.session.heat.grid

    def keep_grid(node, count, rows, options):
        grid = original(node, count, rows, options)
        grids.append((node, grid))
        return grid

    def presses():
        while len(grids) < 2:
            yield []
        yield [STOP]

    desk.session.heat.grid = keep_grid
    desk.write(presses())
    node, grid = grids[-1]
    count = len(grid.column_labels)
    trace, _ = desk.session.trace(count, node)
    values = {"hidden": trace.states[:, 0, 0], "cell": trace.states[:, 0, 1],
              "forget": trace.gates[:, 0, 1]}[view]  # fmt: skip
    units = [int(label) for label in grid.row_labels]
    np.testing.assert_allclose(grid.values, values[:, units].T, atol=1e-5)
    assert grid.column_labels == desk.session.labels(desk.session.tree.path(node, count))


def test_watched_units_have_a_line_each():
    desk = Desk(length="200000")
    desk.session.watched = [desk.session.unit("L1:4"), desk.session.unit("L1:5.cell")]
    Stream(desk.session, desk.screen, Fingers(iter([[]] * 9 + [[STOP]]))).run()
    shown = desk.out.getvalue()
    assert "L1:4 " in shown
    assert "L1:5.cell " in shown
    assert "space pauses" in shown


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # as the command line does
def test_weights_that_overflow_end_the_stream_with_a_line_and_keep_the_text():
    file = make_model()
    file.weights["head.weight"][:] = np.inf
    desk = Desk(file)
    desk.session.append("abc")
    with pytest.raises(ChargenError, match="overflowed"):
        desk.write()
    assert desk.session.text() == "abc"
