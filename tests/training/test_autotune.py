"""The choice of a kernel, and CHARGEN_CPU, which hides features of the CPU."""

from __future__ import annotations

import pytest

from chargen.errors import UsageError
from chargen.model.config import ModelConfig
from chargen.training import autotune
from chargen.training.config import TrainConfig
from chargen.training.kernels import Kernel, candidates, native
from chargen.training.kernels.build import CpuLimits, cpu_limits
from chargen.training.network import RecurrentLM

MODEL = ModelConfig(vocab_size=11, hidden_size=16, embedding_size=8)


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ("", CpuLimits()),
        ("no-bf16", CpuLimits(bf16=False)),
        ("march=haswell,no-bf16", CpuLimits(target="haswell", bf16=False)),
        ("no-compiler", CpuLimits(compiler=False)),
    ],
)
def test_the_environment_limits_the_cpu(monkeypatch, words, limits):
    monkeypatch.setenv("CHARGEN_CPU", words)
    assert cpu_limits() == limits


def test_a_misspelled_limit_is_an_error(monkeypatch):
    monkeypatch.setenv("CHARGEN_CPU", "no-bfloat16")
    with pytest.raises(UsageError, match="CHARGEN_CPU: unknown word 'no-bfloat16'"):
        cpu_limits()


def test_limits_remove_kernels(monkeypatch):
    native.library.cache_clear()
    try:
        monkeypatch.setenv("CHARGEN_CPU", "no-bf16")
        assert not any(kernel.bf16 for kernel in candidates("gru", "cpu", "auto", "auto"))
        native.library.cache_clear()
        monkeypatch.setenv("CHARGEN_CPU", "no-compiler")
        names = {kernel.name for kernel in candidates("gru", "cpu", "auto", "auto")}
        assert names == {"torch", "stock"}
    finally:
        native.library.cache_clear()


def test_the_kernel_and_threads_with_the_fastest_round_are_chosen(monkeypatch):
    """Not those with the best mean: other programs can slow a round down."""
    kernels = [Kernel("torch", bf16=False), Kernel("stock", bf16=False)]
    monkeypatch.setattr(autotune, "candidates", lambda *_: kernels)
    rounds = {("torch", 1): [9.0, 1.0], ("torch", 2): [3.0, 3.0], ("stock", 1): [2.0, 2.0],
              ("stock", 2): [4.0, 4.0]}  # fmt: skip
    monkeypatch.setattr(autotune.torch, "get_num_threads", lambda: 2)

    def seconds(model, train, kernel, threads, count):
        return rounds[kernel.name, threads].pop(0)

    monkeypatch.setattr(autotune, "seconds_per_step", seconds)
    assert autotune.fastest(MODEL, TrainConfig(steps=1)) == (kernels[0], 1)


def test_a_real_step_takes_time():
    train = TrainConfig(steps=1, batch_size=2, bptt=4)
    for kernel in autotune.kernels_for(MODEL, train):
        assert autotune.seconds_per_step(MODEL, train, kernel, 1, 1) > 0


@pytest.mark.parametrize("vocabulary", [12, 300])
def test_steps_between_two_looks_at_a_gpu_are_timed_together(vocabulary):
    times = iter([1.0, 5.0])
    network = RecurrentLM(ModelConfig(vocab_size=vocabulary, hidden_size=8, embedding_size=4))
    train = TrainConfig(steps=1, batch_size=2, bptt=3)
    seconds = autotune.seconds_per_graphed_step(
        network, train, 8, lambda: next(times), capture=False
    )
    assert seconds == 4.0 / 8
