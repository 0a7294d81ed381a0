"""A picture as a file: `.svg`, `.html` (one offline page, values under the pointer), `.png`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from chargen.errors import ChargenError, UsageError
from chargen.files import atomic_writer
from chargen.insight.plot import Figure
from chargen.insight.views import Grid
from chargen.terminal.export import figure, grid
from chargen.terminal.palette import Palette

Picture = Grid | Figure


def check_export(path: Path) -> None:
    """Whether a name says which kind of picture it is.

    Raises:
        UsageError: it does not.
        ChargenError: its folder is not there, or cannot be written.
    """
    if path.suffix not in EXPORTS:
        raise UsageError(f"{path}: must end with one of {', '.join(EXPORTS)}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ChargenError(f"{path}: cannot be written ({path.parent} is no folder for it)")


def export(picture: Picture, path: Path, *, dark: bool = True) -> None:
    """Write a picture to a file; its ending says which kind.

    Raises:
        UsageError: an ending of no kind, or `.png` without matplotlib.
        ChargenError: the file cannot be written.
    """
    if path.suffix not in EXPORTS:
        raise UsageError(f"{path}: must end with one of {', '.join(EXPORTS)}")
    try:
        data = EXPORTS[path.suffix](picture, Palette(depth=1 << 24, dark=dark))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    with atomic_writer(path) as handle:
        handle.write(data)


def _svg(picture: Picture, palette: Palette) -> bytes:
    return grid.svg(picture, palette) if isinstance(picture, Grid) else figure.svg(picture, palette)


def _page(picture: Picture, palette: Palette) -> bytes:
    return (
        grid.page(picture, palette) if isinstance(picture, Grid) else figure.page(picture, palette)
    )


EXPORTS: dict[str, Callable[[Picture, Palette], bytes]] = {
    ".svg": _svg,
    ".html": _page,
    ".png": figure.png,
}
"""The kinds of file, by ending."""
