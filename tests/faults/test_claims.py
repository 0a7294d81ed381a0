"""A run's name belongs to it from the moment it is chosen; nothing is lost to another run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import chargen
from chargen.cli.main import run
from chargen.errors import UsageError
from chargen.files import is_locked
from chargen.model import run_states
from chargen.model.claims import claim_folder
from chargen.model.runs import COMPARISON, METRICS, MODEL, RUN, locate_model, locate_run
from chargen.training.events import StepDone

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "steps": 6}
OPTIONS = [
    word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


@pytest.fixture(autouse=True)
def text():
    Path("diary.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")


def names() -> list[str]:
    return sorted(path.name for path in Path("checkpoints").iterdir())


def test_two_unnamed_runs_of_one_text_get_two_names():
    first, second = chargen.train("diary.txt", **TINY), chargen.train("diary.txt", **TINY)
    folders = [next(first).folder, next(second).folder]
    assert [folder.name for folder in folders] == ["diary", "diary-2"]
    for events in (first, second):
        assert sum(isinstance(event, StepDone) for event in events) == 6
    assert names() == ["diary", "diary-2"]


def test_two_processes_that_begin_at_once_both_train():
    command = [sys.executable, "-m", "chargen", "train", "diary.txt", *OPTIONS, "--quiet"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert names() == ["diary", "diary-2"]


def test_a_name_that_was_free_is_not_taken_while_the_corpus_is_read():
    claim = claim_folder(["x"], run="a")
    with pytest.raises(UsageError, match="this process is training it already"):
        claim_folder(["x"], run="a")
    assert claim_folder(["a"]).folder.name == "a-2"
    claim.close()


def test_a_run_that_another_finished_meanwhile_is_not_overwritten(monkeypatch):
    """Between the choice of the name and the first step, nobody else gets in."""
    slow = chargen.train("diary.txt", run="a", **TINY)
    next(slow)
    with pytest.raises(UsageError, match="this process is training it already"):
        list(chargen.train("diary.txt", run="a", overwrite=True, **TINY))
    list(slow)
    weights = Path("checkpoints/a", MODEL).read_bytes()
    with pytest.raises(UsageError, match="holds a run already"):
        list(chargen.train("diary.txt", run="a", **TINY))
    assert Path("checkpoints/a", MODEL).read_bytes() == weights


@pytest.mark.parametrize("how", ["unreadable text", "stopped before the first step", "killed"])
def test_a_claim_of_a_run_that_never_began_leaves_nothing(how):
    if how == "unreadable text":
        Path("empty.txt").touch()
        assert run(["train", "empty.txt", "--run", "diary"]) == 3
    elif how == "stopped before the first step":
        events = chargen.train("diary.txt", run="diary", **TINY)
        next(events)
        events.close()
    else:
        Path("checkpoints/diary").mkdir(parents=True)
        Path("checkpoints/.diary.lock").touch()
    assert how == "killed" or not Path("checkpoints").exists()
    list(chargen.train("diary.txt", **TINY))
    assert names() in (["diary"], [".diary.lock", "diary"])


def test_the_demo_replaces_an_earlier_demo_and_nothing_else(capsys):
    Path("demo.txt").write_text("my own words\n" * 99, encoding="utf-8")
    list(chargen.train("demo.txt", **TINY))
    own = Path("checkpoints/demo", MODEL).read_bytes()
    for _ in range(2):
        assert run(["demo", "--minutes", "0.002"]) == 0
        assert names() == ["demo", "demo-2"]
    assert Path("checkpoints/demo", MODEL).read_bytes() == own
    assert "chargen repl demo-2" in capsys.readouterr().err


def test_a_run_wins_over_a_text_of_its_name():
    Path("diary").write_text("the sea and the wind\n" * 80, encoding="utf-8")
    list(chargen.train("diary", **TINY))
    assert locate_model("diary") == Path("checkpoints/diary", MODEL)
    assert run(["sample", "diary", "--length", "3"]) == 0
    assert run(["eval", "diary", "diary", "--json"]) == 0
    assert run(["surprise", "diary"]) == 0  # FILE is what this command needs
    assert locate_run("diary") == Path("checkpoints/diary")
    # A model file wins over a run.
    Path("model").write_bytes(Path("checkpoints/diary", MODEL).read_bytes())
    Path("checkpoints/diary").rename("checkpoints/model")
    assert locate_model("model") == Path("model")


def test_the_newest_run_is_not_a_part_of_an_open_comparison():
    list(chargen.train("diary.txt", run="mine", **TINY))
    list(chargen.train("diary.txt", run="c-lstm", **TINY))
    marker = Path("checkpoints/c-lstm", COMPARISON)
    marker.write_text(json.dumps({"runs": ["c-lstm", "c-gru"]}))
    assert locate_model(None).parent.name == "mine"
    assert locate_run(None).name == "mine"
    marker.write_text(json.dumps({"runs": ["c-lstm"]}))
    assert locate_model(None).parent.name == "c-lstm"
    marker.write_text("[")
    assert locate_model(None).parent.name == "c-lstm"


def test_a_comparison_marks_its_runs():
    plan = ["compare", "diary.txt", "--cells", "rnn,gru", "--steps", "4", "--run", "c"]
    assert run(plan) == 0
    marked = json.loads(Path("checkpoints/c-rnn", COMPARISON).read_text())
    assert marked == {"runs": ["c-rnn", "c-gru"]}


def test_killed_runs_are_told_from_those_that_train(capsys):
    events = chargen.train("diary.txt", run="a", **TINY)
    while not Path("checkpoints/a", RUN).exists():
        next(events)
    list(chargen.train("diary.txt", run="b", **TINY))
    assert is_locked(Path("checkpoints/a"))
    assert run_states.describe_run(Path("checkpoints/a"))["status"] == "training"
    list(events)
    record = json.loads(Path("checkpoints/a", RUN).read_text())
    # What a kill leaves: run.json as it was written at the beginning.
    record |= {"status": "training", "validation": None, "steps": 0, "seconds": 0.0}
    Path("checkpoints/a", RUN).write_text(json.dumps(record))
    described = run_states.describe_run(Path("checkpoints/a"))
    last = json.loads(Path("checkpoints/a", METRICS).read_text().splitlines()[-1])
    assert described["status"] == "killed"
    assert described["validation"] == chargen.load("a").card["validation"]
    assert (described["steps"], described["seconds"]) == (6, last["seconds"])
    capsys.readouterr()
    assert run(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "killed" in next(line for line in lines if line.startswith("a "))
    assert "no score" not in "".join(lines)
