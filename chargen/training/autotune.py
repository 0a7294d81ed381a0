"""What this machine can do: which kernel computes a model, how fast, with how many threads."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

from chargen.errors import ChargenError
from chargen.model.config import ModelConfig
from chargen.training.config import TrainConfig
from chargen.training.device import prepare_torch
from chargen.training.kernels import Kernel, candidates
from chargen.training.network import RecurrentLM, detach
from chargen.training.optimizer import FIRST_STEPS, Optimizer

_ROUNDS = 2
_WARM_UP = 1
_TIMED = 2


def kernels_for(model: ModelConfig, train: TrainConfig) -> list[Kernel]:
    """What may compute the recurrences, the one that is usually fastest first.

    Raises:
        ChargenError: nothing here is what was asked for.
    """
    device = prepare_torch(train)
    found = candidates(model.cell, device.type, train.kernel, train.precision)
    if not found:
        raise ChargenError(
            f"--kernel {train.kernel} --precision {train.precision}: this machine cannot do that "
            f"with a {model.cell} on {device.type}; leave one of them out"
        )
    return found


def fastest(model: ModelConfig, train: TrainConfig) -> tuple[Kernel, int]:
    """Kernel and threads: all cores, or one where small steps or others' work favour it."""
    kernels = kernels_for(model, train)
    # The best by the rule, and the best of another make: more would take longer than they save.
    kernels = kernels[:1] + [one for one in kernels if one.name != kernels[0].name][:1]
    everything = torch.get_num_threads()
    counts = sorted({train.threads or everything, train.threads or 1})
    pairs = [(kernel, count) for kernel in kernels for count in counts]
    if len(pairs) == 1:
        return pairs[0]
    # In turn, and each by its best round: a moment's disturbance must not decide for the whole run.
    rounds = [
        (seconds_per_step(model, train, *pair, _TIMED), number)
        for _ in range(_ROUNDS)
        for number, pair in enumerate(pairs)
    ]
    return pairs[min(rounds)[1]]


def seconds_per_step(
    model: ModelConfig, train: TrainConfig, kernel: Kernel, threads: int, count: int
) -> float:
    """The mean of a few real steps on made-up tokens; the first one, slower, left out."""
    device = prepare_torch(train)
    torch.set_num_threads(threads)
    network = RecurrentLM(model, dropout=0.1, kernel=kernel).to(device)
    optimizer = Optimizer(network, train)
    optimizer.muon.steps = FIRST_STEPS  # as in the long run: one new direction in several steps
    shape = (train.bptt + 1, train.batch_size)
    tokens = torch.randint(network.config.vocab_size, shape, device=device)
    state = network.zero_state(train.batch_size)
    times = []
    for _ in range(_WARM_UP + count):
        began = time.perf_counter()
        logits, state = network(tokens[:-1], state)
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        optimizer.clip()
        optimizer.step(train.learning_rate)
        loss.item()  # waits for the device
        state = detach(state)
        times.append(time.perf_counter() - began)
    return sum(times[_WARM_UP:]) / count
