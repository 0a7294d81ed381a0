"""The loop: it learns, it repeats itself bit for bit, it keeps the best, it stops when told."""

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
def test_it_learns(text, cell):
    events = list(trainer_of(text, cell=cell, steps=150).run())
    scores = [event.score.nats_per_token for event in events if isinstance(event, Evaluated)]
    assert scores[-1] < math.log(text[0].vocab_size) - 0.8
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    assert events[-1].step == 150


def test_same_seed_same_run_bit_for_bit(text):
    def run(seed):
        events = list(trainer_of(text, dropout=0.3, seed=seed).run())
        losses = [event.loss for event in events if isinstance(event, StepDone)]
        return losses, events[-1].weights

    (losses, weights), (again, same), (other, _) = run(1), run(1), run(2)
    assert losses == again != other
    for name in weights:
        assert np.array_equal(weights[name], same[name])


def test_losses_are_those_of_a_plain_loop(text):
    _tokenizer, train, _ = text
    ours = [
        e.loss
        for e in trainer_of(text, valid=False, optimizer="adamw").run()
        if isinstance(e, StepDone)
    ]
    twin = trainer_of(text, valid=False, optimizer="adamw")
    network, config = twin.network, twin.config
    network.train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in network.named_parameters() if p.ndim > 1 and "emb" not in n]},
            {
                "params": [p for n, p in network.named_parameters() if p.ndim < 2 or "emb" in n],
                "weight_decay": 0.0,
            },
        ],
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    state, data = network.zero_state(4), torch.from_numpy(train.astype(np.int64))
    for step, loss in enumerate(ours):
        places = [(lane * 10_000 // 4 + step * 16) % 10_000 for lane in range(4)]
        block = torch.stack([data.roll(-place)[:17] for place in places], dim=1)
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


def test_early_stopping(text):
    events = list(trainer_of(text, steps=400, evaluations=40, learning_rate=0.5, patience=3).run())
    assert events[-1].reason == "early stop"
    assert events[-1].step < 400


def test_a_request_to_stop_ends_with_a_score(text):
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


def test_a_loss_that_is_no_number_changes_no_weight(text):
    trainer = trainer_of(text)
    steps = trainer.run()
    next(steps)
    good = {name: one.clone() for name, one in trainer.tensors().items()}
    trainer.recovery.remember(trainer)  # too soon: the copy is the one from before the first step
    with torch.no_grad():
        trainer.network.head.bias[0] = math.nan
    recovered = next(steps)
    assert isinstance(recovered, Recovered)
    assert "step 2: the loss was nan" in recovered.what
    assert (trainer.step, trainer.recovery.rate, trainer.recovery.skipped_windows) == (0, 0.5, 2)
    assert all(torch.isfinite(one).all() for one in trainer.tensors().values())
    assert good.keys() == trainer.tensors().keys()
    assert isinstance(next(steps), StepDone)


def test_a_loss_far_above_the_usual_is_noticed(text):
    small = trainer_of(text)
    small.step, small.recovery.loss_ema = 101, 1.5
    small.recovery.check(small, 9.0, 1.0)  # so few tokens say nothing about the network
    trainer = trainer_of(text, batch_size=16, bptt=32)
    trainer.step, trainer.recovery.loss_ema = 101, 1.5
    trainer.recovery.check(trainer, 3.9, 1.0)
    with pytest.raises(Diverged, match=r"jumped from 1\.\d+ to 4\.5"):
        trainer.recovery.check(trainer, 4.5, 1.0)


@pytest.mark.parametrize("seconds_a_look", [0.002, 0.01, 0.3])
def test_minutes_are_kept_by_a_made_up_clock(text, seconds_a_look):
    ticks = itertools.count()
    trainer = trainer_of(
        text, steps=200, minutes=0.2, clock=lambda: next(ticks) * seconds_a_look, patience=0
    )
    *_, finished = trainer.run()
    looks_a_step = 3
    if seconds_a_look * looks_a_step * 200 > 12:
        assert finished.seconds < 12 * 1.5
        assert finished.step < 200
    else:
        assert finished.step >= 200


def test_an_uneven_clock_does_not_score_more_often(text):
    """New plans change the number of steps at every step, but not where scores are taken."""
    chance, now = np.random.default_rng(0), [0.0]

    def clock():
        now[0] += chance.uniform(0.005, 0.03)
        return now[0]

    trainer = trainer_of(text, steps=400, evaluations=10, minutes=0.3, clock=clock, patience=0)
    events = list(trainer.run())
    steps = [event.step for event in events if isinstance(event, Evaluated)]
    assert len({event.steps for event in events if isinstance(event, StepDone)}) > 50
    assert steps == [*range(40, events[-1].step, 40), events[-1].step]


def test_the_average_is_the_exponential_one_and_swaps_back():
    parameter = torch.nn.Parameter(torch.zeros(3))
    average, expected = EMA([parameter], horizon=4), np.zeros(3)
    for update in range(1, 20):
        with torch.no_grad():
            parameter.fill_(float(update))
        average.update()
        share = max(1 / 4, 1 / (1 + update))
        expected = (1 - share) * expected + share * update
    average.swap()
    assert np.allclose(parameter.detach().numpy(), expected)
    average.swap()
    assert (parameter == 19).all()


def test_the_final_score_can_be_of_a_part(text):
    *_, finished = trainer_of(text, steps=5, final_tokens=500).run()
    assert finished.score.tokens == 500
    *_, finished = trainer_of(text, steps=5).run()
    assert finished.score.tokens == len(text[2]) - 1
