"""Numbers and durations as short text."""

from __future__ import annotations

from typing import TypeGuard


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 3m10s, 2h05m."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def size(number: float) -> str:
    """A count with a unit: 950, 12.3k, 4.1M, 1.2G."""
    for unit in ("", "k", "M", "G"):
        if abs(number) < 999.5 or unit == "G":
            return f"{number:.0f}" if not unit else f"{number:.1f}{unit}"
        number /= 1000
    raise AssertionError


def plural(count: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def is_figure(value: object) -> TypeGuard[float]:
    """Whether a value from a file is a number of a size that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12
