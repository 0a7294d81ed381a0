"""On a busy machine, measuring and scoring hold to shares of the time; a useless run says so."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chargen
from chargen.cli.main import run
from chargen.model.config import ModelConfig
from chargen.model.score import Score
from chargen.training import autotune, session
from chargen.training.autotune import Probe
from chargen.training.config import TrainConfig
from chargen.training.kernels import Kernel
from chargen.training.schedule import Pacing
from chargen.training.verdict import describe_failure, unigram_nats

MODEL = ModelConfig(vocab_size=20, hidden_size=16, embedding_size=8)


class Time:
    """A clock that moves only when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("step_seconds", [0.001, 1.0, 30.0])
def test_measuring_ends_with_the_probe(monkeypatch, step_seconds):
    """No step is begun after its end, however long each takes; one is always taken."""
    time, steps = Time(), []

    def take_step(*arguments):
        assert time.now < 5 or not steps
        steps.append(time.now)
        time.now += step_seconds
        return np.float32(1.0), None, None

    monkeypatch.setattr(autotune, "take_step", take_step)
    kernels = [Kernel("torch", bf16=False), Kernel("stock", bf16=False)]
    monkeypatch.setattr(autotune, "candidates", lambda *_: kernels)
    kernel, _ = autotune.fastest(MODEL, TrainConfig(steps=1), Probe(5.0, time))
    assert kernel in kernels
    assert 1 <= len(steps) <= max(24, 5 / step_seconds + 1)
    assert time.now <= 5 + step_seconds


def test_the_speed_is_that_of_the_steps_that_were_taken(monkeypatch):
    time, durations = Time(), iter([8.0, 2.0, 2.0, 2.0])

    def take_step(*arguments):
        time.now += next(durations)
        return np.float32(1.0), None, None

    monkeypatch.setattr(autotune, "take_step", take_step)
    kernel = Kernel("torch", bf16=False)
    plan = TrainConfig(steps=1)
    assert autotune.seconds_per_step(MODEL, plan, kernel, 1, 8, Probe(11.0, time)) == 2.0
    durations = iter([8.0])
    assert autotune.seconds_per_step(MODEL, plan, kernel, 1, 8, Probe(1.0, time)) == 8.0


@pytest.mark.parametrize("seconds", [0.01, 2.0, 60.0])
def test_scores_hold_to_a_share_of_the_minutes(seconds):
    """A score that takes long makes the next ones shorter; the steps get the rest of the time."""
    config = TrainConfig(steps=100, minutes=1, evaluations=10, evaluation_tokens=40_000)
    pacing = Pacing(config, valid_tokens=100_000)
    pacing.took(0.1, 1)
    pacing.scored(seconds)
    per_token = seconds / 40_000
    left = 9 * pacing.score_limit * per_token
    assert left <= 0.15 * 60 or pacing.score_limit == 2_048
    assert (
        pacing.final_limit() * per_token * 2 <= 0.15 * 60 * 1.01 or pacing.final_limit() == 16_384
    )
    if seconds == 0.01:
        assert pacing.score_limit == 40_000
        assert pacing.final_limit() > 100_000


def test_the_bases_score_holds_to_its_time(monkeypatch):
    time, read = Time(), []

    def evaluate(network, tokens, lengths, limit):
        read.append(limit)
        time.now += min(limit, len(tokens)) * 0.001
        return _Score()

    class _Score:
        nats_per_token = 1.0

        def to_json(self):
            return {"nats_per_token": 1.0}

    monkeypatch.setattr(session, "evaluate", evaluate)
    tokens = np.zeros(100_000, np.uint8)
    session.card_score(None, tokens, None, 10.0, time)
    assert read == [2_048, 10_000 // 1]
    read.clear()
    session.card_score(None, tokens, None, 1.0, time)
    assert read == [2_048]
    read.clear()
    session.card_score(None, tokens, None)
    assert read == [65_536]


def score(nats: float) -> Score:
    fields = dict.fromkeys(Score.__dataclass_fields__, 1.0)
    return Score(**{**fields, "nats_per_token": nats})


@pytest.mark.parametrize(
    ("nats", "unigram", "steps", "minutes", "message"),
    [
        (2.0, 3.0, 500, 2.0, None),
        (2.0, 3.0, 5, None, None),
        (2.0, 3.0, 1, 0.5, "only 1 step in 0.5 minutes"),
        (
            2.9,
            2.8,
            500,
            None,
            r"no better than counts .*2\.90 against 2\.80 nats.*too few steps \(500\)",
        ),
        (math.inf, 2.8, 500, None, "no better than counts"),
        (None, None, 500, None, None),
    ],
)
def test_a_useless_run_is_told(nats, unigram, steps, minutes, message):
    final = None if nats is None else score(nats)
    told = describe_failure(final, unigram, steps=steps, minutes=minutes)
    if message is None:
        assert told is None
    else:
        assert re.search(message, told)
        assert "train longer" in told


def test_counts_of_single_tokens():
    train, valid = np.array([0, 0, 0, 1]), np.array([0, 1, 2])
    p = np.array([4, 2, 1]) / 7
    assert unigram_nats(train, valid, 3) == pytest.approx(-np.log(p).mean())


def test_a_run_of_two_steps_says_that_it_learned_nothing(capsys):
    Path("text.txt").write_text("the sea and the wind and the gulls\n" * 90, encoding="utf-8")
    (*_, last) = chargen.train("text.txt", run="a", steps=2, hidden_size=8, learning_rate=1e-6)
    assert "no better than counts of single tokens" in last.verdict
    assert run(["train", "text.txt", "--run", "b", "--steps", "2", "--hidden-size", "8",
                "--learning-rate", "1e-6"]) == 0  # fmt: skip
    assert "no better than counts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "30000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_the_command_lets_threads_give_way_unless_told_otherwise(own, expected):
    code = (
        "import os, chargen.cli.main as m\n"
        "m.run = lambda args: print(os.environ.get('GOMP_SPINCOUNT')) or 0\n"
        "m.main([])"
    )
    environment = dict(os.environ)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environment.pop(name, None)
    output = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **own}, capture_output=True, text=True
    )
    assert output.stdout.strip() == expected
