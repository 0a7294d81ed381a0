"""Steps in strides are the steps one by one; the capture itself needs a GPU."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from chargen.model.config import ModelConfig
from chargen.training import recovery, schedule
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import LONGEST, Strides
from chargen.training.events import Evaluated, Finished, Recovered, StepDone
from chargen.training.network import RecurrentLM
from chargen.training.optimizer import Muon
from chargen.training.trainer import Trainer

LENGTHS = np.ones((2, 12), np.int64)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU")


@pytest.fixture
def text():
    """Tokens with something to learn."""
    random = np.random.default_rng(0)
    return (random.integers(0, 3, size=9_000).cumsum() % 12).astype(np.uint8)


def trained(text, *, strides, device="cpu", capture=False, cell="lstm", **more):
    """A run's events, and its trainer."""
    torch.manual_seed(0)
    model = ModelConfig(vocab_size=12, cell=cell, hidden_size=16, embedding_size=8)
    settings = {"steps": 90, "batch_size": 6, "bptt": 10, "evaluations": 5, **more}
    network = RecurrentLM(model).to(device)
    made = Trainer(network, TrainConfig(**settings), text[:8_000], text[8_000:], LENGTHS)
    if strides:
        made._strides = Strides(made, capture=capture)
    return list(made.run()), made


def losses(events):
    return [one.loss for one in events if isinstance(one, StepDone)]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    "more", [{}, {"optimizer": "adamw", "ema": 0.0}, {"schedule": "wsd"}], ids=str
)
def test_strides_take_the_same_steps(text, cell, more, monkeypatch):
    looks = itertools.cycle([1, 3, LONGEST, 2, 7])
    monkeypatch.setattr(schedule, "LOOK", 1e9)
    alone, one = trained(text, strides=False, cell=cell, **more)
    whole = Trainer._until_a_look
    monkeypatch.setattr(Trainer, "_until_a_look", lambda self: min(next(looks), whole(self)))
    together, two = trained(text, strides=True, cell=cell, **more)
    np.testing.assert_allclose(losses(together), losses(alone), rtol=1e-5)
    for field in ("step", "steps", "tokens"):
        steps = [
            [getattr(event, field) for event in events if isinstance(event, StepDone)]
            for events in (alone, together)
        ]
        assert steps[0] == steps[1]
    scores = [
        [
            (event.step, event.score.nats_per_token)
            for event in events
            if isinstance(event, Evaluated)
        ]
        for events in (alone, together)
    ]
    assert [step for step, _ in scores[0]] == [step for step, _ in scores[1]]
    np.testing.assert_allclose(*[[score for _, score in each] for each in scores], rtol=1e-5)
    left, right = one.tensors(), two.tensors()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-3, atol=1e-5)
    assert one.optimizer.muon.steps == two.optimizer.muon.steps


def test_a_bad_loss_is_noticed_a_stride_later_and_undone(text, monkeypatch):
    """The weights are those of before, the window is passed over, the rate is halved."""
    monkeypatch.setattr(schedule, "LOOK", 1e9)
    real, calls = Strides._step, itertools.count(1)

    def step(self):
        real(self)
        if next(calls) == 40:
            self._now[0] = torch.nan
            with torch.no_grad():
                for one in self._trainer.network.parameters():
                    one.fill_(torch.nan)

    monkeypatch.setattr(Strides, "_step", step)
    events, made = trained(text, strides=True)
    (healed,) = (one for one in events if isinstance(one, Recovered))
    assert "step 40: the loss was nan" in healed.what
    assert made.healing.rate == 0.5
    assert made.healing.skipped == 40 - healed.step
    assert healed.step <= 40 - 1
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert np.isfinite(finished.score.nats_per_token)
    assert all(np.isfinite(losses(events)))
    assert max(recovery._EVERY, LONGEST) == recovery._EVERY, "a copy is never inside a stride"


def test_a_step_to_capture_is_of_the_kind_asked_for():
    muon = Muon([], 4, bf16=False)
    for turns in (True, False):
        muon.steps = muon.example(turns)
        assert muon.turns is turns


@GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_a_captured_step_is_the_step(text, cell):
    plain, one = trained(text, strides=True, device="cuda", cell=cell, precision="fp32")
    graphed, two = trained(
        text, strides=True, device="cuda", capture=True, cell=cell, precision="fp32"
    )
    np.testing.assert_allclose(losses(graphed), losses(plain), rtol=1e-3)
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(value, two.network.state_dict()[name], rtol=1e-2, atol=1e-3)


@GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_both_devices_learn_alike(text, cell):
    here, _ = trained(text, strides=False, cell=cell)
    there, _ = trained(text, strides=True, device="cuda", capture=True, cell=cell, precision="fp32")
    np.testing.assert_allclose(losses(there)[:30], losses(here)[:30], rtol=1e-2)
