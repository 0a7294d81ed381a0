"""Colours for numbers: which colour, shade or ink shows a value on this terminal.

Sequential values follow cividis (Nunez, Anderton and Renslow, 2018). Signed values go from blue
through the background's colour to orange. People with any kind of colour blindness can tell both
apart. Terminals without colours get shades, so that a picture keeps its meaning. This file knows
no grids, figures or lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.palette import Palette as ColourTable
from rich.segment import Segment
from rich.style import Style

RGB = tuple[int, int, int]
LEVELS = 64
BACKGROUNDS = ("auto", "dark", "light")
RESET = "\x1b[0m"

# Anchors at even distances. Cividis as published; reversed on light backgrounds, so that small
# values are near the background.
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
# Curves: hues and brightnesses that differ for every kind of colour blindness (after Okabe and
# Ito, 2008).
_LINES = {
    True: ((86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167), (200, 200, 200),
           (0, 158, 140)),
    False: ((0, 114, 178), (213, 94, 0), (120, 94, 0), (170, 70, 130), (90, 90, 90), (0, 130, 115)),
}  # fmt: skip
# Curves in sixteen colours, by hand: `Color.downgrade` gives two of the six curves one colour.
_LINES_OF_16 = (6, 3, 5, 4, 7, 2)
_NEGATIVE_OF_16, _POSITIVE_OF_16 = 4, 3
_SHADES, _ASCII_SHADES = " ░▒▓█", " .:-=+*#%@"
_BLACK_INK, _WHITE_INK = Color.from_ansi(16), Color.from_ansi(231)
_BRIGHT = 0.42
"""Luminance above which black text is easier to read than white text."""
_FIRST_FIXED_COLOUR = 16
"""Of the 256 colours, the first 16 depend on the terminal's theme."""


