"""What cannot be said stops nothing: the run is trained and saved, and the exit code is true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chargen.model.checkpoint import load_model
from chargen.model.runs import MODEL, RUN
from chargen.terminal.context import Terminal
from chargen.terminal.messages import MessageStream

CHARGEN = [sys.executable, "-m", "chargen"]
TINY = ["--hidden-size", "8", "--batch-size", "2", "--bptt", "8", "--threads", "1"]
TRAIN = [*CHARGEN, "train", "text.txt", "--run", "a", *TINY]


class Broken:
    """A stream of which every function fails."""

    encoding = "utf-8"

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def isatty(self):
        raise self.error


@pytest.fixture(autouse=True)
def text(monkeypatch):
    for name in list(os.environ):  # an interrupt within coverage's own code would hang
        if name.startswith("COVERAGE_"):
            monkeypatch.delenv(name)
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")]
)
def test_no_message_fails(error):
    terminal = Terminal(err=Broken(error))
    terminal.note("a")
    terminal.complain("b")
    assert not terminal.is_live
    terminal.console().print("c")
    assert isinstance(terminal.err, MessageStream)


def run_status() -> str:
    assert load_model(Path("checkpoints/a", MODEL)).weights
    return json.loads(Path("checkpoints/a", RUN).read_text())["status"]


def without_reader() -> int:
    """The writing end of a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("closed", ["stderr", "both"])
def test_a_pipe_without_a_reader_ends_no_training(closed):
    pipe = without_reader()
    out = pipe if closed == "both" else subprocess.DEVNULL
    command = [*TRAIN, "--steps", "30", *(["--json"] if closed == "both" else [])]
    code = subprocess.run(command, stdout=out, stderr=pipe).returncode
    assert (code, run_status()) == (0, "done")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_full_disk_ends_no_training_and_is_told(quiet):
    with open("/dev/full", "wb") as full:
        command = [*TRAIN, "--steps", "30", "--json", *quiet]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert "stdout: No space left on device" in result.stderr
        assert (result.returncode, run_status()) == (1, "done")
        code = subprocess.run([*TRAIN, "--steps", "30", "--overwrite"], stderr=full).returncode
        assert (code, run_status()) == (0, "done")


def test_ctrl_c_saves_the_run_when_it_also_ends_the_reader_of_its_messages():
    with subprocess.Popen(
        [*TRAIN, "--steps", "1000000", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for line in process.stdout:
            if json.loads(line)["event"] == "step":
                break
        process.stdout.close()
        process.stderr.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert run_status() == "interrupted"
    assert subprocess.run([*CHARGEN, "resume", "a", "--steps", "2"], stderr=-3).returncode == 0
