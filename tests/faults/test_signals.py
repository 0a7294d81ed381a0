"""Signals: what a process was told to ignore stays ignored, and one closed window asks once."""

from __future__ import annotations

import os
import signal

import pytest

from chargen.cli.training_view import Interrupts
from chargen.errors import ExitCode
from chargen.repl.app import _leaves_by_signal
from chargen.terminal import progress
from chargen.terminal.compare_display import LiveComparison
from chargen.terminal.context import Terminal

if not hasattr(signal, "SIGHUP"):
    pytest.skip("the system has no SIGHUP", allow_module_level=True)


@pytest.fixture
def ignored():
    """SIGHUP and SIGTERM as nohup and some supervisors leave them."""
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_repl_goes_on_ignoring_what_it_was_told_to_ignore(ignored):
    with _leaves_by_signal():
        for number in ignored:
            assert signal.getsignal(number) is signal.SIG_IGN
            os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_training_goes_on_ignoring_what_it_was_told_to_ignore(ignored):
    with Interrupts(print) as interrupts:
        for number in ignored:
            os.kill(os.getpid(), number)
    assert not interrupts.stop_requested()


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_closed_window_sends_several_signals_and_is_one_wish(first):
    with Interrupts(lambda text: None) as interrupts:
        interrupts.begin_waiting()
        os.kill(os.getpid(), first)
        code = interrupts.exit_code
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
    assert interrupts.exit_code == code
    assert code == (ExitCode.INTERRUPTED if first == signal.SIGINT else ExitCode.TERMINATED)


def test_bash_closes_the_window_of_a_stopped_job_with_two_signals():
    with Interrupts(lambda text: None) as interrupts:
        interrupts.begin_waiting()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert interrupts.exit_code == ExitCode.TERMINATED
        with pytest.raises(SystemExit):  # now somebody asks again
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_that_somebody_sent_leaves_at_once(number):
    with Interrupts(lambda text: None) as interrupts:
        interrupts.begin_waiting()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            os.kill(os.getpid(), number)


class Screen:
    """A terminal that keeps what is written; its job is in the foreground or not."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


@pytest.fixture
def foreground(monkeypatch):
    """Whether the job is in the foreground, as a list of one value."""
    value = [True]
    for module in ("context", "messages", "live_block"):
        monkeypatch.setattr(f"chargen.terminal.{module}.is_foreground", lambda _: value[0])
    return value


def test_a_progress_line_leaves_the_line_of_the_shell_alone(foreground):
    screen = Screen()
    now = 0.0
    terminal = Terminal(err=screen, environ={"TERM": "xterm"})
    with progress.progress_line(terminal, "reading", lambda: now) as show:
        now = 1.0
        show(0.5)
        assert "reading:  50%" in screen.text
        foreground[0] = False
        before = screen.text
    assert screen.text == before


def test_a_comparison_in_the_background_still_says_what_it_has_to_say(foreground):
    screen = Screen()
    display = LiveComparison(Terminal(err=screen, environ={"TERM": "xterm"}), lambda runs: None)
    display._started = True
    foreground[0] = False
    display.note("a note")
    display.notice("a notice")
    assert screen.text == "a note\na notice\n"
