"""Figure: curves and points, ready to be drawn; what a Grid is for heatmaps.

Shape letters: N points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]
_LARGEST = 1e100
"""What is larger has no place on an axis."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve, or one cloud of points."""

    name: str
    """A name from a file or a model is not yet safe to show."""
    x: Numbers = field(repr=False)
    """(N,)"""
    y: Numbers = field(repr=False)
    """(N,); NaN where there is nothing."""
    labels: tuple[str, ...] = ()
    """What each point is, for who points at it; or nothing."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Series over the same two axes."""

    series: tuple[Series, ...]
    x_label: str
    y_label: str
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    """Logarithmic axes; numbers that have no logarithm are left out."""
    points: bool = False
    """Points stand alone; otherwise neighbours are joined."""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    """Limits of the axes; None takes those of the numbers."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Plots side by side, and in words what there is to see."""

    title: str
    plots: tuple[Plot, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axis:
    """Numbers to places from 0 to 1."""

    low: float
    high: float
    log: bool

    def places(self, values: Numbers) -> Numbers:
        """Where values (N,) lie; NaN for what is not on the axis."""
        low, high = np.log10([self.low, self.high]) if self.log else (self.low, self.high)
        with np.errstate(all="ignore"):
            scaled = np.log10(values) if self.log else np.asarray(values, np.float64)
            found = (scaled - low) / (high - low)
        inside = np.isfinite(found) & (found >= -1e-9) & (found <= 1 + 1e-9)
        return np.where(inside, found, np.nan)

    def ticks(self, count: int) -> list[float]:
        """Round numbers along the axis, about so many."""
        if self.log:
            first, last = np.ceil(np.log10(self.low) - 1e-9), np.floor(np.log10(self.high) + 1e-9)
            if last - first >= 1:
                step = max(1, round((last - first) / max(1, count - 1)))
                return [float(10.0**one) for one in np.arange(first, last + 1, step)]
        rough = (self.high - self.low) / max(1, count)
        scale = 10.0 ** np.floor(np.log10(rough))
        step = scale * next(one for one in (1, 2, 5, 10) if one * scale >= rough * (1 - 1e-9))
        first = np.ceil(self.low / step - 1e-9)
        return [float(one * step) for one in np.arange(first, self.high / step + 1e-9)]


def axes_of(plot: Plot) -> tuple[Axis, Axis]:
    """The horizontal and the vertical axis of a plot."""
    return (
        _axis([one.x for one in plot.series], plot.x_range, plot.log_x),
        _axis([one.y for one in plot.series], plot.y_range, plot.log_y),
    )


def _axis(values: list[Numbers], limits: tuple[float, float] | None, log: bool) -> Axis:
    if limits is not None:
        return Axis(*limits, log)
    every = np.concatenate([np.empty(0), *values])
    every = every[(np.abs(every) < _LARGEST) & ((every > 1 / _LARGEST) | (not log))]
    if not every.size:
        return Axis(0.1, 1.0, log) if log else Axis(0.0, 1.0, log)
    low, high = float(every.min()), float(every.max())
    if log:
        return Axis(low, high, True) if high > low * 1.01 else Axis(low / 2, low * 2, True)
    if high - low <= 1e-9 * max(1.0, abs(high)):
        room = 0.5 * max(1.0, abs(high))
        return Axis(low - room, low + room, False)
    return Axis(low, high, False)


def tick_text(value: float) -> str:
    """A number beside an axis."""
    if value == 0:
        return "0"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-")
