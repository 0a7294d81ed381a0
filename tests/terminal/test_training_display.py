"""The display: whole outputs, wide and narrow, with and without colour."""

from __future__ import annotations

import io

import pytest

from chargen.terminal.context import Terminal
from chargen.terminal.progress import duration, plural, size
from chargen.terminal.training_display import (
    LineDisplay,
    LiveDisplay,
    TrainingProgress,
    open_display,
)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def progress() -> TrainingProgress:
    made = TrainingProgress(title="bard")
    made.advance(step=1, steps=200, loss=4.0, tokens=1_000, seconds=1.0)
    made.advance(step=50, steps=200, loss=3.0, tokens=50_000, seconds=3.0)
    made.bits_per_byte = made.best_bits_per_byte = 2.5
    return made


def test_one_line(progress):
    assert progress.line() == (
        "step 50/200, loss 3.980, validation 2.500 bits/byte, 24.5k tokens/s, 9s left"
    )


def test_lines_come_every_half_minute(progress):
    terminal, now = Terminal(err=io.StringIO()), [0.0]
    display = LineDisplay(terminal, progress, clock=lambda: now[0])
    display.start()
    for second in range(65):
        now[0] = float(second)
        display.stepped()
    display.stop()
    assert terminal.err.getvalue().splitlines() == [progress.line()] * 2


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_live_block_fits_and_is_safe(progress, width):
    progress.sample = "to be\x1b[2J or not\nto be" + "x" * 300
    terminal = Terminal(err=Screen(), environ={"TERM": "xterm"}, color="never")
    display = LiveDisplay(terminal, progress)
    display._console.width = width
    with display._console.capture() as capture:
        display._console.print(display._render())
    lines = capture.get().splitlines()
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)
    assert lines[2].startswith("  │ to be␛[2J or not"[:width])
    assert "\x1b" not in capture.get()
    assert "25%" in lines[0] or width < 60


def test_ascii_draws_with_ascii(progress):
    terminal = Terminal(err=Screen(), environ={"TERM": "xterm"}, ascii=True)
    display = LiveDisplay(terminal, progress)
    with display._console.capture() as capture:
        display._console.print(display._render())
    assert capture.get().splitlines()[0].isascii()


def test_which_display(progress):
    live = Terminal(err=Screen(), environ={"TERM": "xterm"})
    assert isinstance(open_display(live, progress), LiveDisplay)
    for terminal in (
        Terminal(err=io.StringIO(), environ={"TERM": "xterm"}),
        Terminal(err=Screen(), environ={"TERM": "dumb"}),
        Terminal(err=Screen(), environ={"TERM": "xterm"}, quiet=True),
    ):
        assert isinstance(open_display(terminal, progress), LineDisplay)


def test_notes_are_safe_lines_and_can_be_silenced():
    terminal = Terminal(err=io.StringIO())
    terminal.note("file \x1b]0;evil\x07\nname")
    assert terminal.err.getvalue() == "file ␛]0;evil␇␊name\n"
    quiet = Terminal(err=io.StringIO(), quiet=True)
    quiet.note("x")
    quiet.complain("y")
    assert quiet.err.getvalue() == "y\n"


@pytest.mark.parametrize("mode", ["always", "never", "auto"])
def test_colour_modes(mode):
    from chargen.terminal.safetext import rich_text

    terminal = Terminal(err=Screen(), environ={"TERM": "xterm", "NO_COLOR": "1"}, color=mode)
    console = terminal.console()
    console.print(rich_text("x", "red"))
    assert ("\x1b[31m" in terminal.err.getvalue()) == (mode == "always")


def test_figures():
    assert [duration(seconds) for seconds in (0, 59.6, 61, 7500)] == [
        "0s",
        "1m00s",
        "1m01s",
        "2h05m",
    ]
    assert [size(number) for number in (950, 12_345, 4.1e6, 2e9, 5e12)] == [
        "950", "12.3k", "4.1M", "2.0G", "5000.0G",
    ]  # fmt: skip
    assert [plural(1, "step"), plural(2_000, "step")] == ["1 step", "2,000 steps"]
