"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

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
