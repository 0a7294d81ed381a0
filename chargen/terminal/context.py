"""Terminal: the streams that a command writes to, and what they can show.

A command gets its Terminal as an argument and never uses sys.stdout or the environment itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from chargen.terminal.messages import MessageStream, is_foreground
from chargen.terminal.safetext import safe, safe_line
from chargen.terminal.windows import obeys_escape_codes

if TYPE_CHECKING:
    from rich.console import Console

COLOR_MODES = ("auto", "always", "never")


@dataclass(kw_only=True)
class Terminal:
    """Results go to `out`, everything else goes to `err`."""

    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)
    """Never fails: `MessageStream` drops what cannot be written."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    color: str = "auto"
    ascii: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Wraps `err`, so that no message can end what is being done."""
        if not isinstance(self.err, MessageStream):
            self.err = cast(IO[str], MessageStream(self.err))

    @property
    def shows_text(self) -> bool:
        """Whether results go to a person's screen and must pass through SafeText."""
        return self.out.isatty()

    @property
    def is_live(self) -> bool:
        """Whether progress and displays may redraw themselves on `err`."""
        return (
            self.err.isatty()
            and self.environ.get("TERM") != "dumb"
            and not self.quiet
            and is_foreground(self.err)
            and obeys_escape_codes(self.err)
        )

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

    def note(self, text: object, *, wraps: bool = True) -> None:
        """Write a line for the person to stderr; nothing with --quiet.

        Args:
            text: the line.
            wraps: whether a terminal breaks it between words; not so a command to be pasted.
        """
        if not self.quiet:
            line = safe_line(text)
            self.err.write((self._wrap(line) if wraps else line) + "\n")
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
        self.err.write(safe_line(text) + "\n")
        self.err.flush()

    def console(self, *, results: bool = False, file: object = None) -> Console:
        """A rich console on `err`, on another stream, or, for results, on `out`.

        Give it only SafeText and drawings.
        """
        from rich.console import Console

        stream = cast(IO[str], file or (self.out if results else self.err))
        plain = self.color == "never" or (
            self.color == "auto"
            and (
                bool(self.environ.get("NO_COLOR"))
                or (stream.isatty() and not obeys_escape_codes(stream))
            )
        )
        return Console(
            file=stream,
            force_terminal=True if self.color == "always" else None,
            color_system=None if plain else "auto",
            safe_box=self.ascii,
            markup=False,
            emoji=False,
            highlight=False,
        )
