"""Plans: given settings are kept, the others are sensible, a plan by steps needs no clock."""

from __future__ import annotations

import os

import pytest
import torch

from chargen.errors import ChargenError, UsageError
from chargen.training import autotune, planner
from chargen.training.config import TrainConfig, check_settings
from chargen.training.kernels import Kernel, candidates
from chargen.training.planner import flop_per_token, make_plan


def plan(train_tokens=1_000_000, vocab_size=65, **given):
    return make_plan(given, vocab_size=vocab_size, train_tokens=train_tokens, valid_tokens=100_000)


def test_given_settings_are_kept():
    given = {
        "cell": "gru", "hidden_size": 40, "num_layers": 3, "embedding_size": 9, "steps": 11,
        "batch_size": 3, "bptt": 7, "learning_rate": 0.1, "dropout": 0.4, "seed": 5,
        "schedule": "cosine", "patience": 1, "evaluations": 2, "ema": 0.0,
    }  # fmt: skip
    made = plan(**given)
    for name, value in given.items():
        assert getattr(made.train, name, None) == value or getattr(made.model, name) == value


def test_plans_by_steps_or_epochs_do_not_read_the_clock(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: pytest.fail("the plan reads the clock"))
    assert plan(steps=500) == plan(steps=500)
    made = plan(epochs=2)
    tokens = made.train.steps * made.train.batch_size * made.train.bptt
    assert 2_000_000 <= tokens < 2_000_000 + made.train.batch_size * made.train.bptt
    assert made.train.minutes is None


def test_minutes_become_steps_at_the_speed_of_this_machine():
    made = plan(minutes=0.02, hidden_size=16)
    assert made.train.minutes == 0.02
    assert made.train.threads in (1, torch.get_num_threads(), os.cpu_count())
    assert made.train.steps >= 1
    assert "tokens a second" in made.reasons[0]
    chosen = Kernel(made.train.kernel, bf16=made.train.precision == "bf16")
    assert chosen in candidates("lstm", "cpu", "auto", "auto")
    assert chosen.label in made.reasons[0]


@pytest.fixture
def machine(monkeypatch):
    """Simulates a machine of so many FLOP a second, with the same kernels everywhere."""
    kernels = [Kernel("native", bf16=True), Kernel("stock", bf16=False)]
    monkeypatch.setattr(autotune, "candidates", lambda *_: kernels)
    for module in (autotune, planner):
        monkeypatch.setattr(module, "native_problem", lambda *_: None)

    def of(flops):
        def seconds(model, train, kernel, threads, count, probe=None):
            torch.set_num_threads(torch.get_num_threads())
            work = flop_per_token(model) * train.batch_size * train.bptt
            return work / flops / (1 if kernel.bf16 else 0.5)

        monkeypatch.setattr(autotune, "seconds_per_step", seconds)

    return of


def test_longer_runs_and_faster_machines_get_wider_models(machine):
    machine(230e9)
    widths = [plan(minutes=minutes).model.hidden_size for minutes in (0.2, 2, 5)]
    assert 150 < widths[0] < widths[1] < widths[2] <= 704
    machine(23e9)
    slow = plan(minutes=2).model.hidden_size
    assert slow < widths[1]
    assert plan(minutes=2, hidden_size=widths[1]).model.hidden_size == widths[1]


def test_models_of_long_runs_have_several_groups(machine):
    machine(230e9)
    models = [plan(minutes=minutes).model for minutes in (2, 5, 10, 30, 300)]
    assert [model.groups for model in models] == [1, 1, 2, 6, 6]
    assert all(600 <= model.group_size <= 704 for model in models[1:])
    assert plan(minutes=300, train_tokens=100_000_000).model.groups > 1
    assert plan(minutes=30, train_tokens=100_000_000).model.groups == 1
    assert plan(minutes=30, groups=2).model.groups == 2
    assert plan(minutes=30, groups=2).model.group_size == 704
    assert plan(minutes=30, tied_head=True).model.groups == 1
    assert plan(minutes=30, hidden_size=640).model.groups == 1
    assert plan(steps=10**6).model.groups == 1
    check_settings({"groups": 3})
    assert plan(steps=9, groups=3).model.groups == 3
    assert plan(minutes=30, groups=4, hidden_size=640).model.group_size == 160


