"""The training loop: it learns, a seed repeats a run bit for bit, the best weights are kept."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from chargen.model.config import ModelConfig
from chargen.text.char import CharBuilder
from chargen.text.tokenizer import token_lengths
from chargen.training.config import TrainConfig
from chargen.training.device import prepare_torch
from chargen.training.events import Evaluated, Finished, Recovered, StepDone
from chargen.training.network import RecurrentLM
from chargen.training.optimizer import EMA
from chargen.training.recovery import Diverged
from chargen.training.trainer import Trainer
from tests.conftest import CELLS


@pytest.fixture(scope="module")
def text(prose):
    builder = CharBuilder()
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    ids = tokenizer.encode(prose[:12_000]).astype(np.uint8)
    return tokenizer, ids[:10_000], ids[10_000:]


def trainer_of(text, *, cell="lstm", valid=True, clock=None, dropout=0.0, **settings) -> Trainer:
    tokenizer, train, held_out = text
    defaults = {"steps": 60, "batch_size": 4, "bptt": 16, "evaluations": 3, "threads": 1}
    config = TrainConfig(**{**defaults, **settings, "dropout": dropout})
    prepare_torch(config)
    model = ModelConfig(vocab_size=tokenizer.vocab_size, cell=cell, hidden_size=24, num_layers=2)
    network = RecurrentLM(model, dropout=dropout)
    extra = {} if clock is None else {"clock": clock}
    chosen = held_out if valid else held_out[:0]
    return Trainer(network, config, train, chosen, token_lengths(tokenizer), **extra)


@pytest.mark.parametrize("cell", CELLS)
def test_the_validation_loss_falls_far_below_chance(text, cell):
    events = list(trainer_of(text, cell=cell, steps=150).run())
    scores = [event.score.nats_per_token for event in events if isinstance(event, Evaluated)]
    assert scores[-1] < math.log(text[0].vocab_size) - 0.8
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    assert events[-1].step == 150


def test_the_same_seed_gives_the_same_run_bit_for_bit(text):
    def run(seed):
        events = list(trainer_of(text, dropout=0.3, seed=seed).run())
        losses = [event.loss for event in events if isinstance(event, StepDone)]
        return losses, events[-1].weights

    (losses, weights), (again, same), (other, _) = run(1), run(1), run(2)
    assert losses == again != other
    for name in weights:
        assert np.array_equal(weights[name], same[name])


def test_losses_equal_those_of_a_plain_training_loop(text):
    _tokenizer, train, _ = text
    losses = [
        event.loss
        for event in trainer_of(text, valid=False, optimizer="adamw").run()
        if isinstance(event, StepDone)
    ]
    twin = trainer_of(text, valid=False, optimizer="adamw")
    network, config = twin.network, twin.config
    network.train()
    decayed, others = [], []
    for name, parameter in network.named_parameters():
        is_decayed = parameter.ndim > 1 and "emb" not in name
        (decayed if is_decayed else others).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    state, data = network.zero_state(4), torch.from_numpy(train.astype(np.int64))
    for step, loss in enumerate(losses):
        starts = [(row * 10_000 // 4 + step * 16) % 10_000 for row in range(4)]
        block = torch.stack([data.roll(-start)[:17] for start in starts], dim=1)
        logits, state = network(block[:-1], tuple(part.detach() for part in state))
        value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), block[1:].flatten())
        assert value.item() == pytest.approx(loss, abs=1e-5)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        rate = config.learning_rate
        rise = max(1, config.warmup * 60)
        rate *= (step + 1) / rise if step < rise else 1 - (step - rise) / (60 - rise)
        for group in optimizer.param_groups:
            group["lr"] = min(rate, config.learning_rate)
        optimizer.step()
        optimizer.zero_grad()


def test_the_best_weights_are_kept(text):
    trainer = trainer_of(text, steps=120, evaluations=12, learning_rate=0.02, patience=0)
    events = list(trainer.run())
    scored = [event for event in events if isinstance(event, Evaluated)]
    best = min(scored, key=lambda event: event.score.nats_per_token)
    assert [event.best for event in scored].count(True) >= 1
    assert trainer.best is best
    for name in best.weights:
        assert np.array_equal(events[-1].weights[name], best.weights[name])


def test_training_stops_early_when_the_score_no_longer_improves(text):
    events = list(trainer_of(text, steps=400, evaluations=40, learning_rate=0.5, patience=3).run())
    assert events[-1].reason == "early stop"
    assert events[-1].step < 400


def test_a_run_that_is_asked_to_stop_ends_with_a_score(text):
    trainer = trainer_of(text, steps=1000)
    seen = []
    for event in trainer.run():
        seen.append(event)
        trainer.stop_requested = len(seen) >= 5
    assert seen[-1].reason == "interrupted"
    assert seen[-1].step < 10
    assert seen[-1].score is not None


def test_without_validation_the_last_weights_are_the_model(text):
    trainer = trainer_of(text, valid=False)
    events = list(trainer.run())
    assert not [event for event in events if isinstance(event, Evaluated)]
    assert events[-1].score is None
    for name, tensor in trainer.network.to_weights().items():
        assert np.array_equal(events[-1].weights[name], tensor)


def test_a_step_with_a_loss_of_nan_is_undone(text):
    trainer = trainer_of(text)
    steps = trainer.run()
    next(steps)
    names = trainer.tensors().keys()
    trainer.recovery.remember(trainer)  # too soon for a second copy
    with torch.no_grad():
        trainer.network.head.bias[0] = math.nan
    recovered = next(steps)
    assert isinstance(recovered, Recovered)
    assert "step 2: the loss was nan" in recovered.what
    assert (trainer.step, trainer.recovery.rate, trainer.recovery.skipped_windows) == (0, 0.5, 2)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.tensors().values())
    assert trainer.tensors().keys() == names
    assert isinstance(next(steps), StepDone)


def test_a_loss_far_above_its_moving_average_is_divergence(text):
    small = trainer_of(text)
    small.step, small.recovery.loss_ema = 101, 1.5
    small.recovery.check(small, 9.0, 1.0)  # a batch of so few tokens is too noisy
    trainer = trainer_of(text, batch_size=16, bptt=32)
    trainer.step, trainer.recovery.loss_ema = 101, 1.5
    trainer.recovery.check(trainer, 3.9, 1.0)
    with pytest.raises(Diverged, match=r"jumped from 1\.\d+ to 4\.5"):
        trainer.recovery.check(trainer, 4.5, 1.0)


@pytest.mark.parametrize("seconds_per_reading", [0.002, 0.01, 0.3])
def test_a_run_of_some_minutes_ends_in_time_by_a_simulated_clock(text, seconds_per_reading):
    ticks = itertools.count()
    trainer = trainer_of(
        text, steps=200, minutes=0.2, clock=lambda: next(ticks) * seconds_per_reading, patience=0
    )
    *_, finished = trainer.run()
    readings_per_step = 3
    if seconds_per_reading * readings_per_step * 200 > 12:
        assert finished.seconds < 12 * 1.5
        assert finished.step < 200
    else:
        assert finished.step >= 200


def test_steps_of_uneven_duration_are_not_scored_more_often(text):
    """The planned number of steps changes at every step, but not the steps that are scored."""
    random, now = np.random.default_rng(0), [0.0]

    def clock():
        now[0] += random.uniform(0.005, 0.03)
        return now[0]

    trainer = trainer_of(text, steps=400, evaluations=10, minutes=0.3, clock=clock, patience=0)
    events = list(trainer.run())
    steps = [event.step for event in events if isinstance(event, Evaluated)]
    assert len({event.steps for event in events if isinstance(event, StepDone)}) > 50
    assert steps == [*range(40, events[-1].step, 40), events[-1].step]


def test_the_ema_of_weights_is_exponential_and_swaps_back():
    parameter = torch.nn.Parameter(torch.zeros(3))
    ema, expected = EMA([parameter], horizon=4), np.zeros(3)
    for update in range(1, 20):
        with torch.no_grad():
            parameter.fill_(float(update))
        ema.update()
        share = max(1 / 4, 1 / (1 + update))
        expected = (1 - share) * expected + share * update
    ema.swap()
    assert np.allclose(parameter.detach().numpy(), expected)
    ema.swap()
    assert (parameter == 19).all()


def test_the_final_score_can_be_limited_to_some_tokens(text):
    *_, finished = trainer_of(text, steps=5, final_tokens=500).run()
    assert finished.score.tokens == 500
    *_, finished = trainer_of(text, steps=5).run()
    assert finished.score.tokens == len(text[2]) - 1
