"""The training loop. It yields events; it prints and writes nothing.

Shape letters: T bptt, B batch rows, V vocabulary, N tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from chargen.model.score import Score
from chargen.model.stored_weights import Weights
from chargen.text.spread import ShuffledText
from chargen.text.tokenizer import Tokens
from chargen.training.batches import BatchStream
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import GraphedSteps
from chargen.training.distributed import ALONE, Ranks
from chargen.training.evaluate import evaluate, evaluate_calibrated
from chargen.training.events import Evaluated, Finished, Recovered, StepDone, TrainEvent
from chargen.training.network import RecurrentLM
from chargen.training.recovery import Diverged, Recovery
from chargen.training.schedule import Pacing, learning_rate
from chargen.training.step import TrainingState, take_step

_HEAD = ("head.weight", "head.bias")


class EagerSteps:
    """Takes steps one at a time, each seen at once.

    Args:
        training: what the steps change.
        recovery: says how many micro-batches to read.
        check: is given loss and gradient norm of a step; returns the loss over all processes.
    """

    max_steps = 1
    """Steps that `take` may be asked for at once."""

    def __init__(
        self,
        training: TrainingState,
        recovery: Recovery,
        check: Callable[[float, float], float],
    ) -> None:
        self._training, self._recovery, self._check = training, recovery, check

    def take(self, rates: Sequence[float], progress: float) -> list[tuple[float, float]]:
        """Takes a step for the one rate, after a share of the run: (nats per token, norm)."""
        training, recovery = self._training, self._recovery
        (rate,) = rates
        result = math.nan, math.nan

        def check(loss: Tensor, norm: Tensor) -> None:
            nonlocal result
            length = norm.item()
            result = self._check(loss.item(), length), length
            training.is_updating = True

        inputs, targets = training.batches.window(training.step + recovery.skipped_windows)
        _, _, training.state = take_step(
            training.loss,
            training.optimizer,
            inputs.to(training.device),
            targets.to(training.device),
            training.state,
            rate,
            progress=progress,
            micro_batches=recovery.micro_batches,
            total_rows=training.config.batch_size,
            processes=training.ranks.count,
            check=check,
        )
        if training.ema:
            training.ema.update()
        training.step += 1
        training.is_updating = False
        return [result]


class Trainer(TrainingState):
    """Trains a network on a text, and keeps the weights that predict another part of it best.

    Args:
        network: on its device.
        config: the whole plan.
        train: tokens to learn (N,).
        valid: tokens to choose the best weights by; empty takes the last weights.
        lengths: (2, V) of `token_lengths`.
        clock: seconds; it is read for the events, and decides when `config.minutes` is set.
        started: the clock when the run began; None is now.
        replay: tokens that `config.replay_share` of the batch rows read instead.
        ranks: the processes that share the batch.
        eos_id: the end-of-document token; needed if `config.shuffle` is set.
        teacher: a network whose distributions are a share of the loss; scores are without it.
    """

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
        eos_id: int | None = None,
        teacher: RecurrentLM | None = None,
    ) -> None:
        replay_rows = 0 if replay is None else round(config.replay_share * config.batch_size)
        rows = ranks.local_rows(config.batch_size)
        shuffled = None
        if config.shuffle and eos_id is not None:
            shuffled = ShuffledText(train, eos_id, config.seed)
        batches = BatchStream(
            train, config.batch_size, config.bptt, replay, replay_rows, rows, shuffled
        )
        super().__init__(network, config, batches, ranks, teacher)
        self.valid = valid
        self.lengths = lengths
        self.stop_requested = False
        self.steps = config.steps
        """The run's length as it is planned now."""
        self.stretch_start, self.stretch_start_seconds = 0, 0.0
        """Where the present schedule began: later than 0 when a finished run goes on."""
        self.best: Evaluated | None = None
        self.scored_step = 0
        self.scores_without_gain = 0
        self.recovery = Recovery()
        self.pacing = Pacing(config, len(valid))
        self.requests = self.agreed = False, False
        """With several processes: whether the first one asks to save, and to stop; and what of
        that all processes know since the last step."""
        self._requested_steps = config.steps
        self._clock = clock
        self._started = clock() if started is None else started
        self._eager = EagerSteps(self, self.recovery, self._accept)
        self._fast: EagerSteps | GraphedSteps = self._eager
        if self.device.type == "cuda" and ranks.count == 1 and self.optimizer.is_uniform:
            self._fast = GraphedSteps(self, self.recovery, capture=True)

    def run(self) -> Iterator[TrainEvent]:
        """Trains to the end of the plan, or until `stop_requested` is set.

        Raises:
            ChargenError: the run diverges repeatedly, or a single batch row does not fit memory.
        """
        self.network.train()
        reason = "done"
        while True:
            # Before the step and not after it: a resumed run begins here too.
            if self._evaluation_is_due():
                yield self._evaluate()
                if self.config.patience and self.scores_without_gain >= self.config.patience:
                    reason = "early stop"
                    break
            if self.step >= self.steps:
                break
            if self.stop_requested:
                reason = "interrupted"
                break
            self.recovery.remember(self)
            began, first = self._clock(), self.step
            rates = [self._learning_rate(ahead) for ahead in range(self._steps_until_sync())]
            try:
                results = self._stepper.take(rates, self._progress())
            except Diverged as problem:
                yield self._recovered(self.recovery.go_back(self, problem))
            except (MemoryError, RuntimeError) as error:
                self.ranks.raise_if_shared(error)
                yield self._recovered(self.recovery.split(self, error))
            else:
                self.pacing.took(self._clock() - began, len(results))
                yield from self._step_events(first, rates, results)
            self._plan_by_clock()
        if len(self.valid) and self.scored_step != self.step:
            yield self._evaluate()
        yield self._finish(reason)

    def plan_steps(self, steps: int) -> None:
        """Ends the run after so many steps."""
        self.steps = self._requested_steps = steps

    def begin_stretch(self, seconds: float) -> None:
        """Lets the plan begin here, after the steps and the `seconds` of an earlier one."""
        self.stretch_start, self.stretch_start_seconds = self.step, seconds
        self.plan_steps(self.step + self.config.steps)
        self.scores_without_gain = 0

    def score_first(self) -> None:
        """Lets the first weights be the best so far: the run gives them back if none is better."""
        if len(self.valid):
            self._evaluate()

    def seconds(self) -> float:
        """Wall time of the run so far, earlier sittings included."""
        return self._clock() - self._started

    # ---- steps ----

    @property
    def _stepper(self) -> EagerSteps | GraphedSteps:
        """How steps are taken now; only eager steps can be divided into micro-batches."""
        return self._fast if self.recovery.micro_batches == 1 else self._eager

    def _progress(self) -> float:
        """Share of the present stretch that is over."""
        return (self.step - self.stretch_start) / max(1, self.steps - self.stretch_start)

    def _steps_until_sync(self) -> int:
        """Steps until the next score, and not so many that nobody sees progress for long."""
        every = self._steps_per_score()
        steps = min(self.steps - self.step, every - self.step % every, self._stepper.max_steps)
        return max(1, min(steps, self.pacing.steps_per_look()))

    def _learning_rate(self, ahead: int) -> float:
        config = self.config
        return self.recovery.rate * learning_rate(
            self.step + ahead - self.stretch_start,
            self.steps - self.stretch_start,
            peak=config.learning_rate,
            warmup=config.warmup,
            schedule=config.schedule,
        )

    def _accept(self, nats: float, norm: float) -> float:
        """Agrees with the other processes on a step, before the weights change.

        Clock and signals are the first process's. Its requests travel with the loss, because each
        message costs as much as a small step.

        Returns:
            The loss over all processes.

        Raises:
            Diverged: the step would ruin the weights.
        """
        if self.ranks.count > 1:
            requests = (*self.requests, self._requested_steps) if self.ranks.is_first else (0, 0, 0)
            nats, save, stop, steps = self.ranks.all_reduce(nats, *requests)
            self.agreed = bool(save), bool(stop)
            # The plan is a step old: it may end before the step that is being taken.
            self.steps = max(int(steps), self.step + 1)
        self.recovery.check(self, nats, norm)
        return nats

    def _step_events(
        self, first: int, rates: Sequence[float], results: Sequence[tuple[float, float]]
    ) -> list[StepDone]:
        seconds = self.seconds()
        return [
            StepDone(
                step=step,
                steps=self.steps,
                loss=nats,
                learning_rate=rate,
                gradient_norm=norm,
                tokens=step * self.config.batch_size * self.config.bptt,
                seconds=seconds,
            )
            for step, (rate, (nats, norm)) in enumerate(zip(rates, results, strict=True), first + 1)
        ]

    def _recovered(self, what: str) -> Recovered:
        return Recovered(step=self.step, what=what, seconds=self.seconds())

    def _plan_by_clock(self) -> None:
        """With `minutes`: plans as many steps as the time left allows at the speed so far."""
        spent = self.seconds() - self.stretch_start_seconds
        left = self.pacing.steps_left(spent, self.step, self.steps)
        if left is not None:
            self._requested_steps = self.step + left
            if self.ranks.count == 1:
                self.steps = self._requested_steps

    # ---- scores ----

    def _steps_per_score(self) -> int:
        """Of the plan as it was made: new plans by the clock must not move the scores."""
        return max(1, self.config.steps // self.config.evaluations)

    def _evaluation_is_due(self) -> bool:
        if not len(self.valid) or self.scored_step == self.step:
            return False
        # At fixed steps, whatever else was scored in between: an interruption shifts nothing.
        every = self._steps_per_score()
        return self.step // every != self.scored_step // every or self.step >= self.steps

    def _evaluate(self) -> Evaluated:
        """Scores the EMA weights, and at the end the last weights too; remembers the best.

        During the run the EMA is nearly always better, so scoring the others would waste time.
        """
        began = self._clock()
        limit = self._agreed(self.pacing.score_limit)
        candidates = []
        if self.ema:
            self.ema.swap()
            candidates.append((*self._scored_weights(limit), True))
            self.ema.swap()
        if not candidates or self.step >= self.steps:
            candidates.append((*self._scored_weights(limit), False))
        score, weights, averaged = min(candidates, key=lambda candidate: _nats(candidate[0]))
        is_best = _nats(score) < (math.inf if self.best is None else _nats(self.best.score))
        self.scores_without_gain = 0 if is_best else self.scores_without_gain + 1
        event = Evaluated(
            step=self.step,
            score=score,
            averaged=averaged,
            best=is_best,
            seconds=self.seconds(),
            weights=weights,
        )
        if is_best:
            self.best = event
        self.scored_step = self.step
        self.pacing.scored(self._clock() - began)
        return event

    def _agreed(self, tokens: int) -> int:
        """How many tokens the first process reads by its clock: all processes read as many."""
        (agreed,) = self.ranks.broadcast(tokens)
        return int(agreed)

    def _scored_weights(self, limit: int) -> tuple[Score, Weights]:
        """The network's score and weights, its logits scaled as the validation part suggests."""
        score, factor = evaluate_calibrated(
            self.network, self.valid, self.lengths, limit, ranks=self.ranks
        )
        weights = self.network.to_weights()
        for name in _HEAD if factor != 1 else ():
            weights[name] *= np.float32(factor)
        return score, weights

    def _finish(self, reason: str) -> Finished:
        """The best weights, scored on the whole validation part, or on much of a large one."""
        weights: Weights = self.best.weights if self.best else self.network.to_weights()
        score = None
        if len(self.valid):
            last_weights = self.network.to_weights()
            self.network.load_weights(weights)
            limit = self._agreed(self.pacing.final_limit())
            final = evaluate(self.network, self.valid, self.lengths, limit, ranks=self.ranks)
            score = final if math.isfinite(final.nats_per_token) else None
            self.network.load_weights(last_weights)
        return Finished(
            step=self.step,
            reason=reason,
            score=score,
            weights=weights,
            averaged=self.best.averaged if self.best else False,
            seconds=self.seconds(),
        )


def _nats(score: Score) -> float:
    """Nats to rank by: a score that is not a number is the worst."""
    return score.nats_per_token if math.isfinite(score.nats_per_token) else math.inf
