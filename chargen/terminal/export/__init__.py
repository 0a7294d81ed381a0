"""A picture as a file: `.svg`, `.html` (one page that works offline) or `.png`.

The ending of the file's name chooses the format. `grid` and `figure` draw the two kinds of
picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chargen.errors import UsageError
from chargen.insight.plot import Figure
from chargen.insight.views import Grid
from chargen.own_files import check_own, is_sealed, seal, write_own
from chargen.terminal.export import figure, grid
from chargen.terminal.palette import Palette

Picture = Grid | Figure


def check_export(path: Path, *, overwrite: bool = False) -> None:
    """Check before the work that a picture can be written to a path.

    Args:
        path: the file.
        overwrite: whether a file that chargen did not write may be replaced.

    Raises:
        UsageError: the name has no ending of `EXPORTS`, or a file of somebody else is there.
        ChargenError: the folder does not exist or cannot be written to.
    """
    _find_format(path)
    check_own(path, is_sealed, overwrite=overwrite)


def export(picture: Picture, path: Path, *, dark: bool = True, overwrite: bool = False) -> None:
    """Write a picture to a file.

    Args:
        picture: a heatmap's numbers, or curves.
        path: its ending chooses the format.
        dark: whether the background is dark.
        overwrite: whether a file that chargen did not write may be replaced.

    Raises:
        UsageError: the name has no ending of `EXPORTS`, or is `.png` and matplotlib is missing, or
            a file of somebody else is there.
        ChargenError: the file cannot be written.
    """
    encode = _find_format(path)
    try:
        data = encode(picture, Palette(depth=1 << 24, dark=dark))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    write_own(path, seal(data, path.suffix), is_sealed, overwrite=overwrite)


def _find_format(path: Path) -> Callable[[Picture, Palette], bytes]:
    if path.suffix not in EXPORTS:
        raise UsageError(f"{path}: must end with one of {', '.join(EXPORTS)}")
    return EXPORTS[path.suffix]


def _svg(picture: Picture, palette: Palette) -> bytes:
    return grid.svg(picture, palette) if isinstance(picture, Grid) else figure.svg(picture, palette)


def _html(picture: Picture, palette: Palette) -> bytes:
    return (
        grid.page(picture, palette) if isinstance(picture, Grid) else figure.page(picture, palette)
    )


EXPORTS: dict[str, Callable[[Picture, Palette], bytes]] = {
    ".svg": _svg,
    ".html": _html,
    ".png": figure.png,
}
"""The formats by the ending of the file's name."""
