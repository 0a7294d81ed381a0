"""The loop: read a line, do what it says. With a terminal, or without any."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, Any

from chargen.errors import ChargenError, ExitCode
from chargen.repl.commands import Context
from chargen.repl.commands.table import run_command
from chargen.repl.commands.write import more, read_and_write
from chargen.repl.prompt import QUOTES, LineReader, is_open, open_output, unquoted
from chargen.repl.screen import Screen
from chargen.repl.session import Session
from chargen.terminal.context import Terminal


def run_repl(session: Session, terminal: Terminal) -> int:
    """Read and do until the person leaves; the exit code."""
    if has_terminal(terminal):
        return _with_terminal(session, terminal)
    return _without(session, terminal, sys.stdin)


def has_terminal(terminal: Terminal) -> bool:
    """Whether a person sits at both ends, at a terminal that obeys."""
    source = sys.stdin
    return (
        source is not None
        and source.isatty()
        and terminal.out.isatty()
        and terminal.environ.get("TERM") not in ("dumb", "", None)
    )


def handle(context: Context, line: str, *, quoted: bool = False) -> None:
    """Do what a line says.

    Args:
        context: the session and its screen.
        line: as it was typed.
        quoted: it stood between three quotes, so that it is text whatever it begins with.

    Raises:
        EOFError: the person wants to leave.
    """
    if line.strip():
        context.session.history.append(line)
    try:
        if quoted:
            read_and_write(context, line)
        elif line.startswith("//") and "\n" not in line:
            read_and_write(context, line[1:])
        elif is_command(line):
            run_command(context, line)
        elif not line:
            more(context, "")
        else:
            read_and_write(context, line)
    except ChargenError as error:
        context.screen.complain(error)


def is_command(line: str) -> bool:
    """Whether a line is a command: one line, with one slash before it."""
    return line.startswith("/") and not line.startswith("//") and "\n" not in line


def _with_terminal(session: Session, terminal: Terminal) -> int:
    from prompt_toolkit.input import create_input

    from chargen.repl.keys import Keys, browse, choose_with_keys

    source, output = create_input(), open_output(terminal)
    screen = Screen(terminal, interactive=True)
    context = Context(
        session=session,
        screen=screen,
        keys=Keys(source),
        pick=choose_with_keys(source, output),
        browse=lambda view: browse(view, screen.palette, screen.size, source, output),
    )
    reader = LineReader(context, source, output)
    config = session.model.config
    screen.line(
        f"{session.name}: {config.cell_row.label}, {config.units_label}. "
        "Type how the text begins, and it goes on; /help tells the rest, Ctrl-D leaves."
    )
    with _terminable(terminal):
        while True:
            try:
                line = reader.read()
                if is_command(line):
                    mark = ">" if screen.palette.ascii else "›"
                    screen.line(f"{mark} {line}", "dim")
                with _interruptible():
                    handle(context, unquoted(line), quoted=line.startswith(QUOTES))
            except KeyboardInterrupt:
                continue  # the line was given up, or a command that took long
            except EOFError:
                return ExitCode.DONE


@contextmanager
def _terminable(terminal: Terminal) -> Iterator[None]:
    """Termination and a closed window leave the terminal as it was."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.TERMINATED)

    signals = [one for one in ("SIGTERM", "SIGHUP") if hasattr(signal, one)]
    before = {one: signal.signal(getattr(signal, one), leave) for one in signals}
    modes = _modes()
    try:
        yield
    except SystemExit:
        # The whole screen scrolls again, the cursor shows, pastes come plain.
        with suppress(OSError, ValueError):
            terminal.out.write("\x1b7\x1b[r\x1b8\x1b[J\x1b[?25h\x1b[?2004l\x1b[0m\n")
            terminal.out.flush()
        raise
    finally:
        _restore(modes)
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _modes() -> list[Any] | None:
    """The terminal's modes, where there are such."""
    if os.name == "nt":
        return None
    import termios

    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):
        return None


def _restore(modes: list[Any] | None) -> None:
    if modes is not None:
        import termios

        with suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, modes)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the command, not the session."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.write("\n")


def _without(session: Session, terminal: Terminal, source: IO[str] | None) -> int:
    """Lines in, plain text out."""
    context = Context(session=session, screen=Screen(terminal, interactive=False))
    for line, quoted in _lines(source):
        try:
            handle(context, line, quoted=quoted)
        except EOFError:
            break
    return ExitCode.DONE


def _lines(source: IO[str] | None) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is several between three quotes."""
    if source is None:
        return
    collected: str | None = None
    for raw in source:
        line = raw.removesuffix("\n").removesuffix("\r")
        collected = line if collected is None else f"{collected}\n{line}"
        if not is_open(collected):
            yield unquoted(collected), collected.startswith(QUOTES)
            collected = None
    if collected is not None:
        yield unquoted(collected), True
