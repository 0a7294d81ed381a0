"""What a run says at its end when it learned little: a reason that fits, and advice that works."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import chargen
from chargen.hints import read_by
from chargen.model.checkpoint import save_model
from chargen.model.score import Score
from chargen.training import session, trainer
from chargen.training.config import check_settings
from chargen.training.events import Evaluated, Finished, StepDone
from chargen.training.schedule import Pacing
from chargen.training.snapshot import load_snapshot
from chargen.training.verdict import TextSize, describe_failure
from tests.cli.conftest import cli  # noqa: F401  a fixture
from tests.conftest import make_model
from tests.training.test_snapshot import forge

POOR = Score(**{**dict.fromkeys(Score.__dataclass_fields__, 1.0), "nats_per_token": 3.0})
SHORT = TextSize(characters=3_060, tokens=3_060, tokens_per_step=720, weights=40_000)
LONG = TextSize(characters=900_000, tokens=900_000, tokens_per_step=1_536, weights=40_000)
SIZE = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "kernel": "torch"}


def told(**more):
    settings = {"steps": 500, "minutes": None, "asked": {"steps": 500}, "text": LONG}
    return describe_failure(POOR, 2.0, **{**settings, **more})


def advised(line):
    """The keyword and its value that a line of the library names."""
    name, value = re.search(r"for example with (\w+)=([^ ,;]+)", line).groups()
    return {name: ast.literal_eval(value)}


@pytest.mark.parametrize(
    ("asked", "longer"),
    [
        ({"minutes": 0.5}, {"minutes": 2}),
        ({"minutes": 0.7}, {"minutes": 2.8}),
        ({"epochs": 0.25}, {"epochs": 1}),
        ({"steps": 500}, {"steps": 2000}),
        ({"steps": 1_234_567}, {"steps": 4_938_000}),
    ],
)
def test_the_length_that_was_asked_for_is_the_one_to_raise(asked, longer):
    line = told(asked=asked, minutes=asked.get("minutes"))
    assert advised(line) == longer
    check_settings(advised(line))
    assert {type(value) for value in advised(line).values()} <= {int, float}
    ((name, value),) = longer.items()
    with read_by("command"):
        assert told(asked=asked).endswith(f"; train longer, for example with --{name} {value}")
        line = told(asked=asked, minutes=asked.get("minutes"))
        assert line.endswith(f" --{name} {value}")


@pytest.mark.parametrize("steps", [0, 1, 7, 29])
def test_as_many_minutes_as_are_advised_are_enough_at_the_same_speed(steps):
    line = describe_failure(None, None, steps=steps, minutes=0.5)
    assert line.startswith(f"only {steps} step{'' if steps == 1 else 's'} in 0.5 minutes")
    longer = advised(line)["minutes"]
    assert describe_failure(None, None, steps=int(max(1, steps) * longer / 0.5), minutes=1) is None


def test_a_few_steps_are_enough_where_a_model_became_better():
    """Fine-tuning begins with what its base knows; 13 steps can teach it much."""
    few = {"steps": 13, "minutes": 1.0}
    assert told(**few).startswith("only 13 steps in 1 minute: ")
    assert told(**few, nats_before=3.5) is None
    assert told(**few, nats_before=2.5).startswith("only 13 steps in 1 minute: ")


def test_a_run_that_stopped_early_is_not_told_to_train_longer():
    for minutes, steps in ((None, 500), (0.5, 500), (0.5, 10)):
        line = told(minutes=minutes, steps=steps, stopped_early=True)
        assert "longer" not in line
        assert "too few" not in line
        assert line.endswith(
            ": too irregular a text; it stopped early, because more steps did not help"
        )
    line = told(stopped_early=True, text=SHORT)
    assert line.endswith("because more steps did not help; give more text")


def test_a_short_text_is_called_short():
    line = told(steps=2, asked={"steps": 2}, text=SHORT)
    assert line.endswith(
        ": too few steps (2), or too short a text (3,060 characters for 40,000 weights); "
        "train longer, for example with steps=8, or give more text"
    )
    assert "short" not in told(text=LONG)
    assert "short" not in told(text=None)


@pytest.mark.parametrize(
    ("tokens", "tokens_per_step", "weights", "is_short"),
    [
        (7_199, 720, 1, True),
        (7_200, 720, 1, False),
        (7_200, 720, 360_000, False),
        (7_200, 720, 360_001, True),
    ],
)
def test_short_is_few_batches_or_many_weights(tokens, tokens_per_step, weights, is_short):
    size = TextSize(characters=1, tokens=tokens, tokens_per_step=tokens_per_step, weights=weights)
    assert size.is_short == is_short


def test_a_size_counts_characters_and_weights():
    train, characters = np.array([0, 1, 1, 2], np.uint8), np.array([5, 2, 0])
    size = TextSize.of(train, characters, 10, {"a": np.zeros((2, 3)), "b": np.zeros(4)})
    assert size == TextSize(characters=9, tokens=4, tokens_per_step=10, weights=10)


def test_the_advice_of_a_real_run_can_be_typed(cli):  # noqa: F811
    Path("a.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")
    words = ["train", "a.txt", "--run", "r", "--hidden-size", "8", "--learning-rate", "1e-6"]
    _, _, err = cli(*words, "--steps", "2")
    way = re.search(r"for example with (--steps \d+), or give more text", err)[1]
    assert way == "--steps 8"
    assert cli(*words, *way.split(), "--overwrite")[0] == 0
    (*_, last) = chargen.train("a.txt", run="s", epochs=0.25, learning_rate=1e-6, **SIZE)
    assert "too short a text" not in last.verdict, "3,060 characters are 190 batches of 16"
    assert advised(last.verdict) == {"epochs": 1}
    (*_, last) = chargen.resume("s", **advised(last.verdict))
    assert advised(last.verdict) == {"epochs": 4}


def test_steps_and_minutes_are_those_of_the_same_stretch(monkeypatch):
    Path("a.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")
    given = []
    monkeypatch.setattr(session, "describe_failure", lambda *_, **more: given.append(more))
    list(chargen.train("a.txt", run="r", steps=40, **SIZE))
    list(chargen.resume("r", steps=3))
    assert [(one["steps"], one["steps_before"]) for one in given] == [(40, 0), (3, 40)]
    assert [one["asked"] for one in given] == [{"steps": 40}, {"steps": 3}]
    assert [one["stopped_early"] for one in given] == [False, False]


def test_an_early_stop_is_told_to_the_verdict(monkeypatch):
    Path("a.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")
    given = []
    monkeypatch.setattr(session, "describe_failure", lambda *_, **more: given.append(more))
    monkeypatch.setattr(trainer, "_nats", lambda score: 1.0)  # no score is better than the first
    (*_, last) = chargen.train("a.txt", run="r", steps=40, patience=1, **SIZE)
    assert (last.reason, given[0]["stopped_early"]) == ("early stop", True)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_resumed_run_scores_as_many_tokens_as_before(monkeypatch, is_old):
    """A machine that was slow for a while made the scores shorter; later scores stay like them."""
    Path("a.txt").write_text("the sea and the wind and the gulls\n" * 900, encoding="utf-8")
    settings = {**SIZE, "steps": 40, "evaluations": 10, "evaluation_tokens": 3_000}

    def slow(pacing, seconds):
        pacing.score_limit, pacing.scoring_seconds = 2_500, 0.125

    with monkeypatch.context() as patched:
        patched.setattr(Pacing, "scored", slow)
        events = chargen.train(
            "a.txt", run="r", should_stop=lambda: bool(seen), patience=0, **settings
        )
        seen = []
        for event in events:
            seen += [event] if isinstance(event, Evaluated) else []
    path = Path("checkpoints/r")
    position = load_snapshot(path / "training.safetensors").position
    assert position["pacing"] == {"score_limit": 2_500, "scoring_seconds": 0.125}
    if is_old:
        forge(path, lambda header, tensors: header["position"].pop("pacing"))
    limits = []
    calibrated = trainer.evaluate_calibrated

    def noting(network, tokens, lengths, limit, **more):
        limits.append(limit)
        return calibrated(network, tokens, lengths, limit, **more)

    monkeypatch.setattr(trainer, "evaluate_calibrated", noting)
    (*steps, last) = chargen.resume("r")
    assert isinstance(last, Finished)
    assert any(isinstance(event, StepDone) for event in steps)
    assert set(limits) == {3_000 if is_old else 2_500}


def test_a_run_that_its_passes_end_is_not_told_more_minutes(monkeypatch, tmp_path):
    """Fine-tuning on a small text takes fewer steps than the minutes allow."""
    save_model(tmp_path / "base.safetensors", make_model(characters="\n adeghilnstuw"))
    Path("a.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")
    given = []
    monkeypatch.setattr(session, "describe_failure", lambda *_, **more: given.append(more))
    (plan, *_, last) = chargen.finetune(
        tmp_path / "base.safetensors", "a.txt", run="r", minutes=1_000, patience=0, threads=1
    )
    assert plan.train.minutes is None
    assert (given[0]["minutes"], given[0]["asked"]) == (None, {"steps": last.step})
