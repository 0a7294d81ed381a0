"""The line that tells how far something is."""

from __future__ import annotations

import io

import pytest

from chargen.terminal.context import Terminal
from chargen.terminal.progress import progress_line, reading_line


class Screen(io.StringIO):
    """A stderr that is a terminal or is none."""

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self._live = live

    def isatty(self) -> bool:
        return self._live


@pytest.fixture
def now():
    return [0.0]


def terminal(*, live, quiet=False):
    return Terminal(quiet=quiet, err=Screen(live=live), environ={"TERM": "xterm"})


def test_what_is_quick_needs_no_line(now):
    here = terminal(live=True)
    with reading_line(here, clock=lambda: now[0]) as tell:
        tell("reading", 5, 10)
        now[0] = 0.2
        tell("reading", 10, 10)
        now[0] = 0.4
        tell("encoding", 5, 10)
    assert here.err.getvalue() == ""


def test_it_tells_how_far_it_is_and_goes_away(now):
    here = terminal(live=True)
    with reading_line(here, clock=lambda: now[0]) as tell:
        for done, at in ((1_000_000, 1.0), (1_500_000, 1.05), (2_000_000, 1.2)):
            now[0] = at
            tell("reading", done, 4_000_000)
        now[0] = 2.0
        tell("reading\x1b[2J", 7_000, None)
        now[0] = 3.0
        tell("making tokens", 0, None)
        now[0] = 4.0
        tell("making tokens", 0, 0)
    assert here.err.getvalue() == (
        "\rreading:  25% of 4.0MB \x1b[K"
        "\rreading:  50% of 4.0MB \x1b[K"
        "\rreading␛[2J: 7.0kB \x1b[K"
        "\rmaking tokens \x1b[K"
        "\r\x1b[K"
    )


def test_in_a_log_it_is_a_line_every_half_minute(now):
    here = terminal(live=False)
    with reading_line(here, clock=lambda: now[0]) as tell:
        for second in range(1, 100):
            now[0] = float(second)
            tell("encoding", second, 100)
    assert here.err.getvalue().splitlines() == [
        "encoding:  30% of 100B", "encoding:  60% of 100B", "encoding:  90% of 100B",
    ]  # fmt: skip


def test_quiet_is_quiet(now):
    for live in (True, False):
        here = terminal(live=live, quiet=True)
        with reading_line(here, clock=lambda: now[0]) as tell:
            now[0] += 1000
            tell("encoding", 1, 100)
        assert here.err.getvalue() == ""


def test_an_error_leaves_no_line(now):
    here = terminal(live=True)

    def interrupted():
        with progress_line(here, "reading", lambda: now[0]) as tell:
            now[0] = 1.0
            tell(0.42)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert here.err.getvalue() == "\rreading:  42% \x1b[K\r\x1b[K"
