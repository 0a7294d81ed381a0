"""--export and --background: a picture on the terminal, or in a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chargen.cli.options import json_option, stacked, terminal_options
from chargen.errors import UsageError
from chargen.terminal.context import Terminal
from chargen.terminal.palette import BACKGROUNDS, Palette, is_dark, make_palette

if TYPE_CHECKING:
    from chargen.terminal.export import Picture

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where pictures go."""

    terminal: Terminal
    background: str
    target: Path | None
    """A file instead of the terminal."""

    @property
    def width(self) -> int:
        """Columns that a picture may take."""
        return screen_width(self.terminal)

    @property
    def palette(self) -> Palette:
        """Colours, as far as results can have them here."""
        system = self.terminal.console(results=True).color_system
        terminal = self.terminal
        return make_palette(
            system, terminal.environ, ascii=terminal.ascii, background=self.background
        )

    def show(self, picture: Picture) -> None:
        """Draw it, or write it to the file."""
        if self.export(picture):
            return
        from chargen.insight.views import Grid
        from chargen.terminal.charts import render_figure
        from chargen.terminal.heatmap import render

        draw: Callable[..., list[str]] = render if isinstance(picture, Grid) else render_figure
        lines = draw(picture, self.palette, self.width)
        self.terminal.out.write("".join(f"{line}\n" for line in lines))

    def export(self, picture: Picture) -> bool:
        """Write it to the file, if there is to be one."""
        if self.target is None:
            return False
        from chargen.terminal.export import export

        export(picture, self.target, dark=is_dark(self.terminal.environ, self.background))
        self.terminal.note(f"written to {self.target}")
        return True


def screen_width(terminal: Terminal) -> int:
    """Columns that results may take: the terminal's, or 79."""
    return max(20, shutil.get_terminal_size().columns - 1) if terminal.out.isatty() else 79


def picture_options(function: F) -> F:
    """--export and --background; the command, which has a `terminal`, gets `pictures`."""

    @wraps(function)
    def with_pictures(*args: Any, target: str | None, background: str, **rest: Any) -> Any:
        if target is not None:
            from chargen.terminal.export import check_export

            try:
                check_export(Path(target))
            except UsageError as error:
                raise UsageError(f"--export {error}") from error
        pictures = Pictures(
            terminal=rest["terminal"],
            background=background,
            target=None if target is None else Path(target),
        )
        return function(*args, pictures=pictures, **rest)

    decorators = (
        click.option(
            "--background",
            type=click.Choice(BACKGROUNDS),
            default="auto",
            show_default=True,
            help="Colours are for this background.",
        ),
        click.option(
            "--export", "target", metavar="FILE", help="Write .svg, .html or .png instead."
        ),
    )
    found: F = stacked(with_pictures, decorators)
    return found


def display_options(function: F) -> F:
    """What every display of a text has: --encoding, --json, a terminal, --export."""
    encoding = click.option(
        "--encoding", metavar="NAME", help="Of FILE; UTF-8 and marked UTF-16 need none."
    )
    found: F = stacked(function, (encoding, json_option, terminal_options, picture_options))
    return found
