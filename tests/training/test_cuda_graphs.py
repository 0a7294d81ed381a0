"""Steps without synchronisation equal single steps; capturing them needs a GPU."""

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
    """The events of a run, and its trainer."""
    torch.manual_seed(0)
    model = ModelConfig(vocab_size=12, cell=cell, hidden_size=16, embedding_size=8)
    settings = {"steps": 90, "batch_size": 6, "bptt": 10, "evaluations": 5, **more}
    network = RecurrentLM(model).to(device)
    trainer = Trainer(network, TrainConfig(**settings), text[:8_000], text[8_000:], LENGTHS)
    if graphed:
        trainer._fast = GraphedSteps(trainer, trainer.recovery, capture=capture)
    return list(trainer.run()), trainer


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    "more", [{}, {"optimizer": "adamw", "ema": 0.0}, {"schedule": "wsd"}], ids=str
)
def test_several_steps_per_sync_equal_single_steps(text, cell, more, monkeypatch):
    counts = itertools.cycle([1, 3, MAX_STEPS, 2, 7])
    monkeypatch.setattr(schedule, "SECONDS_PER_LOOK", 1e9)
    single, trainer = trained(text, graphed=False, cell=cell, **more)
    real = Trainer._steps_until_sync
    monkeypatch.setattr(Trainer, "_steps_until_sync", lambda self: min(next(counts), real(self)))
    graphed, graphed_trainer = trained(text, graphed=True, cell=cell, **more)
    np.testing.assert_allclose(losses(graphed), losses(single), rtol=1e-5)
    for field in ("step", "steps", "tokens"):
        steps = [
            [getattr(event, field) for event in events if isinstance(event, StepDone)]
            for events in (single, graphed)
        ]
        assert steps[0] == steps[1]
    scores = [
        [
            (event.step, event.score.nats_per_token)
            for event in events
            if isinstance(event, Evaluated)
        ]
        for events in (single, graphed)
    ]
    assert [step for step, _ in scores[0]] == [step for step, _ in scores[1]]
    values = [[score for _, score in scored] for scored in scores]
    np.testing.assert_allclose(*values, rtol=1e-5)
    left, right = trainer.tensors(), graphed_trainer.tensors()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-3, atol=1e-5)
    assert trainer.optimizer.muon.steps == graphed_trainer.optimizer.muon.steps


def test_steps_after_a_bad_loss_are_undone_at_the_next_sync(text, monkeypatch):
    """The weights go back to the last copy, the window is skipped, the rate is halved."""
    monkeypatch.setattr(schedule, "SECONDS_PER_LOOK", 1e9)
    real, calls = GraphedSteps._step, itertools.count(1)

    def step(self):
        real(self)
        if next(calls) == 40:
            self._last_result[0] = torch.nan
            with torch.no_grad():
                for parameter in self._training.network.parameters():
                    parameter.fill_(torch.nan)

    monkeypatch.setattr(GraphedSteps, "_step", step)
    events, trainer = trained(text, graphed=True)
    (recovered,) = (event for event in events if isinstance(event, Recovered))
    assert "step 40: the loss was nan" in recovered.what
    assert trainer.recovery.rate == 0.5
    assert trainer.recovery.skipped_windows == 40 - recovered.step
    assert recovered.step <= 40 - 1
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert np.isfinite(finished.score.nats_per_token)
    assert all(np.isfinite(losses(events)))
    assert max(recovery.STEPS_BETWEEN_COPIES, MAX_STEPS) == recovery.STEPS_BETWEEN_COPIES, (
        "no copy is due between two syncs"
    )


def test_an_example_step_orthogonalizes_or_not_as_asked():
    muon = Muon([], 4, bf16=False)
    for orthogonalizes in (True, False):
        muon.steps = muon.example_step(orthogonalizes)
        assert muon.orthogonalizes_next is orthogonalizes


@GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_captured_steps_equal_plain_steps(text, cell):
    plain, plain_trainer = trained(text, graphed=True, device="cuda", cell=cell, precision="fp32")
    captured, captured_trainer = trained(
        text, graphed=True, device="cuda", capture=True, cell=cell, precision="fp32"
    )
    np.testing.assert_allclose(losses(captured), losses(plain), rtol=1e-3)
    captured_tensors = captured_trainer.network.state_dict()
    for name, value in plain_trainer.network.state_dict().items():
        torch.testing.assert_close(value, captured_tensors[name], rtol=1e-2, atol=1e-3)


@GPU
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_losses_on_gpu_and_cpu_are_nearly_equal(text, cell):
    on_cpu, _ = trained(text, graphed=False, cell=cell)
    on_gpu, _ = trained(
        text, graphed=True, device="cuda", capture=True, cell=cell, precision="fp32"
    )
    np.testing.assert_allclose(losses(on_gpu)[:30], losses(on_cpu)[:30], rtol=1e-2)