def test_a_gpu_gets_larger_steps_and_wider_models(machine, monkeypatch):
    machine(20e12)
    on_cpu = plan(minutes=10, train_tokens=10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(autotune, "prepare_torch", lambda _: torch.device("cuda"))
    on_gpu = plan(minutes=10, train_tokens=10**9)
    assert on_gpu.train.batch_size > on_cpu.train.batch_size
    assert on_gpu.model.group_size > on_cpu.model.group_size
    assert plan(minutes=10, train_tokens=10**9, device="cpu").train.batch_size == 32


@pytest.mark.parametrize("minutes", [0.2, 2, 5, 30])
@pytest.mark.parametrize("train_tokens", [9_000, 1_000_000, 100_000_000])
def test_any_duration_and_any_corpus_size_get_a_sensible_plan(machine, minutes, train_tokens):
    machine(230e9)
    made = plan(train_tokens=train_tokens, minutes=minutes)
    passes = made.train.steps * made.train.batch_size * made.train.bptt / train_tokens
    assert made.train.batch_size * made.train.bptt <= train_tokens
    assert made.train.steps > 100
    assert made.train.dropout > 0.2 or passes < 3
    assert made.train.dropout < 0.2 or passes > 2
    assert made.train.dropout <= 0.6
    assert len(made.reasons) == 2


def test_the_kernel_is_timed_for_a_plan_by_minutes_and_fixed_for_a_plan_by_steps(monkeypatch):
    kernels = [Kernel("torch", bf16=True), Kernel("stock", bf16=False)]
    monkeypatch.setattr(autotune, "candidates", lambda *_: kernels)
    monkeypatch.setattr(
        autotune,
        "seconds_per_step",
        lambda model, train, kernel, threads, count, probe=None: (
            1.0 if kernel.bf16 else 0.5 + threads
        ),
    )
    timed = plan(minutes=1, threads=1).train
    assert (timed.kernel, timed.precision) == ("torch", "bf16")
    monkeypatch.setattr(
        autotune, "seconds_per_step", lambda model, train, kernel, *_: 1.0 + kernel.bf16
    )
    assert plan(minutes=1).train.kernel == "stock"
    assert plan(steps=10).train.kernel == "torch"


def test_a_kernel_that_this_machine_lacks_is_an_error(monkeypatch):
    monkeypatch.setattr(autotune, "candidates", lambda *_: [])
    monkeypatch.setattr(autotune, "native_problem", lambda *_: None)
    with pytest.raises(ChargenError, match="--kernel native --precision bf16: this machine cannot"):
        plan(steps=3, kernel="native", precision="bf16")


def test_a_corpus_shorter_than_a_window_gets_a_shorter_window_and_a_reason():
    made = plan(train_tokens=30, steps=5)
    assert made.train.bptt == 29
    assert made.train.batch_size == 1
    assert made.reasons[0] == "window of 29 tokens instead of 48: the corpus is that short"


def test_many_passes_with_a_small_vocabulary_get_two_dropout_masks():
    often, once = plan(epochs=20), plan(epochs=1)
    assert (often.train.dropout_masks, once.train.dropout_masks) == (2, 1)
    assert plan(epochs=20, vocab_size=8_000).train.dropout_masks == 1
    assert plan(epochs=20, dropout_masks=3).train.dropout_masks == 3
    assert plan(epochs=20, dropout=0.0).train.dropout_masks == 1


def test_many_passes_get_dropout_and_small_texts_get_small_models():
    assert plan(train_tokens=10_000, epochs=60).train.dropout >= 0.4
    assert plan(epochs=0.5).train.dropout == 0
    assert plan(train_tokens=10_000, epochs=60).model.hidden_size < plan(epochs=9).model.hidden_size


def test_a_tied_head_gives_embedding_and_layers_the_same_width():
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
        ({"kernel": "nativ"}, "did you mean 'native'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"optimizer": "muo"}, "did you mean 'muon'"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"learning_rate": float("nan")}, "learning-rate nan"),
        ({"hidden_size": -1}, "hidden-size -1"),
        ({"wings": 2}, "unknown setting 'wings'"),
        ({"tied_head": True, "hidden_size": 3, "embedding_size": 4}, "tied head"),
        ({"groups": 0}, "groups 0: must be"),
        ({"groups": 3, "hidden_size": 64}, "groups 3: hidden-size 64 cannot be divided by it"),
        ({"groups": 3, "tied_head": True}, "a tied head serves one network only"),
    ],
)
def test_bad_settings_are_named_before_the_corpus_is_read(given, message):
    with pytest.raises(UsageError, match=message):
        check_settings(given)


def test_all_problems_of_a_config_are_reported_at_once():
    with pytest.raises(UsageError, match=r"steps 0.*batch-size 0.*dropout 2"):
        TrainConfig(steps=0, batch_size=0, dropout=2)


def test_a_short_run_scores_only_part_of_a_large_validation_text():
    made = make_plan({"steps": 500}, vocab_size=65, train_tokens=10**8, valid_tokens=10**7)
    learned = 500 * made.train.batch_size * made.train.bptt
    assert made.train.final_tokens < learned
    assert made.train.evaluation_tokens * made.train.evaluations < learned
    assert plan(steps=8_000).train.final_tokens > 100_000, (
        "the ordinary validation text is scored whole"
    )
