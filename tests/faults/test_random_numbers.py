"""The generators of every device belong to a run's state; every seed is a seed everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.model.runs import TRAINING
from chargen.training import snapshot
from chargen.training.device import step_seed
from chargen.training.snapshot import load_snapshot

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "dropout": 0.2}


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40))
def test_the_seed_of_a_step_fits_a_generator(seed, step):
    value = step_seed(seed, step)
    assert 0 <= value < 2**63
    torch.Generator().manual_seed(value)


@given(st.integers(0, 2**63 - 2), st.integers(0, 2**40))
def test_neighbouring_seeds_and_steps_have_other_numbers(seed, step):
    values = {step_seed(seed, step), step_seed(seed + 1, step), step_seed(seed, step + 1)}
    assert len(values) == 3


@pytest.mark.parametrize("seed", [0, 2**32, 2**63 - 1])
def test_every_seed_trains(seed):
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")
    events = chargen.train("text.txt", run="a", steps=2, seed=seed, **TINY)
    assert len(list(events.steps())) == 2


def test_the_generator_of_a_gpu_is_saved_and_put_back(monkeypatch):
    """A device that cannot be had here is played by two functions."""
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")
    state = torch.arange(16, dtype=torch.uint8)
    put_back: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(snapshot, "device_generator", lambda device: state)
    monkeypatch.setattr(
        snapshot,
        "set_device_generator",
        lambda device, saved: put_back.append((device.type, saved.tolist())),
    )
    list(chargen.train("text.txt", run="a", steps=2, **TINY))
    saved = load_snapshot(Path("checkpoints/a", TRAINING)).tensors["random.device"]
    assert np.array_equal(saved, state.numpy())
    list(chargen.resume("a", steps=1))
    assert put_back == [("cpu", list(range(16)))]


def test_a_run_without_a_gpu_has_no_such_state():
    Path("text.txt").write_text("the sea and the wind\n" * 80, encoding="utf-8")
    list(chargen.train("text.txt", run="a", steps=2, **TINY))
    assert "random.device" not in load_snapshot(Path("checkpoints/a", TRAINING)).tensors
