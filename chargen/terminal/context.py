"""Where a command talks to: streams, and what they can show. Handed in, not reached for."""

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
    """Results go to `out`, everything else to `err`."""

    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    color: str = "auto"
    ascii: bool = False
    quiet: bool = False

    @property
    def shows_text(self) -> bool:
        """Whether results go to a person's screen, and so through SafeText."""
        return self.out.isatty()

    @property
    def is_live(self) -> bool:
        """Whether notices may redraw themselves."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb" and not self.quiet

    def write_line(self, text: object) -> None:
        """A line of results."""
        self.out.write(safe(text) + "\n")

    def write_bytes(self, data: bytes) -> None:
        """Raw results, for a pipe or a file."""
        binary = getattr(self.out, "buffer", None)
        if binary is None:
            self.out.write(data.decode("utf-8", "replace"))
        else:
            self.out.flush()
            cast(BinaryIO, binary).write(data)
            binary.flush()

    def note(self, text: object) -> None:
        """A line for the person, on stderr; not with --quiet."""
        if not self.quiet:
            self.err.write(self._wrapped(safe_line(text)) + "\n")
            self.err.flush()

    def _wrapped(self, line: str) -> str:
        """On a terminal, broken between words: it would break anywhere."""
        if not self.err.isatty():
            return line
        import shutil
        import textwrap

        width = max(20, shutil.get_terminal_size().columns)
        return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)

    def complain(self, text: object) -> None:
        """A line for the person, on stderr, always."""
        with suppress(OSError):  # a full or closed stderr must not hide the exit code
            self.err.write(safe_line(text) + "\n")
            self.err.flush()

    def console(self, *, results: bool = False) -> Console:
        """Rich on one of the streams; only for renderables made of SafeText."""
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
