"""The display of a comparison: whole outputs, live and as lines."""

from __future__ import annotations

import io

import numpy as np
import pytest

from chargen.insight.comparison import ComparedRun
from chargen.insight.plot import Figure, Plot, Series
from chargen.terminal.compare_display import LineComparison, LiveComparison, open_comparison
from chargen.terminal.context import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def draw(runs) -> Figure:
    series = tuple(
        Series(name=run.cell, x=np.array(run.seconds), y=np.array(run.curve))
        for run in runs
        if run.curve
    )
    plot = Plot(series=series, x_label="seconds", y_label="bits")
    return Figure(title="Cells", plots=(plot,))


@pytest.fixture
def runs() -> list[ComparedRun]:
    training = ComparedRun(
        cell="gru", seed=1, run="c-gru-1", stage="training", share=0.25, seconds=[1.0, 2.0],
        curve=[3.0, 2.5], bits_per_byte=2.5, tokens_per_second=12_345.0,
    )  # fmt: skip
    return [training, ComparedRun(cell="lstm", seed=1, run="c-lstm-1\x1b[2J")]


def live(runs, rows, monkeypatch, notice="stopping\x1b[2J", **options) -> list[str]:
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("LINES", str(rows))
    terminal = Terminal(err=Screen(), environ={"TERM": "xterm"}, color="never", **options)
    display = LiveComparison(terminal, draw)
    display._runs = runs
    display.notice(notice)
    with display._console.capture() as capture:
        display._console.print(display._render())
    assert "\x1b" not in capture.get()
    return capture.get().splitlines()


def test_the_live_block_has_runs_a_chart_and_a_notice(runs, monkeypatch):
    lines = live(runs, 40, monkeypatch)
    assert lines[0].rstrip() == "c-gru-1: training, 25%, 2.500 bits/byte, 12.3k tokens/s"
    assert lines[1].rstrip() == "c-lstm-1␛[2J: waiting"
    assert lines[2].rstrip() == "Cells"
    assert lines[-1].rstrip() == "stopping␛[2J"
    assert len(lines) == 3 + 1 + 16 + 2 + 1 + 1
    assert all(len(line) <= 70 for line in lines)


def test_a_low_terminal_has_no_room_for_the_chart(runs, monkeypatch):
    assert len(live(runs, 22, monkeypatch)) == 3


def test_ascii_draws_with_ascii(runs, monkeypatch):
    del runs[1]
    runs[0].run = "c" * 100
    lines = live(runs, 40, monkeypatch, notice="stopping", ascii=True)
    assert "".join(lines).isascii()
    assert lines[0] == "c" * 70


def test_lines_come_with_a_new_stage_and_every_half_minute(runs):
    terminal, now = Terminal(err=io.StringIO()), [0.0]
    display = LineComparison(terminal, clock=lambda: now[0])
    for second in range(0, 65, 5):
        now[0] = float(second)
        display.show(runs[:1])
    runs[0].stage = "done"
    display.show(runs[:1])
    display.close()
    first = "c-gru-1: training, 25%, 2.500 bits/byte, 12.3k tokens/s"
    last = "c-gru-1: done, 2.500 bits/byte, 12.3k tokens/s"
    assert terminal.err.getvalue().splitlines() == [first, first, first, last]


def test_the_live_display_gives_the_terminal_back(runs):
    terminal = Terminal(err=Screen(), environ={"TERM": "xterm"}, color="never")
    display = open_comparison(terminal, draw)
    assert isinstance(display, LiveComparison)
    display.show(runs)
    display.note("a note\x1b[2J")
    display.close()
    display.close()
    written = terminal.err.getvalue()
    assert "a note␛[2J" in written
    assert "\x1b[2J" not in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1


def test_which_display():
    for terminal in (
        Terminal(err=io.StringIO(), environ={"TERM": "xterm"}),
        Terminal(err=Screen(), environ={"TERM": "dumb"}),
    ):
        assert isinstance(open_comparison(terminal, draw), LineComparison)
