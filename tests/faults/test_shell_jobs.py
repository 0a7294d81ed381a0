"""Jobs of a shell: Ctrl-Z, `bg`, `fg`, a closed window, `stty tostop`; bash in a real window."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from chargen.model.checkpoint import load_model, save_model
from chargen.model.runs import MODEL, RUN
from tests.conftest import make_cycle_model

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals need a POSIX system")
if shutil.which("bash") is None or not hasattr(os, "pidfd_open"):
    pytest.skip("needs bash and Linux", allow_module_level=True)

CHARGEN = shlex.join([sys.executable, "-m", "chargen"])
TRAIN = (
    f"{CHARGEN} train text.txt --run a --hidden-size 8 --batch-size 2 --bptt 8 --threads 1 --steps"
)
SHOW, HIDE = b"\x1b[?25h", b"\x1b[?25l"
PATIENCE = 60
"""Seconds without any output after which a test fails."""


class Shell:
    """An interactive bash in a window."""

    def __init__(self) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "PS1": "READY> "}
        for name in list(environment):
            if name.startswith("COVERAGE_"):  # as in tests/cli/test_terminal.py
                del environment[name]
        self.child = pexpect.spawn(
            "bash", ["--norc", "--noprofile", "--noediting", "-i"],
            env=environment, timeout=PATIENCE, dimensions=(30, 100),
        )  # fmt: skip
        self.child.delaybeforesend = None
        self.child.expect_exact("READY> ")

    def type(self, line: str) -> None:
        self.child.send(f"{line}\r")

    def wait(self, text: str) -> bytes:
        """Waits for a text; returns what came before it."""
        self.child.expect_exact(text)
        return self.child.before

    def job(self) -> int:
        """The process id of the only job."""
        self.type("echo pid=$(jobs -p)=")
        self.child.expect(rb"pid=(\d+)=")
        pid = int(self.child.match[1])
        self.wait("READY> ")
        return pid

    def close_window(self, pid: int) -> None:
        """Closes the window, and waits until the process has ended."""
        handle = os.pidfd_open(pid)
        os.close(self.child.child_fd)
        self.child.closed = True
        assert select.select([handle], [], [], PATIENCE)[0], "it goes on without its window"
        os.close(handle)
        self.child.wait()


@pytest.fixture
def shell():
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")
    save_model(Path("cycle.safetensors"), make_cycle_model())
    opened = Shell()
    yield opened
    if not opened.child.closed:
        opened.child.close(force=True)


def status() -> str:
    assert load_model(Path("checkpoints/a", MODEL)).weights
    return json.loads(Path("checkpoints/a", RUN).read_text())["status"]


def test_a_training_gives_the_screen_back_comes_again_and_is_saved_without_its_window(shell):
    shell.type(f"{TRAIN} 1000000")
    shell.wait("tokens/s")
    shell.child.send("\x1a")
    stopped = shell.wait("READY> ")
    assert stopped.rfind(SHOW) > stopped.rfind(HIDE)
    shell.type("bg")
    shell.wait("READY> ")
    shell.type("fg")  # bash sends no signal to a job that runs
    shell.wait("tokens/s")
    shell.child.send("\x1a")
    shell.wait("READY> ")
    shell.close_window(shell.job())
    assert status() == "interrupted"


def test_tostop_stops_no_training(shell):
    shell.type("stty tostop")
    shell.wait("READY> ")
    shell.type(f"{TRAIN} 30 --json & wait %1; echo code=$?=")
    shell.child.expect(rb"code=(\d+)=\r")
    assert shell.child.match[1] == b"0"
    assert status() == "done"


REPL = f"{CHARGEN} repl cycle.safetensors --seed 1"
NEW_PROMPT = "\x1b[?2004h"


def write_without_end(shell: Shell) -> None:
    shell.type(REPL)
    for line in ("/set temperature 0", "/set speed 200", "/set length 1000000", "/heat on", "abc"):
        shell.wait(NEW_PROMPT)
        shell.type(line)
    shell.wait("hidden state")


def test_ctrl_z_stops_the_repl_while_it_writes_and_fg_goes_on(shell):
    write_without_end(shell)
    shell.child.send("\x1a")
    given_back = shell.wait("READY> ")
    assert given_back.rfind(b"\x1b[r") > given_back.rfind(b"\x1b[1;"), "the whole screen scrolls"
    shell.type("stty -a")
    modes = shell.wait("READY> ").decode().split()
    assert {"icanon", "isig"} <= {mode.rstrip(";") for mode in modes}
    shell.type("fg")
    shell.wait("hidden state")
    shell.child.send("\x03")
    shell.wait(NEW_PROMPT)
    shell.type("/quit")
    shell.wait("READY> ")


@pytest.mark.parametrize("where", ["prompt", "stream", "choose"])
def test_a_stopped_repl_ends_with_its_window(shell, where):
    if where == "stream":
        write_without_end(shell)
    else:
        shell.type(REPL)
        shell.wait(NEW_PROMPT)
        if where == "choose":
            shell.type("/choose")
            shell.wait("Enter takes")
    shell.child.send("\x1a")
    shell.wait("READY> ")
    shell.close_window(shell.job())


def test_a_repl_that_was_stopped_goes_on_where_it_was(shell):
    shell.type(REPL)
    shell.wait(NEW_PROMPT)
    shell.type("/choose")
    shell.wait("Enter takes")
    shell.child.send("\x1a")
    shell.wait("READY> ")
    shell.type("fg")
    shell.wait("Enter takes")
    shell.child.send("\x1b")
    shell.wait(NEW_PROMPT)
    shell.type("/quit")
    shell.wait("READY> ")
