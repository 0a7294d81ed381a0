"""A number's course as a line of blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chargen.terminal.safetext import SafeText, safe_line

_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


def sparks(
    values: npt.NDArray[np.floating], low: float, high: float, *, ascii: bool = False
) -> SafeText:
    """Each value (T,) as a block between two limits; a space for what is no number."""
    blocks = _ASCII_BLOCKS if ascii else _BLOCKS
    known = np.isfinite(values)
    scaled = np.where(known, (values - low) / max(high - low, 1e-12) * len(blocks), 0)
    levels = np.clip(scaled, 0, len(blocks) - 1).astype(int)
    marks = zip(levels, known, strict=True)
    return SafeText("".join(blocks[level] if there else " " for level, there in marks))


def spark_line(
    name: str, values: npt.NDArray[np.floating], width: int, *, ascii: bool = False
) -> SafeText:
    """A name, the course of its last values, and the last of them."""
    label = safe_line(name)
    last = f"{values[-1]:+.2f}" if len(values) else ""
    room = max(0, width - len(label) - len(last) - 2)
    bound = max(1.0, float(np.abs(values).max(initial=0.0)))
    course = sparks(values[len(values) - min(room, len(values)) :], -bound, bound, ascii=ascii)
    return SafeText(f"{label} {course:<{room}} {last}"[:width])
