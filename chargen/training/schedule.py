"""The learning rate as a pure function of the step.

How fast a run goes, and how many more steps its time allows.
"""

from __future__ import annotations

import math
from collections import deque

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


LOOK = 0.2
"""Seconds between two looks at a GPU."""
_LEAVING = 0.5
"""Seconds that the start and the end of the process take besides."""
_STEPS = 50
"""Steps over which the speed is measured."""


class Pacing:
    """The clock's side of a run; it reads none itself."""

    def __init__(self, config: TrainConfig, valid_tokens: int) -> None:
        """Begin a run.

        Args:
            config: the whole plan.
            valid_tokens: how many there are to score.
        """
        self._config = config
        self._valid_tokens = valid_tokens
        self._taken: deque[float] = deque(maxlen=_STEPS)
        self.scoring_seconds = 0.0
        """What the last score took."""

    def took(self, seconds: float, steps: int) -> None:
        """So many steps were made."""
        self._taken += [seconds / steps] * steps

    def steps_a_look(self) -> int:
        """Steps after which somebody wants to see how it goes; one before the speed is known."""
        return max(1, int(LOOK / self._step())) if self._taken else 1

    def steps_left(self, gone: float, step: int, steps: int) -> int | None:
        """Steps that the time left allows; None where no clock decides, or too little is known.

        Args:
            gone: seconds of `config.minutes` that are over.
            step: steps done.
            steps: the run's length as it is planned.
        """
        if self._config.minutes is None:
            return None
        whole = self._config.minutes * 60
        if len(self._taken) < _STEPS and gone < whole / 2:
            return None  # the first steps are no measure
        left = whole - gone - self._scoring_ahead(step / max(steps, step)) - _LEAVING
        return max(0, int(left / self._step()))

    def _step(self) -> float:
        return sum(self._taken) / len(self._taken)

    def _scoring_ahead(self, done: float) -> float:
        """Seconds that the scores to come will take, the last and full one included."""
        if not self._valid_tokens:
            return 0.0
        config, each = self._config, self.scoring_seconds
        at_once = min(self._valid_tokens, config.evaluation_tokens)
        if not each:
            # Reading forward costs about a third of learning.
            each = self._step() / (config.batch_size * config.bptt) / 3 * at_once
        ahead = math.ceil(config.evaluations * (1 - done))
        # The last scores both sets of weights; the final one reads all, and in float32.
        full = 2 * min(self._valid_tokens, config.final_tokens) / at_once
        return each * (ahead + 1 + full)
