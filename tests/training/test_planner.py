"""Plans: what is given is kept, what is not is sensible, and steps need no clock."""

from __future__ import annotations

import os

import pytest
import torch

from chargen.errors import UsageError
from chargen.training.config import TrainConfig, check_settings
from chargen.training.planner import make_plan


def plan(train_tokens=1_000_000, **given):
    return make_plan(given, vocab_size=65, train_tokens=train_tokens, valid_tokens=100_000)


def test_what_is_given_is_kept():
    given = {
        "cell": "gru", "hidden_size": 40, "num_layers": 3, "embedding_size": 9, "steps": 11,
        "batch_size": 3, "bptt": 7, "learning_rate": 0.1, "dropout": 0.4, "seed": 5,
        "schedule": "cosine", "patience": 1, "evaluations": 2, "ema": 0.0,
    }  # fmt: skip
    made = plan(**given)
    for name, value in given.items():
        assert getattr(made.train, name, None) == value or getattr(made.model, name) == value


def test_steps_and_epochs_do_not_look_at_the_clock(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: pytest.fail("looked at the clock"))
    assert plan(steps=500) == plan(steps=500)
    made = plan(epochs=2)
    tokens = made.train.steps * made.train.batch_size * made.train.bptt
    assert 2_000_000 <= tokens < 2_000_000 + made.train.batch_size * made.train.bptt
    assert made.train.minutes is None


def test_minutes_are_turned_into_steps_at_this_machines_speed():
    made = plan(minutes=0.02, hidden_size=16)
    assert made.train.minutes == 0.02
    assert made.train.threads in (1, torch.get_num_threads(), os.cpu_count())
    assert made.train.steps >= 1
    assert "tokens a second" in made.reasons[0]


def test_a_corpus_shorter_than_a_window_gets_a_smaller_one_and_is_told():
    made = plan(train_tokens=30, steps=5)
    assert made.train.bptt == 29
    assert made.train.batch_size == 1
    assert made.reasons[0] == "window of 29 tokens instead of 48: the corpus is that short"


def test_many_passes_bring_dropout_and_small_texts_small_models():
    assert plan(train_tokens=10_000, epochs=60).train.dropout >= 0.4
    assert plan(epochs=0.5).train.dropout == 0
    assert plan(train_tokens=10_000, epochs=60).model.hidden_size < plan(epochs=9).model.hidden_size


def test_a_tied_head_makes_embedding_and_layers_one_width():
    assert plan(tied_head=True, steps=9).model.tied_head
    made = plan(tied_head=True, embedding_size=48, steps=9).model
    assert made.hidden_size == made.embedding_size == 48


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minutes": 1, "steps": 3}, "--minutes and --steps: give one"),
        ({"epochs": 0}, "epochs 0"),
        ({"epochs": float("nan")}, "epochs nan"),
        ({"minutes": -1.0}, "minutes -1"),
        ({"minutes": float("inf")}, "minutes inf"),
        ({"steps": 0}, "steps 0"),
        ({"cell": "lsmt"}, "did you mean 'lstm'"),
        ({"schedule": "linaer"}, "did you mean 'linear'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"learning_rate": float("nan")}, "learning-rate nan"),
        ({"hidden_size": -1}, "hidden-size -1"),
        ({"wings": 2}, "unknown setting 'wings'"),
        ({"tied_head": True, "hidden_size": 3, "embedding_size": 4}, "tied head"),
    ],
)
def test_bad_settings_are_named_before_anything_is_read(given, message):
    with pytest.raises(UsageError, match=message):
        check_settings(given)


def test_all_problems_of_a_config_are_reported_at_once():
    with pytest.raises(UsageError, match=r"steps 0.*batch-size 0.*dropout 2"):
        TrainConfig(steps=0, batch_size=0, dropout=2)


def test_a_large_validation_part_is_not_scored_whole_in_a_short_run():
    made = make_plan({"steps": 500}, vocab_size=65, train_tokens=10**8, valid_tokens=10**7)
    learned = 500 * made.train.batch_size * made.train.bptt
    assert made.train.final_tokens < learned
    assert made.train.evaluation_tokens * made.train.evaluations < learned
    assert plan(steps=8_000).train.final_tokens > 100_000, "an ordinary one is"
