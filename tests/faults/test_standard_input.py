"""Standard input: read only where `-` asks for it, and with a line when nothing comes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from chargen.cli.main import run
from chargen.cli.standard_input import (
    SECONDS_UNTIL_TOLD,
    UNREAD,
    WAITING,
    has_unread_input,
    read_standard_input,
    wait_for_standard_input,
)
from chargen.errors import UsageError
from chargen.terminal.context import Terminal

OPTIONS = ("-l", "5", "--seed", "1")


class ManualTimer:
    """A timer that a test lets ring, instead of a clock."""

    made: list[ManualTimer]

    def __init__(self, seconds, function):
        self.seconds, self.function = seconds, function
        self.started = self.cancelled = False
        self.made.append(self)

    def start(self):
        self.started = True

    def cancel(self):
        self.cancelled = True


class SlowPipe(io.RawIOBase):
    """Yields one block a read; at None, a second passes before the next block."""

    def __init__(self, blocks, timers):
        self._blocks, self._timers = list(blocks), timers

    def read1(self, size):
        block = self._blocks.pop(0)
        if block is None:
            assert self._timers[-1].started
            assert not self._timers[-1].cancelled
            self._timers[-1].function()
            block = self._blocks.pop(0)
        return block


def read_slowly(monkeypatch, blocks, *, quiet=False, limit=None):
    timers: list[ManualTimer] = []
    timer = type("Timer", (ManualTimer,), {"made": timers})
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": SlowPipe(blocks, timers)}))
    terminal = Terminal(err=io.StringIO(), quiet=quiet)
    data = read_standard_input(terminal, timer=timer, limit=limit)
    assert all(timer.cancelled and timer.seconds == SECONDS_UNTIL_TOLD == 1 for timer in timers)
    return data, terminal.err.getvalue()


def test_a_second_without_input_is_told(monkeypatch):
    assert read_slowly(monkeypatch, [b"ab", b"c", b""]) == (b"abc", "")
    told = WAITING + "\n"
    assert read_slowly(monkeypatch, [None, b""]) == (b"", told)
    assert read_slowly(monkeypatch, [None, b"ab", b"c", b""]) == (b"abc", told)
    assert read_slowly(monkeypatch, [b"ab", None, b"c", b""]) == (b"abc", told)
    assert read_slowly(monkeypatch, [None, b"ab", b"c", b"d", b""]) == (b"abcd", told)
    assert read_slowly(monkeypatch, [None, b"ab", b""], quiet=True) == (b"ab", "")


def test_a_limit_ends_an_endless_pipe(monkeypatch):
    assert read_slowly(monkeypatch, [b"abc"] * 9, limit=5)[0] == b"abcabc"


def test_waiting_for_a_pipe_reads_nothing_of_it(monkeypatch):
    timers: list[ManualTimer] = []
    reading, writing = os.pipe()
    terminal = Terminal(err=io.StringIO())

    class Timer(ManualTimer):
        made = timers

        def start(self):  # nothing has come for a second; then the other program writes
            assert not has_unread_input()
            self.function()
            os.write(writing, b"abc")

    with os.fdopen(reading) as stream, os.fdopen(writing, "wb"):
        monkeypatch.setattr("sys.stdin", stream)
        wait_for_standard_input(terminal, Timer)
        assert terminal.err.getvalue() == WAITING + "\n"
        assert [timer.cancelled for timer in timers] == [True]
        assert os.read(reading, 9) == b"abc"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    wait_for_standard_input(terminal, type("Timer", (ManualTimer,), {"made": timers}))


@pytest.mark.parametrize("command", ["eval", "surprise"])
def test_commands_that_read_a_dash_as_a_file_wait_audibly(model_path, monkeypatch, command):
    waits: list[str] = []
    monkeypatch.setattr(
        "chargen.cli.options.wait_for_standard_input", lambda terminal: waits.append("-")
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abcabcabc" * 9)))
    assert run([command, str(model_path), "-"]) == 0
    assert waits == ["-"]


def test_a_named_pipe_as_prompt_file_tells_that_it_waits(model_path, monkeypatch, capfd):
    os.mkfifo("prompt")
    told = []

    class Told:
        def __init__(self, terminal, text):
            told.append(text)
            # Another program opens the pipe at last.
            self.writer = os.open("prompt", os.O_RDWR)
            os.write(self.writer, b"abc")

        def __enter__(self):
            monkeypatch.setattr("chargen.cli.sample._MAX_PROMPT_BYTES", 2)

        def __exit__(self, *error):
            os.close(self.writer)

    monkeypatch.setattr("chargen.cli.sample.waiting_told", Told)
    assert run(["sample", str(model_path), "--prompt-file", "prompt"]) == 2
    assert told == ["waiting for prompt; it is a pipe, and another program must write it"]
    assert "the prompt is longer than 2 bytes" in capfd.readouterr().err


def test_an_interrupted_wait_leaves_no_timer(monkeypatch):
    timers: list[ManualTimer] = []

    class Interrupted:
        def read1(self, size):
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": Interrupted()}))
    timer = type("Timer", (ManualTimer,), {"made": timers})
    with pytest.raises(KeyboardInterrupt):
        read_standard_input(Terminal(err=io.StringIO()), timer=timer)
    assert [timer.cancelled for timer in timers] == [True]


def test_a_closed_standard_input_is_one_error(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="closed"):
        read_standard_input(Terminal(err=io.StringIO()))
    assert not has_unread_input()


def test_a_loop_over_a_file_does_all_its_rounds(model_path, monkeypatch, capfd):
    Path("list").write_text("1\n2\n3\n")
    descriptor = os.open("list", os.O_RDONLY)
    rounds = []
    with os.fdopen(descriptor) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        while line := os.read(descriptor, 2):  # as `while read seed` does
            rounds.append(line)
            assert run(["sample", str(model_path), "-l", "5", "--seed", line.decode()]) == 0
            out, err = capfd.readouterr()
            assert (len(out), err) == (5, "")
    assert rounds == [b"1\n", b"2\n", b"3\n"]


@pytest.mark.parametrize("command", ["sample", "step", "heatmap"])
def test_a_loop_over_a_pipe_keeps_its_lines(model_path, monkeypatch, capfd, command):
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    with os.fdopen(reading) as stream, os.fdopen(writing, "wb"):  # the writer stays open
        monkeypatch.setattr("sys.stdin", stream)
        code = run([command, str(model_path), *(OPTIONS if command == "sample" else ())])
        err = capfd.readouterr().err
        if command == "sample":
            assert (code, err) == (0, UNREAD + "\n")
            assert run([command, str(model_path), "-p", "a", *OPTIONS]) == 0
            assert capfd.readouterr().err == ""
        else:
            assert code == 2
            assert "-p TEXT" in err
            assert "- reads standard input" in err
        assert os.read(reading, 9) == b"abc"
        assert not has_unread_input()


@pytest.mark.parametrize("command", ["sample", "step", "heatmap"])
def test_a_dash_reads_standard_input(model_path, monkeypatch, capfd, command):
    options = [str(model_path), *(OPTIONS if command == "sample" else ())]
    assert run([command, *options, "-p", "abc"]) == 0
    expected = capfd.readouterr().out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc")))
    assert run([command, *options, "-p", "-"]) == 0
    assert capfd.readouterr().out == expected


def test_the_help_says_how_to_read_standard_input(capfd):
    assert run(["sample", "--help"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    assert "With - for either of them it is standard input, which is read only then" in text
    assert 'echo -n "To be" | chargen sample bard -p -' in text
