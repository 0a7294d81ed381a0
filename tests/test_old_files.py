"""Files that version 0.1 wrote load, sample, score and go on as they did then.

`data/runs-of-0.1` holds a finished and an unfinished run, the text that both learned from, and
what 0.1 made of them. Losses and scores are compared within rounding, since products of floats
differ between CPUs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import chargen

DATA = Path(__file__).parent / "data" / "runs-of-0.1"
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
RUNS = ("finished", "unfinished")


@pytest.fixture
def runs() -> Path:
    """The runs, copied to the working folder, and their text in the cache.

    The path that they were trained from does not exist here; the text is found by its hash.
    """
    for name in RUNS:
        shutil.copytree(DATA / name, name)
    text = DATA / "book.txt"
    options = {"hidden_size": 4, "batch_size": 2, "bptt": 8, "normalize": "none"}
    list(chargen.train(text, out="another", steps=1, **options))
    return Path()


@pytest.mark.parametrize("name", RUNS)
def test_models_write_as_they_did(name):
    model = chargen.load(DATA / name)
    text = "".join(step.text for step in model.generate("The ", length=80, seed=5))
    assert text == EXPECTED[name]["sample"]


@pytest.mark.parametrize("name", RUNS)
def test_models_score_as_they_did(name):
    score = chargen.load(DATA / name).score((DATA / "unseen.txt").read_text(encoding="utf-8"))
    assert score.to_json() == pytest.approx(EXPECTED[name]["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "length", "expected"),
    [("unfinished", {}, "resumed losses"), ("finished", {"steps": 20}, "continued losses")],
)
def test_runs_go_on_as_they_did(runs, name, length, expected):
    events = list(chargen.resume(runs / name, **length))
    losses = {str(event.step): event.loss for event in events if hasattr(event, "loss")}
    assert losses == pytest.approx(EXPECTED[expected], rel=1e-4)
    assert events[-1].reason == "done"
