"""Which kernel computes a model fastest on this machine, with how many threads, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from chargen.errors import ChargenError
from chargen.hints import any_of, ways
from chargen.model.config import ModelConfig
from chargen.training.batches import BatchStream
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import MAX_STEPS, GraphedSteps
from chargen.training.device import begin_training, device_name, prepare_torch
from chargen.training.distillation import DistillationLoss, make_teacher
from chargen.training.kernels import Kernel, candidates, native_problem
from chargen.training.network import NextTokenLoss, RecurrentLM
from chargen.training.optimizer import FIRST_STEPS, Optimizer
from chargen.training.recovery import Recovery
from chargen.training.step import TrainingState, take_step

_ROUNDS = 2
_WARM_UP_STEPS = 1
_STEPS_PER_ROUND = 2
_TYPICAL_DROPOUT = 0.1


def kernels_for(model: ModelConfig, train: TrainConfig) -> list[Kernel]:
    """The kernels that may compute the recurrences, the one that is usually fastest first.

    Raises:
        ChargenError: this machine has no kernel as asked for.
    """
    begin_training()
    device = prepare_torch(train)
    kernels = candidates(model.cell, device.type, train.kernel, train.precision)
    problem = native_problem(device.type, train.kernel)
    if not kernels and train.kernel == "native" and problem is not None:
        way = ways(("or leave out", any_of("--kernel")))
        raise ChargenError(f"--kernel native: {problem}{way}")
    if not kernels:
        raise ChargenError(
            f"--kernel {train.kernel} --precision {train.precision}: this machine cannot do that "
            f"with a {model.cell} on {device.type}"
            + ways(("leave out", any_of("--kernel", "--precision")))
        )
    return kernels


class Probe:
    """The time that measuring may take: a share of the minutes that a person gave.

    On a busy machine one step may take seconds. What is measured by then decides.

    Args:
        seconds: how long.
        clock: seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._end = clock() + seconds

    def is_over(self) -> bool:
        """Whether the time is over."""
        return self.clock() >= self._end


def fastest(
    model: ModelConfig, train: TrainConfig, probe: Probe | None = None
) -> tuple[Kernel, int]:
    """The fastest kernel and number of threads: all cores, or one.

    On a CPU, one thread wins where steps are small, or where other programs are busy.

    Args:
        model: the model.
        train: the plan so far.
        probe: ends the measurements; None takes them all.
    """
    kernels = kernels_for(model, train)
    # The usual best, and the best of another make: trying more would take longer than it saves.
    others = [kernel for kernel in kernels if kernel.name != kernels[0].name]
    all_threads = torch.get_num_threads()
    counts = [train.threads or all_threads]
    if device_name(train) == "cpu":
        # All cores first: where there is time for one measurement only, it is theirs.
        counts = sorted({*counts, train.threads or 1}, reverse=True)
    pairs = [(kernel, count) for kernel in (kernels[0], *others[:1]) for count in counts]
    if len(pairs) == 1:
        return pairs[0]
    # In turn, each judged by its best round: one disturbance must not decide for the whole run.
    rounds: list[tuple[float, int]] = []
    for number, pair in [*enumerate(pairs)] * _ROUNDS:
        if rounds and probe is not None and probe.is_over():
            break
        limit = () if probe is None else (probe,)
        rounds.append((seconds_per_step(model, train, *pair, _STEPS_PER_ROUND, *limit), number))
    return pairs[min(rounds)[1]]


def seconds_per_step(
    model: ModelConfig,
    train: TrainConfig,
    kernel: Kernel,
    threads: int,
    count: int,
    probe: Probe | None = None,
    teacher: ModelConfig | None = None,
) -> float:
    """The mean time of some real training steps on made-up tokens, after a slower first step.

    Takes fewer steps, but at least one, when the probe's time is over. A teacher reads along.
    """
    clock = time.perf_counter if probe is None else probe.clock
    begin_training()
    device = prepare_torch(train)
    torch.set_num_threads(threads)
    network = RecurrentLM(model, dropout=_TYPICAL_DROPOUT, kernel=kernel).to(device)
    reader = None if teacher is None else make_teacher(teacher, device, kernel)
    if device.type == "cuda":
        return seconds_per_graphed_step(network, train, count, clock, capture=True, teacher=reader)
    loss = NextTokenLoss(network)
    if reader is not None:
        loss = DistillationLoss(network, reader, train.teacher_share)
    optimizer = Optimizer(network, train)
    optimizer.muon.steps = FIRST_STEPS  # as in the long run: it orthogonalizes at every eighth step
    shape = (train.bptt + 1, train.batch_size)
    tokens = torch.randint(network.config.vocab_size, shape, device=device)
    state = loss.zero_state(train.batch_size)
    times: list[float] = []
    for _ in range(_WARM_UP_STEPS + count):
        if times and probe is not None and probe.is_over():
            break
        began = clock()
        nats, _, state = take_step(
            loss, optimizer, tokens[:-1], tokens[1:], state, train.learning_rate
        )
        nats.item()  # waits for the device
        times.append(clock() - began)
    measured = times[_WARM_UP_STEPS:] or times
    return sum(measured) / len(measured)


def seconds_per_graphed_step(
    network: RecurrentLM,
    train: TrainConfig,
    count: int,
    clock: Callable[[], float],
    *,
    capture: bool,
    teacher: RecurrentLM | None = None,
) -> float:
    """The mean time of steps as a run on a GPU takes them: many between two looks, as graphs.

    Launched one by one, the steps of a small network would seem several times slower.

    Args:
        network: on its device.
        train: the plan so far.
        count: steps between two looks; a few more come first.
        clock: seconds.
        capture: whether the device can capture graphs.
        teacher: reads along; None where there is none.
    """
    tokens = torch.randint(network.config.vocab_size, (2 * train.batch_size * train.bptt,))
    text = tokens.numpy().astype(np.uint8 if network.config.vocab_size <= 256 else np.int64)
    batches = BatchStream(text, train.batch_size, train.bptt)
    training = TrainingState(network, train, batches, teacher=teacher)
    training.optimizer.muon.steps = FIRST_STEPS
    steps = GraphedSteps(training, Recovery(), capture=capture)
    rates = [train.learning_rate] * min(count, MAX_STEPS)
    steps.take(rates, 0.0)  # captures both graphs, where a step in eight orthogonalizes
    began = clock()
    steps.take(rates, 0.0)
    return (clock() - began) / len(rates)
