"""A folder that moves, and a disk that is full for a while, cost no model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import deque
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

import chargen
from chargen.cli.main import run
from chargen.errors import ChargenError
from chargen.model import checkpoint
from chargen.model.runs import METRICS, MODEL, RUN, TRAINING
from chargen.training import run_folder
from chargen.training.events import Evaluated, Finished, Recovered, Saved, StepDone

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "seed": 1}


@pytest.fixture(autouse=True)
def text():
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")


def training(**settings):
    return chargen.train("text.txt", run="a", **{**TINY, "steps": 40, **settings})


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_another_working_directory_changes_nothing(tmp_path):
    events = list(training())
    expected = events[-1].weights
    shutil.rmtree("checkpoints")
    (tmp_path / "elsewhere").mkdir()
    for event in training():
        if isinstance(event, StepDone) and event.step == 3:
            os.chdir("elsewhere")
    assert not Path("checkpoints").exists()
    folder = tmp_path / "checkpoints" / "a"
    weights = checkpoint.load_model(folder / MODEL).weights
    assert all((weights[name] == expected[name]).all() for name in expected)
    assert {file.name for file in folder.iterdir()} == {MODEL, RUN, METRICS, TRAINING}


@pytest.mark.parametrize("change", ["rename the run", "rename its parent", "remove"])
def test_a_folder_that_is_gone_is_made_anew(tmp_path, change):
    moved = False
    events = []
    for event in training(steps=60):
        events.append(event)
        if isinstance(event, Evaluated) and not moved:
            moved = True
            if change == "rename the run":
                Path("checkpoints/a").rename("checkpoints/b")
            elif change == "rename its parent":
                Path("checkpoints").rename("old")
            else:
                shutil.rmtree("checkpoints/a")
    assert moved
    (told,) = [event.what for event in events if isinstance(event, Recovered)]
    assert "checkpoints/a was moved or removed; the run is kept there anew" in told
    folder = Path("checkpoints/a")
    assert json.loads((folder / RUN).read_text())["status"] == "done"
    lines = metrics(folder)
    assert lines[0]["event"] == "planned"
    assert lines[-1]["event"] == "finished"
    finished = events[-1] if isinstance(events[-1], Finished) else None
    assert finished is not None
    weights = checkpoint.load_model(folder / MODEL).weights
    assert all((weights[name] == finished.weights[name]).all() for name in weights)
    assert run(["resume", "a", "--steps", "2"]) == 0


def test_a_model_that_has_no_folder_any_more_is_rescued(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def train_and_lose_the_folder():
        for event in training():
            if isinstance(event, StepDone) and event.step == 30:
                shutil.rmtree("checkpoints")
                Path("checkpoints").write_text("not a folder")

    with pytest.raises(ChargenError, match=r"the finished model is in .*a\.safetensors") as error:
        train_and_lose_the_folder()
    path = str(error.value).partition("the finished model is in ")[2].partition(":")[0]
    assert Path(path).is_relative_to(tmp_path / "temporary")
    assert run(["sample", path, "--length", "3"]) == 0


def test_a_full_disk_is_told_once_and_tried_with_growing_waits(monkeypatch):
    """With a clock that stands still, nothing is tried again before the end."""
    attempts = []

    def save(path, model):
        attempts.append(path)
        raise ChargenError("the disk is full")

    monkeypatch.setattr(run_folder, "save_model", save)
    events = []
    with pytest.raises(ChargenError, match="the disk is full"):
        deque(map(events.append, training(steps=300)), maxlen=0)
    problems = [event for event in events if isinstance(event, Saved) and event.problem]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert len(steps) == 300
    assert len(problems) <= 8
    assert len(attempts) <= 10


def test_waits_between_attempts_double_up_to_a_minute(tmp_path, monkeypatch):
    now, attempts = 0.0, []

    def save(path, model):
        attempts.append(now)
        raise ChargenError("the disk is full")

    monkeypatch.setattr(run_folder, "save_model", save)
    recorder = run_folder.Recorder(tmp_path, None, {}, {}, clock=lambda: now)
    recorder._plan = type("Plan", (), {"train": type("T", (), {"seed": 0}), "model": None})
    monkeypatch.setattr(run_folder, "ModelFile", lambda **parts: parts)
    event = Evaluated(step=1, score=None, averaged=False, best=True, seconds=0.0, weights={})
    monkeypatch.setattr(run_folder, "event_record", lambda event: {})
    for second in range(400):
        now = float(second)
        with suppress(ChargenError):
            recorder.record(event)
    gaps = [after - before for before, after in pairwise(attempts)]
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
