"""chargen resume, through the command line and under SIGKILL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chargen.cli.main import run

KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.fixture
def corpus(tmp_path, prose):
    path = tmp_path / "notes.txt"
    path.write_text(prose[:20_000], encoding="utf-8")
    return path


def test_kills_change_nothing(corpus):
    arguments = [
        sys.executable, str(KILLS), str(corpus), "--kills", "2", "--steps", "900",
        "--hidden-size", "24", "--longest", "1", "--no-table",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_finished_run_says_what_to_do_and_does_it(corpus, capsys):
    options = ["--steps", "20", "--hidden-size", "8", "--threads", "1"]
    assert run(["train", str(corpus), "--run", "notes", *options]) == 0
    assert run(["resume", "notes"]) == 2
    assert (
        "this run is over (done); to go on from there say for how long" in capsys.readouterr().err
    )
    assert run(["resume", "--steps", "10"]) == 0
    err = capsys.readouterr().err
    assert "goes on from step 20" in err
    assert "30 steps" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["resume"], 3, "no run in checkpoints/ to go on with"),
        (["resume", "nothing"], 3, "unknown run 'nothing'"),
        (["resume", "--steps", "3", "--minutes", "2"], 2, "give one of them"),
        (["resume", "--minutes", "-1"], 2, "minutes -1"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, code, message, capsys):
    assert run(arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
