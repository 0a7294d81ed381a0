"""Terminal: the streams that a command writes to, and what they can show.

A command gets its Terminal as an argument and never uses sys.stdout or the environment itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from chargen.terminal.safetext import safe, safe_line

if TYPE_CHECKING:
    from rich.console import Console

COLOR_MODES = ("auto", "always", "never")


@dataclass(kw_only=True)
class Terminal:
    """Results go to `out`, everything else goes to `err`."""

    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    color: str = "auto"
    ascii: bool = False
    quiet: bool = False

    @property
    def shows_text(self) -> bool:
        """Whether results go to a person's screen and must pass through SafeText."""
        return self.out.isatty()

    @property
    def is_live(self) -> bool:
        """Whether progress and displays may redraw themselves on `err`."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb" and not self.quiet

    def write_line(self, text: object) -> None:
        """Write a line of results."""
        self.out.write(safe(text) + "\n")

    def write_bytes(self, data: bytes) -> None:
        """Write raw results, for a pipe or a file."""
        binary = getattr(self.out, "buffer", None)
        if binary is None:
            self.out.write(data.decode("utf-8", "replace"))
        else:
            self.out.flush()
            cast(BinaryIO, binary).write(data)
            binary.flush()

    def note(self, text: object) -> None:
        """Write a line for the person to stderr; nothing with --quiet."""
        if not self.quiet:
            self.err.write(self._wrap(safe_line(text)) + "\n")
            self.err.flush()

    def _wrap(self, line: str) -> str:
        """On a terminal, break a long line between words; the terminal would break it anywhere."""
        if not self.err.isatty():
            return line
        import shutil
        import textwrap

        width = max(20, shutil.get_terminal_size().columns)
        return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)

    def complain(self, text: object) -> None:
        """Write a line for the person to stderr, also with --quiet."""
        with suppress(OSError):  # a full or closed stderr must not hide the exit code
            self.err.write(safe_line(text) + "\n")
            self.err.flush()

    def console(self, *, results: bool = False) -> Console:
        """A rich console on `err` or, for results, on `out`; give it only SafeText and drawings."""
        from rich.console import Console

        plain = self.color == "never" or (
            self.color == "auto" and bool(self.environ.get("NO_COLOR"))
        )
        return Console(
            file=self.out if results else self.err,
            force_terminal=True if self.color == "always" else None,
            color_system=None if plain else "auto",
            safe_box=self.ascii,
            markup=False,
            emoji=False,
            highlight=False,
        )
