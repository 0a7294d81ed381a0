"""Ctrl-Z, background jobs and inherited ignores, in real pseudo-terminals."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chargen.cli.training_view import Interrupts
from chargen.model.checkpoint import save_model
from chargen.model.runs import MODEL
from chargen.terminal import live_block, messages
from chargen.terminal.context import Terminal
from chargen.terminal.live_block import LiveBlock
from chargen.terminal.messages import ForegroundStream
from tests.conftest import make_cycle_model

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals need a POSIX system")
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with jobs")

CHARGEN = [sys.executable, "-m", "chargen"]
TINY = ["--hidden-size", "8", "--batch-size", "2", "--bptt", "8", "--threads", "1"]


@pytest.fixture(autouse=True)
def without_coverage(monkeypatch):
    for name in list(os.environ):  # an interrupt within coverage's own code would hang
        if name.startswith("COVERAGE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def shell():
    """A shell with jobs: only there does Ctrl-Z stop a process."""
    child = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env={**os.environ, "TERM": "xterm-256color", "PS1": "$ "},
        timeout=60,
        dimensions=(24, 100),
    )
    child.expect_exact("$ ")
    yield child
    child.close(force=True)


def test_ctrl_z_stops_the_repl_while_it_writes(shell):
    save_model(Path("m.safetensors"), make_cycle_model())
    shell.sendline(" ".join([*CHARGEN, "repl", "m.safetensors"]))
    shell.expect("leaves")
    shell.send("/set length 1000000\r")
    shell.expect("length 1000000")
    shell.send("abc\r")
    shell.expect("xyz")
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.sendline("fg")
    shell.expect("xyz")
    shell.send("\x1a")
    shell.expect("Stopped")
    # The window is closed: the system sends both to a stopped job.
    shell.sendline("kill -HUP %1; kill -CONT %1; wait %1; echo code $?")
    shell.expect("code 143")


def test_a_stopped_training_whose_window_is_closed_saves_what_it_learned(shell):
    words = ["train", "text.txt", "--run", "a", "--steps", "1000000"]
    Path("text.txt").write_text("the sea and the wind\n" * 80)
    shell.sendline(" ".join([*CHARGEN, *words, *TINY]))
    shell.expect(r"step [1-9]")
    shell.send("\x1a")
    shell.expect("Stopped")
    shown = shell.before
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"), "the cursor is shown"
    shell.sendline("kill -HUP %1; kill -CONT %1; wait %1; echo code $?")
    shell.expect("code 143")
    assert Path("checkpoints/a", MODEL).is_file()
    assert '"interrupted"' in Path("checkpoints/a/run.json").read_text()


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_is_ignored_from_the_start_stays_ignored(name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interrupts(print) as interrupts:
            interrupts.begin_waiting()
            signal.raise_signal(number)
            assert not interrupts.stop_requested()
            assert signal.getsignal(number) is signal.SIG_IGN
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_training_under_nohup_goes_on():
    Path("text.txt").write_text("the sea and the wind\n" * 80)
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"os.execv({CHARGEN[0]!r}, {[*CHARGEN, 'train', 'text.txt', '--steps', '400', *TINY, '--json']!r})\n"  # noqa: E501
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if b'"step"' in line:
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGINT)
                break
        last = process.stdout.read().splitlines()[-1]
    assert process.returncode == 0
    assert b'"reason": "done"' in last


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_job_of_the_background_draws_nothing_and_says_its_lines(monkeypatch):
    foreground = False
    for module in (messages, live_block):
        monkeypatch.setattr(module, "is_foreground", lambda stream: foreground)
    screen = Screen()
    terminal = Terminal(err=screen, environ={"TERM": "xterm"})
    block = LiveBlock(terminal, lambda: "drawn")
    block.start()
    terminal.note("a line")
    assert screen.getvalue() == "a line\n"
    foreground = True
    signal.raise_signal(signal.SIGCONT)  # fg
    assert "drawn" in screen.getvalue()
    block.stop()
    assert screen.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in screen.getvalue()
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL
    foreground = False
    before = screen.getvalue()
    ForegroundStream(screen).write("more")
    assert screen.getvalue() == before
