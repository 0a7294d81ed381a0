"""The training loop, read from top to bottom. Yields events; prints and writes nothing.

Shape letters: T bptt, B batch_size, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from chargen.model.checkpoint import Weights
from chargen.model.score import Score
from chargen.text.tokenizer import Tokens
from chargen.training.batches import BatchStream
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import LONGEST, Strides
from chargen.training.distributed import ALONE, Ranks
from chargen.training.evaluate import evaluate, judge
from chargen.training.events import Evaluated, Finished, StepDone, TrainEvent
from chargen.training.kernels.torch_kernels import State
from chargen.training.network import NextTokenLoss, RecurrentLM, detach
from chargen.training.optimizer import EMA, Optimizer
from chargen.training.recovery import Diverged, Recovery
from chargen.training.schedule import Pacing, learning_rate

_CALIBRATION = 4096
"""Tokens of a validation part that can tell how sure a network may be."""
_HEAD = ("head.weight", "head.bias")


class Trainer:
    """Trains a network on a text, and keeps the weights that predict another part of it best."""

    def __init__(
        self,
        network: RecurrentLM,
        config: TrainConfig,
        train: Tokens,
        valid: Tokens,
        lengths: npt.NDArray[np.int64],
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
        replay: Tokens | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Get ready for the first step.

        Args:
            network: on its device.
            config: the whole plan.
            train: tokens to learn (N,).
            valid: tokens to choose the best weights by; empty takes the last ones.
            lengths: (2, V) of `token_lengths`.
            clock: seconds; only read when `config.minutes` is set, and for the events.
            started: the clock when the run began; None is now.
            replay: tokens that `config.replay_share` of the lanes read instead.
            ranks: the processes that share the lanes.
        """
        self.network = network
        self.config = config
        self.valid = valid
        self.lengths = lengths
        self.stop_requested = False
        self.step = 0
        self.steps = config.steps
        self.begun, self.begun_seconds = 0, 0.0
        """Where the present schedule began: later than 0 when a finished run goes on."""
        self.best: Evaluated | None = None
        self._clock = clock
        self._started = clock() if started is None else started
        self._pacing = Pacing(config, len(valid))
        self.scored = 0
        self.stale = 0
        self.healing = Recovery()
        lanes = 0 if replay is None else round(config.replay_share * config.batch_size)
        self.ranks = ranks
        self.wishes = self.agreed = False, False
        """With several processes: whether the first one wants to save, and to stop; and what of
        that all of them know since the last step."""
        self._wished_steps = config.steps
        self.own = ranks.share(config.batch_size)
        """Which lanes this process reads."""
        self.stream = BatchStream(train, config.batch_size, config.bptt, replay, lanes, self.own)
        self.state = network.zero_state(self.own.stop - self.own.start)
        self.loss = ranks.parallel(NextTokenLoss(network))
        if ranks.count > 1:
            network.lanes, network.own = config.batch_size, self.own
        self.optimizer = Optimizer(network, config, ranks)
        self._strides = None
        device = network.head.bias.device.type
        if device == "cuda" and ranks.count == 1 and self.optimizer.is_uniform:
            self._strides = Strides(self, capture=True)
        self.average = EMA(network.parameters(), config.ema * config.steps) if config.ema else None

    def run(self) -> Iterator[TrainEvent]:
        """Train to the end of the plan, or until `stop_requested` is set.

        Raises:
            ChargenError: the run diverges again and again, or a single lane does not fit memory.
        """
        self.network.train()
        reason = "done"
        while True:
            # Before the step and not after it: a run that is taken up again begins here too.
            if self._evaluation_is_due():
                yield self._evaluate()
                if self.config.patience and self.stale >= self.config.patience:
                    reason = "early stop"
                    break
            if self.step >= self.steps:
                break
            if self.stop_requested:
                reason = "interrupted"
                break
            self.healing.remember(self)
            events: list[TrainEvent]
            try:
                events = [*self._learn()]
            except Diverged as problem:
                events = [self.healing.go_back(self, problem)]
            except (MemoryError, RuntimeError) as error:
                self.ranks.check(error)
                events = [self.healing.split(self, error)]
            yield from events
            self._keep_time()
        if len(self.valid) and self.scored != self.step:
            yield self._evaluate()
        yield self._finish(reason)

    def states_of_all_lanes(self) -> dict[str, Tensor]:
        """The carried states (L, B, H), those of other processes among them; all must call it."""
        lanes = self.config.batch_size
        return {
            f"state.{number}": self.ranks.gathered(part, lanes)
            for number, part in enumerate(self.state)
        }

    def plan_steps(self, steps: int) -> None:
        """End after so many."""
        self.steps = self._wished_steps = steps

    def begin_stretch(self, seconds: float) -> None:
        """Let the plan begin here, after steps and `seconds` of an earlier one."""
        self.begun, self.begun_seconds = self.step, seconds
        self.plan_steps(self.step + self.config.steps)
        self.stale = 0

    def _learn(self) -> list[StepDone]:
        """One optimizer step on the next window of every lane; a stride of them on a GPU."""
        began, step = self._clock(), self.step
        if self._strides is not None and self.healing.parts == 1:
            rates = [self._learning_rate(number) for number in range(self._until_a_look())]
            found = self._strides.take(rates)
        else:
            rates = [self._learning_rate()]
            found = [self._take_step(rates[0])]
        self._pacing.took(self._clock() - began, len(found))
        seconds = self.seconds()
        return [
            StepDone(
                step=step + number,
                steps=self.steps,
                loss=nats,
                learning_rate=rate,
                gradient_norm=norm,
                tokens=(step + number) * self.config.batch_size * self.config.bptt,
                seconds=seconds,
            )
            for number, (rate, (nats, norm)) in enumerate(zip(rates, found, strict=True), 1)
        ]

    def _until_a_look(self) -> int:
        """Steps of a stride: until the next score, and not so many that nobody sees a thing."""
        every = self._steps_a_score()
        whole = min(self.steps - self.step, every - self.step % every, LONGEST)
        return max(1, min(whole, self._pacing.steps_a_look()))

    def _take_step(self, rate: float) -> tuple[float, float]:
        """One step: (nats per token, gradient norm)."""
        nats, state = self._backward()
        norm = self.optimizer.clip().item()
        self.healing.check(self, nats, norm)
        self.optimizer.step(rate, (self.step - self.begun) / max(1, self.steps - self.begun))
        # Back-propagation through time is cut off here: the state goes on, its graph does not.
        self.state = state
        if self.average:
            self.average.update()
        self.step += 1
        return nats, norm

    def _backward(self) -> tuple[float, State]:
        """Gradients of the next window: (nats per token, the state after it, cut off).

        All lanes at once, unless memory was short: then some at a time, their gradients summed.
        """
        device = self.network.head.bias.device
        window = self.stream.window(self.step + self.healing.skipped)
        inputs, targets = (one.to(device) for one in window)
        lanes = inputs.shape[1]
        width = math.ceil(lanes / self.healing.parts)
        total, states = 0.0, []
        for first in range(0, lanes, width):
            own = slice(first, first + width)
            before = tuple(part[:, own] for part in self.state)
            nats, after = self.loss(inputs[:, own], targets[:, own], before)
            share = nats * (inputs[:, own].shape[1] / self.config.batch_size)
            # Between processes gradients are averaged, not summed.
            whole: Tensor = share * self.ranks.count
            whole.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            total += share.item()
            states.append(detach(after))
        return self._agreed(total), tuple(
            torch.cat(parts, dim=1) for parts in zip(*states, strict=True)
        )

    def _agreed(self, nats: float) -> float:
        """The loss over all processes; and what the first one wishes, which has clock and signals.

        All in one message: each costs as much as a small step.
        """
        if self.ranks.count == 1:
            return nats
        says = (*self.wishes, self._wished_steps) if self.ranks.is_first else (0, 0, 0)
        nats, save, stop, steps = self.ranks.total(nats, *says)
        self.agreed = bool(save), bool(stop)
        self.steps = int(steps)
        return nats

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that steps change, by a name of its own: what there is to remember."""
        named = dict(self.network.named_parameters())
        found: dict[str, Tensor] = {f"weights.{name}": one for name, one in named.items()}
        if self.average:
            averages = zip(named, self.average.values, strict=True)
            found |= {f"average.{name}": one for name, one in averages}
        found |= self.optimizer.tensors({one: name for name, one in named.items()})
        return found | {f"state.{number}": part for number, part in enumerate(self.state)}

    def _learning_rate(self, ahead: int = 0) -> float:
        config = self.config
        return self.healing.rate * learning_rate(
            self.step + ahead - self.begun,
            self.steps - self.begun,
            peak=config.learning_rate,
            warmup=config.warmup,
            schedule=config.schedule,
        )

    def seconds(self) -> float:
        """Wall time of the run so far, sittings before this one included."""
        return self._clock() - self._started

    def _keep_time(self) -> None:
        """With `minutes`: plan as many steps as the time left allows at the speed so far."""
        gone = self.seconds() - self.begun_seconds
        left = self._pacing.steps_left(gone, self.step, self.steps)
        if left is not None:
            self._wished_steps = self.step + left
            if self.ranks.count == 1:
                self.steps = self._wished_steps

    def _evaluation_is_due(self) -> bool:
        if not len(self.valid) or self.scored == self.step:
            return False
        # At fixed places, whatever else was scored in between: an interruption shifts nothing.
        every = self._steps_a_score()
        return self.step // every != self.scored // every or self.step >= self.steps

    def _steps_a_score(self) -> int:
        """Of the plan as it was made: a clock's new plans must not move places about."""
        return max(1, self.config.steps // self.config.evaluations)

    def _evaluate(self) -> Evaluated:
        """Score the averaged weights, and at the end the last ones too; remember the best of all.

        On the way the average is the better one nearly always, so that the other's score would be
        a waste of time.
        """
        began = self._clock()
        candidates = []
        if self.average:
            self.average.swap()
            candidates.append((*self._judged(), True))
            self.average.swap()
        if not candidates or self.step >= self.steps:
            candidates.append((*self._judged(), False))
        score, weights, averaged = min(candidates, key=lambda one: _nats(one[0]))
        best = _nats(score) < (math.inf if self.best is None else _nats(self.best.score))
        self.stale = 0 if best else self.stale + 1
        event = Evaluated(
            step=self.step,
            score=score,
            averaged=averaged,
            best=best,
            seconds=self.seconds(),
            weights=weights,
        )
        if best:
            self.best = event
        self.scored = self.step
        self._pacing.scoring_seconds = self._clock() - began
        return event

    def _judged(self) -> tuple[Score, Weights]:
        """The network's score, and its weights, as sure of themselves as they may be."""
        score, factor = self._judge(self.config.evaluation_tokens)
        weights = self.network.to_weights()
        for name in _HEAD if factor != 1 else ():
            weights[name] *= np.float32(factor)
        return score, weights

    def _judge(self, limit: int) -> tuple[Score, float]:
        if len(self.valid) < _CALIBRATION or self.network.config.tied_head:
            # Too little to judge by; or the head's weights serve another end as well.
            score = evaluate(
                self.network, self.valid, self.lengths, limit, exact=False, ranks=self.ranks
            )
            return score, 1.0
        return judge(self.network, self.valid, self.lengths, limit, ranks=self.ranks)

    def _finish(self, reason: str) -> Finished:
        """The best weights, scored on the whole validation part, or on much of a large one."""
        weights: Weights = self.best.weights if self.best else self.network.to_weights()
        score = None
        if len(self.valid):
            kept = self.network.to_weights()
            self.network.load_weights(weights)
            limit = self.config.final_tokens
            found = evaluate(self.network, self.valid, self.lengths, limit, ranks=self.ranks)
            score = found if math.isfinite(found.nats_per_token) else None
            self.network.load_weights(kept)
        return Finished(
            step=self.step,
            reason=reason,
            score=score,
            weights=weights,
            averaged=self.best.averaged if self.best else False,
            seconds=self.seconds(),
        )


def _nats(score: Score) -> float:
    """To rank by: weights whose numbers overflow are the worst."""
    return score.nats_per_token if math.isfinite(score.nats_per_token) else math.inf
