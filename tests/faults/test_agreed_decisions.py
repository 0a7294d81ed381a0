"""What several processes must do alike is decided by the first one, whatever the others see.

A score that mixed parts of different length would be none, and a process that took a step more
would wait for the others forever. The processes here are one process that runs twice: first as the
first one, which notes what it sends; then as another one, which receives that, and must send the
same kinds of messages in the same order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chargen.errors import ChargenError
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import token_lengths
from chargen.training import trainer as trainer_module
from chargen.training.config import TrainConfig
from chargen.training.device import prepare_torch
from chargen.training.distributed import Ranks
from chargen.training.events import StepDone
from chargen.training.launch import Process
from chargen.training.network import RecurrentLM
from chargen.training.trainer import Trainer


class Wire(Ranks):
    """A process of two. The first one writes its messages down, the second one reads them."""

    def __init__(self, rank, messages):
        super().__init__(Process(rank=rank, count=2))
        self.messages = messages

    def parallel(self, network):
        return network

    def _exchange(self, kind, values):
        if self.is_first:
            self.messages.append((kind, values))
            return values
        sent, received = self.messages.pop(0)
        assert (kind, len(values)) == (sent, len(received))
        return received

    def broadcast(self, *values):
        return list(self._exchange("broadcast", values))

    def all_reduce(self, *values):
        return list(self._exchange("sum", values))

    def all_reduce_(self, values):
        values.copy_(self._exchange("tensor", values.clone()))


class Time:
    """Each look at the clock takes so long."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        self.now += self.seconds
        return self.now


def trainer_of(ranks, seconds_per_look, **settings) -> Trainer:
    tokenizer = CharTokenizer("abcdefgh", documents=False)
    random = np.random.default_rng(0)
    train, valid = (random.integers(0, 8, size).astype(np.uint8) for size in (4_000, 6_000))
    defaults = {"steps": 40, "batch_size": 4, "bptt": 8, "evaluations": 5, "threads": 1}
    config = TrainConfig(**{**defaults, "patience": 0, **settings})
    prepare_torch(config)
    network = RecurrentLM(ModelConfig(vocab_size=8, hidden_size=8, embedding_size=8))
    return Trainer(
        network, config, train, valid, token_lengths(tokenizer),
        clock=Time(seconds_per_look), started=0.0, ranks=ranks,
    )  # fmt: skip


@pytest.fixture
def limits(monkeypatch):
    """How many tokens each score was told to read."""
    read = []

    def noting(function):
        def scored(network, tokens, lengths, limit, **more):
            read.append(limit)
            return function(network, tokens, lengths, limit, **more)

        return scored

    for name in ("evaluate", "evaluate_calibrated"):
        monkeypatch.setattr(trainer_module, name, noting(getattr(trainer_module, name)))
    return read


def steps_of(trainer):
    return [event for event in trainer.run() if isinstance(event, StepDone)]


@pytest.mark.parametrize(
    ("first", "other"),
    [(0.01, 1.0), (1.0, 0.01)],
    ids=["the others are slow", "the first is slow"],
)
def test_scores_read_as_much_as_the_first_process_says(limits, first, other):
    messages = []
    plan = {"minutes": 1.0, "evaluation_tokens": 6_000, "final_tokens": 20_000}
    one = trainer_of(Wire(0, messages), first, **plan)
    taken = [event.step for event in steps_of(one)]
    told = list(limits)
    limits.clear()
    two = trainer_of(Wire(1, messages), other, **plan)
    two.requests = True, True  # nobody asks this process to save and to stop
    assert [event.step for event in steps_of(two)] == taken
    assert (limits, messages, two.agreed) == (told, [], (False, False))
    assert len(told) >= 3
    assert one.pacing.score_limit != two.pacing.score_limit, "by its own clock, each differs"


def test_no_step_is_beyond_the_plan_when_the_time_is_over():
    """The plan that all processes know is a step old; a state beyond it could not be resumed."""
    messages = []
    taken = steps_of(trainer_of(Wire(0, messages), 1.0, minutes=0.5, steps=1_000))
    assert 1 < len(taken) < 100
    assert [event.step for event in taken if event.step > event.steps] == []
    again = steps_of(trainer_of(Wire(1, messages), 0.0, minutes=0.5, steps=1_000))
    assert [(event.step, event.steps) for event in again] == [
        (event.step, event.steps) for event in taken
    ]


def test_memory_that_one_process_lacks_ends_the_run():
    """The others wait for its rows; it must not go on without sending them."""

    class Full(torch.Tensor):
        def new_zeros(self, *shape):
            raise MemoryError

    messages = []
    with pytest.raises(ChargenError, match="process 1: not enough memory"):
        Wire(1, messages).gather_states(torch.zeros(1, 2, 3).as_subclass(Full), 4)


@pytest.mark.parametrize(
    ("own", "others", "raises"),
    [((5, 2), 0, False), ((5, 2), 1, True), ((5, 3), 1, True)],
)
def test_processes_that_read_different_texts_all_end(own, others, raises):
    """The first one has found (5, 2); of the other processes, so many differ."""

    class Three(Wire):
        def broadcast(self, *values):
            return [5.0, 2.0]

        def all_reduce(self, *values):
            return [values[0] + others - (own != (5, 2))]

    ranks = Three(2, [])
    if raises:
        with pytest.raises(ChargenError, match="read different texts"):
            ranks.check_same(*own)
    else:
        ranks.check_same(*own)
