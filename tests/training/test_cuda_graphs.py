"""Steps between two synchronisations are the steps one by one; the capture needs a GPU."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from chargen.model.config import ModelConfig
from chargen.training import recovery, schedule
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import MAX_STEPS, GraphedSteps
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


def trained(text, *, graphed, device="cpu", capture=False, cell="lstm", **more):
    """A run's events, and its trainer."""
    torch.manual_seed(0)
    model = ModelConfig(vocab_size=12, cell=cell, hidden_size=16, embedding_size=8)
    settings = {"steps": 90, "batch_size": 6, "bptt": 10, "evaluations": 5, **more}
    network = RecurrentLM(model).to(device)
    made = Trainer(network, TrainConfig(**settings), text[:8_000], text[8_000:], LENGTHS)
    if graphed:
        made._fast = GraphedSteps(made, made.recovery, capture=capture)
    return list(made.run()), made


def losses(events):
    return [one.loss for one in events if isinstance(one, StepDone)]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    "more", [{}, {"optimizer": "adamw", "ema": 0.0}, {"schedule": "wsd"}], ids=str
)
def test_graphed_steps_are_the_same_steps(text, cell, more, monkeypatch):
    looks = itertools.cycle([1, 3, MAX_STEPS, 2, 7])
    monkeypatch.setattr(schedule, "SECONDS_PER_LOOK", 1e9)
    alone, one = trained(text, graphed=False, cell=cell, **more)
    whole = Trainer._steps_until_sync
    monkeypatch.setattr(Trainer, "_steps_until_sync", lambda self: min(next(looks), whole(self)))
    together, two = trained(text, graphed=True, cell=cell, **more)
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


def test_a_bad_loss_is_noticed_later_and_undone(text, monkeypatch):
    """The weights are those of before, the window is passed over, the rate is halved."""
    monkeypatch.setattr(schedule, "SECONDS_PER_LOOK", 1e9)
    real, calls = GraphedSteps._step, itertools.count(1)

    def step(self):
        real(self)
        if next(calls) == 40:
            self._last_result[0] = torch.nan
            with torch.no_grad():
                for one in self._training.network.parameters():
                    one.fill_(torch.nan)

    monkeypatch.setattr(GraphedSteps, "_step", step)
    events, made = trained(text, graphed=True)
    (recovered,) = (one for one in events if isinstance(one, Recovered))
    assert "step 40: the loss was nan" in recovered.what
    assert made.recovery.rate == 0.5
    assert made.recovery.skipped_windows == 40 - recovered.step
    assert recovered.step <= 40 - 1
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert np.isfinite(finished.score.nats_per_token)
    assert all(np.isfinite(losses(events)))
    assert max(recovery.STEPS_BETWEEN_COPIES, MAX_STEPS) == recovery.STEPS_BETWEEN_COPIES, (
        "a copy is never inside of them"
    )


def test_a_step_to_capture_is_of_the_kind_asked_for():
    muon = Muon([], 4, bf16=False)
    for turns in (True, False):
        muon.steps = muon.example_step(turns)
        assert muon.orthogonalizes_next is turns


@GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_a_captured_step_is_the_step(text, cell):
    plain, one = trained(text, graphed=True, device="cuda", cell=cell, precision="fp32")
    captured, two = trained(
        text, graphed=True, device="cuda", capture=True, cell=cell, precision="fp32"
    )
    np.testing.assert_allclose(losses(captured), losses(plain), rtol=1e-3)
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(value, two.network.state_dict()[name], rtol=1e-2, atol=1e-3)


@GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_both_devices_learn_alike(text, cell):
    here, _ = trained(text, graphed=False, cell=cell)
    there, _ = trained(text, graphed=True, device="cuda", capture=True, cell=cell, precision="fp32")
    np.testing.assert_allclose(losses(there)[:30], losses(here)[:30], rtol=1e-2)
