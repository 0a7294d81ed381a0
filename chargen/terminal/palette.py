"""Colours for numbers: truecolor, 256, 16 or none; on dark and light backgrounds.

Sequential values go along cividis (Nunez, Anderton and Renslow, 2018), signed ones from blue over
the background to orange: both are told apart by people with any kind of colour blindness. Where
there are no colours, shades take their place, so that a picture keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

RGB = tuple[int, int, int]
LEVELS = 64
BACKGROUNDS = ("auto", "dark", "light")
RESET = "\x1b[0m"

# Anchors at even distances. Cividis as published; reversed on light backgrounds, so that little
# stays near the background.
_CIVIDIS = (
    (0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115),
    (138, 134, 120), (165, 156, 116), (195, 179, 105), (225, 204, 85), (254, 232, 56),
)  # fmt: skip
_DIVERGING = {
    True: ((94, 180, 255), (30, 102, 180), (28, 52, 84), (26, 26, 26), (92, 54, 16),
           (196, 104, 16), (255, 178, 84)),
    False: ((5, 72, 140), (66, 137, 200), (176, 210, 236), (246, 246, 246), (250, 210, 160),
            (226, 133, 40), (150, 74, 0)),
}  # fmt: skip
# Curves: hues and brightnesses that stay apart for every kind of colour blindness (after Okabe and
# Ito, 2008); for sixteen colours their nearest names.
_LINES = {
    True: ((86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167), (200, 200, 200),
           (0, 158, 140)),
    False: ((0, 114, 178), (213, 94, 0), (120, 94, 0), (170, 70, 130), (90, 90, 90), (0, 130, 115)),
}  # fmt: skip
_LINES_OF_16 = (36, 33, 35, 34, 37, 32)
_SHADES, _ASCII_SHADES = " ░▒▓█", " .:-=+*#%@"
_CUBE = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, kw_only=True)
class Palette:
    """How numbers are shown here."""

    depth: int = 0
    """Colours: 0, 16, 256 or 1 << 24."""
    ascii: bool = False
    dark: bool = True
    _cache: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def paints(self) -> bool:
        """Whether a cell's background can show a value; otherwise shades do."""
        return self.depth >= 256

    @cached_property
    def shades(self) -> str:
        """From least to most."""
        return _ASCII_SHADES if self.ascii else _SHADES

    def levels(self, values: npt.NDArray[np.float32], low: float, high: float) -> list[list[int]]:
        """Values (R, C) as levels 0 to 63; -1 where there is none."""
        scaled = (values - low) * (LEVELS / max(high - low, 1e-12))
        known = np.isfinite(scaled)
        whole = np.clip(np.where(known, scaled, 0), 0, LEVELS - 1).astype(int)
        return np.where(known, whole, -1).tolist()  # type: ignore[no-any-return]

    def background(self, kind: str) -> list[str]:
        """SGR parameters of each level as a background; the last entry is none at all."""
        return self._parameters(kind, 48)

    def foreground(self, kind: str) -> list[str]:
        """SGR parameters of each level as a foreground; the last entry is none at all."""
        return self._parameters(kind, 38)

    def ink(self, kind: str) -> list[str]:
        """SGR parameters of text that is legible on each level's background."""
        key = f"ink {kind}"
        if key not in self._cache:
            inks = ["38;5;16" if luminance(one) > 0.42 else "38;5;231" for one in self.rgb(kind)]
            self._cache[key] = [*inks, "39"]
        return self._cache[key]

    def shade(self, kind: str, level: int) -> str:
        """One character for a level, in colour where there are sixteen."""
        if level < 0:
            return " "
        if self.depth < 16 or kind != "diverging":
            return self.shades[level * len(self.shades) // LEVELS]
        # Sixteen colours: the hue is the sign, the shade the size.
        size = abs(2 * level + 1 - LEVELS)
        mark = self.shades[min(size * len(self.shades) // LEVELS, len(self.shades) - 1)]
        return mark if mark == " " else f"\x1b[{34 if 2 * level < LEVELS else 33}m{mark}{RESET}"

    def rgb(self, kind: str) -> list[RGB]:
        """The colours of the levels."""
        return _ramp(kind, self.dark)

    def line_rgb(self, number: int) -> RGB:
        """The colour of a curve."""
        colours = _LINES[self.dark]
        return colours[number % len(colours)]

    def line(self, number: int) -> str:
        """SGR parameters of a curve; empty where there are no colours."""
        if not self.depth:
            return ""
        if self.depth < 256:
            return str(_LINES_OF_16[number % len(_LINES_OF_16)])
        return (_true if self.depth > 256 else _nearest)(38, self.line_rgb(number))

    def _parameters(self, kind: str, base: int) -> list[str]:
        key = f"{base} {kind}"
        if key not in self._cache:
            spell = _true if self.depth > 256 else _nearest
            self._cache[key] = [spell(base, one) for one in self.rgb(kind)] + [f"{base + 1}"]
        return self._cache[key]


@lru_cache(maxsize=8)
def _ramp(kind: str, dark: bool) -> list[RGB]:
    sequential: Sequence[RGB] = _CIVIDIS if dark else _CIVIDIS[::-1]
    anchors = np.array(_DIVERGING[dark] if kind == "diverging" else sequential, float)
    places = np.linspace(0, len(anchors) - 1, LEVELS)
    columns = [np.interp(places, np.arange(len(anchors)), one) for one in anchors.T]
    return [(int(r), int(g), int(b)) for r, g, b in zip(*columns, strict=True)]


def luminance(colour: RGB) -> float:
    """How bright, 0 to 1 (ITU-R BT.709 weights)."""
    red, green, blue = colour
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def _true(base: int, colour: RGB) -> str:
    return f"{base};2;{colour[0]};{colour[1]};{colour[2]}"


def _nearest(base: int, colour: RGB) -> str:
    """Of the 256 colours: the 6 x 6 x 6 cube, or the greys."""
    cube = [int(np.abs(np.array(_CUBE) - one).argmin()) for one in colour]
    grey = min(23, max(0, round((sum(colour) / 3 - 8) / 10)))
    off_cube = sum((_CUBE[k] - one) ** 2 for k, one in zip(cube, colour, strict=True))
    off_grey = sum((8 + 10 * grey - one) ** 2 for one in colour)
    number = 232 + grey if off_grey < off_cube else 16 + 36 * cube[0] + 6 * cube[1] + cube[2]
    return f"{base};5;{number}"


def is_dark(environ: Mapping[str, str], background: str = "auto") -> bool:
    """Whether the background is dark: as said, or as COLORFGBG says, or so assumed."""
    if background != "auto":
        return background == "dark"
    last = environ.get("COLORFGBG", "").rpartition(";")[2]
    return not (last.isdecimal() and int(last) in (7, 9, 10, 11, 12, 13, 14, 15))


_DEPTHS = {"truecolor": 1 << 24, "256": 256, "standard": 16, "windows": 16}


def make_palette(
    color_system: str | None, environ: Mapping[str, str], *, ascii: bool, background: str = "auto"
) -> Palette:
    """A palette for a terminal, from rich's name of its colour system."""
    return Palette(
        depth=_DEPTHS.get(color_system or "", 0), ascii=ascii, dark=is_dark(environ, background)
    )