@dataclass(frozen=True, kw_only=True)
class Palette:
    """How numbers look on one terminal."""

    depth: int = 0
    """Number of colours: 0, 16, 256 or 1 << 24."""
    ascii: bool = False
    dark: bool = True

    @property
    def paints(self) -> bool:
        """Whether a cell's background can show a value; otherwise shades do."""
        return self.depth >= 256

    @property
    def shades(self) -> str:
        """Characters from the least to the most ink."""
        return _ASCII_SHADES if self.ascii else _SHADES

    def levels(self, values: npt.NDArray[np.float32], low: float, high: float) -> list[list[int]]:
        """Values (R, C) as levels 0 to 63; -1 where a value is NaN or infinite."""
        scaled = (values - low) * (LEVELS / max(high - low, 1e-12))
        finite = np.isfinite(scaled)
        levels = np.clip(np.where(finite, scaled, 0), 0, LEVELS - 1).astype(int)
        return np.where(finite, levels, -1).tolist()  # type: ignore[no-any-return]

    def rgb(self, kind: str) -> list[RGB]:
        """The colours of the 64 levels of a kind: `sequential` or `diverging`."""
        return _ramp(kind, self.dark)

    def colours(self, kind: str) -> list[Color]:
        """The terminal's colours of the levels; the last entry, -1, is the terminal's default."""
        return _colours(kind, self.dark, self.depth)

    def fills(self, kind: str) -> list[Style]:
        """A background of each level; the last entry, -1, is the terminal's default."""
        return _fills(kind, self.dark, self.depth)

    def inked_fills(self, kind: str) -> list[Style]:
        """A background of each level with text that is legible on it; the last as in `fills`."""
        return _inked_fills(kind, self.dark, self.depth)

    def shade(self, kind: str, level: int) -> Segment:
        """One character for a level; where there are sixteen colours, the colour is the sign."""
        if level < 0:
            return Segment(" ")
        if self.depth < 16 or kind != "diverging":
            return Segment(self.shades[level * len(self.shades) // LEVELS])
        # `Color.downgrade` makes most of this ramp grey in sixteen colours, so the sign would be
        # lost: here the hue is the sign and the shade the size.
        size = abs(2 * level + 1 - LEVELS)
        mark = self.shades[min(size * len(self.shades) // LEVELS, len(self.shades) - 1)]
        number = _NEGATIVE_OF_16 if 2 * level < LEVELS else _POSITIVE_OF_16
        return Segment(mark) if mark == " " else Segment(mark, _text_style(number))

    def line_rgb(self, number: int) -> RGB:
        """The colour of the curve with this number; colours repeat after six curves."""
        colours = _LINES[self.dark]
        return colours[number % len(colours)]

    def line_style(self, number: int) -> Style | None:
        """The style of the curve with this number; None where there are no colours."""
        if not self.depth:
            return None
        if self.depth < 256:
            return _text_style(_LINES_OF_16[number % len(_LINES_OF_16)])
        return Style(color=_terminal_colour(self.line_rgb(number), self.depth))


def luminance(colour: RGB) -> float:
    """Brightness from 0 to 1 (ITU-R BT.709 weights)."""
    red, green, blue = colour
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def takes_black_ink(colour: RGB) -> bool:
    """Whether black text is easier to read on a colour than white text."""
    return luminance(colour) > _BRIGHT


def is_dark(environ: Mapping[str, str], background: str = "auto") -> bool:
    """Whether the background is dark: the option decides, then COLORFGBG; otherwise it is."""
    if background != "auto":
        return background == "dark"
    last = environ.get("COLORFGBG", "").rpartition(";")[2]
    return not (last.isdecimal() and int(last) in (7, 9, 10, 11, 12, 13, 14, 15))


_DEPTHS = {"truecolor": 1 << 24, "256": 256, "standard": 16, "windows": 16}


def make_palette(
    color_system: str | None, environ: Mapping[str, str], *, ascii: bool, background: str = "auto"
) -> Palette:
    """The palette of a terminal.

    Args:
        color_system: rich's name of what the terminal can show; None for no colours.
        environ: environment variables, for the background.
        ascii: whether only ASCII characters may be drawn.
        background: one of `BACKGROUNDS`.
    """
    return Palette(
        depth=_DEPTHS.get(color_system or "", 0), ascii=ascii, dark=is_dark(environ, background)
    )


@lru_cache(maxsize=4)
def _ramp(kind: str, dark: bool) -> list[RGB]:
    sequential: Sequence[RGB] = _CIVIDIS if dark else _CIVIDIS[::-1]
    anchors = np.array(_DIVERGING[dark] if kind == "diverging" else sequential, float)
    positions = np.linspace(0, len(anchors) - 1, LEVELS)
    channels = [np.interp(positions, np.arange(len(anchors)), channel) for channel in anchors.T]
    return [(int(r), int(g), int(b)) for r, g, b in zip(*channels, strict=True)]


@lru_cache(maxsize=8)
def _colours(kind: str, dark: bool, depth: int) -> list[Color]:
    return [*(_terminal_colour(rgb, depth) for rgb in _ramp(kind, dark)), Color.default()]


@lru_cache(maxsize=8)
def _fills(kind: str, dark: bool, depth: int) -> list[Style]:
    return [Style(bgcolor=colour) for colour in _colours(kind, dark, depth)]


@lru_cache(maxsize=8)
def _inked_fills(kind: str, dark: bool, depth: int) -> list[Style]:
    inks = [_BLACK_INK if takes_black_ink(rgb) else _WHITE_INK for rgb in _ramp(kind, dark)]
    pairs = zip([*inks, Color.default()], _colours(kind, dark, depth), strict=True)
    return [Style(color=ink, bgcolor=colour) for ink, colour in pairs]


@lru_cache(maxsize=16)
def _text_style(number: int) -> Style:
    return Style(color=Color.from_ansi(number))


def _terminal_colour(rgb: RGB, depth: int) -> Color:
    return Color.from_rgb(*rgb) if depth > 256 else Color.from_ansi(_nearest_of_256(rgb))


@lru_cache(maxsize=1024)
def _nearest_of_256(rgb: RGB) -> int:
    """The nearest of the 240 fixed colours, by rich's distance.

    `Color.downgrade` is worse for signed values on a dark background: it turns their dark blues
    and browns into saturated teal and red, and the luminance of neighbouring levels differs by up
    to 0.27 (here 0.16). Sequential values and curves look the same in both.
    """
    return _FIRST_FIXED_COLOUR + _fixed_colours().match(rgb)


@lru_cache(maxsize=1)
def _fixed_colours() -> ColourTable:
    numbers = range(_FIRST_FIXED_COLOUR, 256)
    return ColourTable([Color.from_ansi(number).get_truecolor() for number in numbers])
