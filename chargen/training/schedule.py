"""The learning rate of each step, and how many more steps the time allows.

Both are pure functions of what they are given; nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from chargen.training.config import TrainConfig

_STABLE = 0.7
"""`wsd`: the share of the run before the decay."""


def learning_rate(step: int, steps: int, *, peak: float, warmup: float, schedule: str) -> float:
    """The rate of step `step` (0-based) of `steps`.

    A linear rise over `warmup * steps` steps (at least one), then a decay to zero that would be
    reached at step `steps`: straight (`linear`), along a half cosine (`cosine`), or straight over
    the last 30 % after a level stretch (`wsd`, warm-up - stable - decay; Hu et al., 2024).
    """
    rise = max(1.0, warmup * steps)
    if step < rise:
        return peak * min(1.0, (step + 1) / rise)
    progress = (step - rise) / max(1.0, steps - rise)
    progress = min(max(progress, 0.0), 1.0)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "wsd":
        return peak * min(1.0, (1 - progress) / (1 - _STABLE))
    assert schedule == "linear"
    return peak * (1 - progress)


SECONDS_PER_LOOK = 0.2
"""Seconds between two synchronisations with a GPU."""
_START_AND_END_SECONDS = 0.5
"""Seconds that the start and the end of the process take besides training."""
_MAX_SCORING_SHARE = 0.15
"""Of the minutes, what the scores on the way may take, and again the final score."""
_MIN_SCORE_TOKENS, _MIN_FINAL_TOKENS = 2_048, 16_384
_MEASURED_STEPS = 50
"""Steps over which the speed is measured."""
_MIN_STEP_SECONDS = 1e-5
"""No step is faster."""


class Pacing:
    """How fast a run goes.

    Args:
        config: the whole plan.
        valid_tokens: number of tokens of the validation part.
    """

    def __init__(self, config: TrainConfig, valid_tokens: int) -> None:
        self._config = config
        self._valid_tokens = valid_tokens
        self._step_seconds: deque[float] = deque(maxlen=_MEASURED_STEPS)
        self.scoring_seconds = 0.0
        """Seconds that the last score took."""
        self.score_limit = config.evaluation_tokens
        """Tokens that a score reads: fewer where the planned ones take too long."""

    def counters(self) -> dict[str, float | int]:
        """What a resumed run needs to score as this one does."""
        return {"score_limit": self.score_limit, "scoring_seconds": self.scoring_seconds}

    def restore(self, counters: Mapping[str, float | int]) -> None:
        """Puts back what `counters` said.

        A longer stretch keeps it too: scores of other tokens could not be compared with the best.
        """
        self.score_limit = int(counters["score_limit"])
        self.scoring_seconds = counters["scoring_seconds"]

    def took(self, seconds: float, steps: int) -> None:
        """Notes that so many steps took so long."""
        self._step_seconds += [seconds / steps] * steps

    def scored(self, seconds: float) -> None:
        """Notes how long a score took; the next reads less if all would take too large a share."""
        self.scoring_seconds = seconds
        if self._config.minutes is None:
            return
        allowed = self._config.minutes * 60 * _MAX_SCORING_SHARE / self._config.evaluations
        if seconds > allowed and self.score_limit > _MIN_SCORE_TOKENS:
            share = allowed / seconds
            self.score_limit = max(_MIN_SCORE_TOKENS, int(self.score_limit * share))
            self.scoring_seconds *= share

    def final_limit(self) -> int:
        """Tokens that the final score reads."""
        config = self._config
        if config.minutes is None or not self.scoring_seconds:
            return config.final_tokens
        scored = min(self._valid_tokens, self.score_limit)
        allowed = config.minutes * 60 * _MAX_SCORING_SHARE
        # The final score is in float32, which takes about twice as long.
        affordable = int(scored * allowed / (2 * self.scoring_seconds))
        return min(config.final_tokens, max(_MIN_FINAL_TOKENS, affordable))

    def steps_per_look(self) -> int:
        """Steps after which a person wants to see progress; 1 before the speed is known."""
        if not self._step_seconds:
            return 1
        return max(1, int(SECONDS_PER_LOOK / self._seconds_per_step()))

    def steps_left(self, spent: float, step: int, steps: int) -> int | None:
        """Steps that the time left allows; None where no clock decides, or too little is known.

        Args:
            spent: seconds of `config.minutes` that are over.
            step: steps done.
            steps: the run's length as it is planned.
        """
        if self._config.minutes is None:
            return None
        budget = self._config.minutes * 60
        if len(self._step_seconds) < _MEASURED_STEPS and spent < budget / 2:
            return None  # the first steps are slower than the others
        scoring = self._scoring_ahead(step / max(steps, step))
        left = budget - spent - scoring - _START_AND_END_SECONDS
        return max(0, int(left / self._seconds_per_step()))

    def _seconds_per_step(self) -> float:
        # A coarse clock may see no time pass.
        return max(_MIN_STEP_SECONDS, sum(self._step_seconds) / len(self._step_seconds))

    def _scoring_ahead(self, done: float) -> float:
        """Seconds that the scores to come will take, the last and full one included."""
        if not self._valid_tokens:
            return 0.0
        config, seconds = self._config, self.scoring_seconds
        scored = min(self._valid_tokens, self.score_limit)
        if not seconds:
            # Reading forward costs about a third of learning.
            step_tokens = config.batch_size * config.bptt
            seconds = self._seconds_per_step() / step_tokens / 3 * scored
        ahead = math.ceil(config.evaluations * (1 - done))
        # The last scores both sets of weights; the final one reads all, and in float32.
        full = 2 * min(self._valid_tokens, self.final_limit()) / scored
        return seconds * (ahead + 1 + full)
