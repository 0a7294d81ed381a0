"""Where a command's picture goes: to the terminal, or with --export to a file.

The options --export, --overwrite and --background are declared here, and `display_options` adds
all options of a command that shows a text. What a picture shows is in `chargen.insight`; how it is
drawn, in `chargen.terminal`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chargen.cli.options import decorated, encoding_option, json_option, terminal_options
from chargen.errors import UsageError
from chargen.terminal.context import Terminal
from chargen.terminal.palette import BACKGROUNDS, Palette, is_dark, make_palette

if TYPE_CHECKING:
    from chargen.terminal.export import Picture

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Shows pictures on the terminal, or writes them to a file."""

    terminal: Terminal
    background: str
    target: Path | None
    """The file to write; None means the terminal."""
    overwrite: bool = False
    """Whether what is there may be replaced, whoever wrote it."""

    @property
    def width(self) -> int:
        """Columns that a picture may fill."""
        return screen_width(self.terminal)

    @property
    def palette(self) -> Palette:
        """The colours that the terminal of the results can show."""
        system = self.terminal.console(results=True).color_system
        terminal = self.terminal
        return make_palette(
            system, terminal.environ, ascii=terminal.ascii, background=self.background
        )

    def show(self, picture: Picture) -> None:
        """Draw the picture on the terminal, or write it to the file."""
        if self.export(picture):
            return
        from chargen.insight.views import Grid
        from chargen.terminal.charts import render_figure
        from chargen.terminal.heatmap import render

        draw: Callable[..., list[str]] = render if isinstance(picture, Grid) else render_figure
        lines = draw(picture, self.palette, self.width)
        self.terminal.out.write("".join(f"{line}\n" for line in lines))

    def export(self, picture: Picture) -> bool:
        """Write the picture to the file; return False if there is no file."""
        if self.target is None:
            return False
        from chargen.terminal.export import export

        export(
            picture, self.target, dark=is_dark(self.terminal.environ, self.background),
            overwrite=self.overwrite,
        )  # fmt: skip
        self.terminal.note(f"written to {self.target}")
        return True


def screen_width(terminal: Terminal) -> int:
    """Columns that results may fill: one fewer than the terminal has, or 79 without one."""
    return max(20, shutil.get_terminal_size().columns - 1) if terminal.out.isatty() else 79


def picture_options(function: F) -> F:
    """Add --export, --overwrite and --background; pass `pictures` beside the `terminal`."""

    @wraps(function)
    def with_pictures(
        *args: Any, target: str | None, overwrite: bool, background: str, **rest: Any
    ) -> Any:
        if target is not None:
            from chargen.terminal.export import check_export

            try:
                check_export(Path(target), overwrite=overwrite)
            except UsageError as error:
                raise UsageError(f"--export {error}") from error
        pictures = Pictures(
            terminal=rest["terminal"],
            background=background,
            target=None if target is None else Path(target),
            overwrite=overwrite,
        )
        return function(*args, pictures=pictures, **rest)

    decorators = (
        click.option(
            "--background",
            type=click.Choice(BACKGROUNDS),
            default="auto",
            show_default=True,
            help="Choose colours for this background.",
        ),
        click.option(
            "--export", "target", metavar="FILE", help="Write a .svg, .html or .png file instead."
        ),
        click.option("--overwrite", is_flag=True, help="Replace what is there, whoever wrote it."),
    )
    command: F = decorated(with_pictures, decorators)
    return command


def display_options(function: F) -> F:
    """Add the options of a command that shows a text: --encoding, --json, --color, --export, ..."""
    options = (encoding_option, json_option, terminal_options, picture_options)
    command: F = decorated(function, options)
    return command
