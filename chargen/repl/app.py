"""How does the session run: read a line, do what it says, until the person leaves?

`run_repl` is the loop, for a person at a terminal and for lines from a pipe. What a line does is
in commands/; how a line is typed is in prompt.py.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import IO, Any

from chargen import hints
from chargen.errors import ChargenError, ExitCode
from chargen.repl.commands import Context
from chargen.repl.commands.compose import take_turn
from chargen.repl.commands.table import run_command
from chargen.repl.commands.write import more, read_and_write, show_position
from chargen.repl.kept import keep, kept_paths
from chargen.repl.prompt import QUOTES, LineReader, is_open, open_output, unquoted
from chargen.repl.screen import Screen
from chargen.repl.session import Session
from chargen.repl.settings import TABLE
from chargen.terminal.context import Terminal
from chargen.terminal.windows import obeys_escape_codes
from chargen.text.reader import read_lines
from chargen.text.reading import Reading

_RESET_TERMINAL = "\x1b7\x1b[r\x1b8\x1b[J\x1b[?25h\x1b[?2004l\x1b[0m\n"
"""Makes the whole screen scroll, shows the cursor, ends bracketed paste, drops colours."""


def run_repl(session: Session, terminal: Terminal) -> int:
    """Runs a session until the person leaves; returns the exit code."""
    if has_terminal(terminal):
        return _run_at_terminal(session, terminal)
    return _run_without_terminal(session, terminal, sys.stdin)


def has_terminal(terminal: Terminal) -> bool:
    """Whether input and output are a terminal that obeys escape codes."""
    source = sys.stdin
    return (
        source is not None
        and source.isatty()
        and terminal.out.isatty()
        and _obeys_escape_codes(terminal)
    )


def _obeys_escape_codes(terminal: Terminal) -> bool:
    term = terminal.environ.get("TERM")
    # Consoles of Windows have no TERM, and are asked instead.
    named = term not in ("dumb", "") if os.name == "nt" else term not in ("dumb", "", None)
    return named and obeys_escape_codes(terminal.out)


def handle(context: Context, line: str, *, quoted: bool = False) -> None:
    """Does what a line says; shows an error as one line.

    Args:
        context: the session and its screen.
        line: what was typed, without quotes around it.
        quoted: three quotes stood around it, so it is text even when it begins with a slash.

    Raises:
        EOFError: the person wants to leave.
    """
    if line.strip():
        context.session.history.append(line)
    try:
        with hints.read_by("repl", (f"--{name}" for name in TABLE)):
            _do(context, line, quoted=quoted)
    except ChargenError as error:
        context.screen.complain(error)


def _do(context: Context, line: str, *, quoted: bool) -> None:
    if quoted:
        read_and_write(context, line)
    elif line.startswith("//") and "\n" not in line:
        read_and_write(context, line[1:])
    elif is_command(line):
        run_command(context, line)
    elif not line:
        more(context, "")
    elif context.session.chat is not None:
        take_turn(context, line)
    else:
        read_and_write(context, line)


def is_command(line: str) -> bool:
    """Whether a line is a command: a single line that begins with exactly one slash."""
    return line.startswith("/") and not line.startswith("//") and "\n" not in line


def _run_at_terminal(session: Session, terminal: Terminal) -> int:
    from prompt_toolkit.input import create_input

    from chargen.repl.keys import Keys, browse_steps, token_picker

    source, output = create_input(), open_output(terminal)
    screen = Screen(terminal, interactive=True)
    context = Context(
        session=session,
        screen=screen,
        keys=Keys(source),
        pick_token=token_picker(source, output),
        browse_steps=lambda view: browse_steps(view, screen.palette, screen.size, source, output),
    )
    reader = LineReader(context, source, output)
    config = session.model.config
    screen.line(
        f"{session.name}: {config.cell_row.label}, {config.units_label}. "
        "Type the beginning of a text and press Enter; the model writes on. "
        "/help lists the commands, Ctrl-D leaves."
    )
    if kept_paths():
        screen.line("/sessions lists the texts of earlier sessions", "dim")
    if session.position:  # the session goes on
        show_position(context)
    with _resets_terminal(terminal), _keeps_text(session, terminal):
        while True:
            try:
                line = reader.read()
                if is_command(line):
                    mark = ">" if screen.palette.ascii else "›"
                    screen.line(f"{mark} {line}", "dim")
                with _interruptible():
                    handle(context, unquoted(line), quoted=line.startswith(QUOTES))
                with suppress(ChargenError):  # told once, when the session ends
                    keep(session)
            except KeyboardInterrupt:
                continue  # Ctrl-C at the prompt drops the line
            except EOFError:
                return ExitCode.DONE


@contextmanager
def _resets_terminal(terminal: Terminal) -> Iterator[None]:
    """Gives the terminal back as it was when a signal ends the process or its window closes."""
    modes = _terminal_modes()
    with _leaves_by_signal():
        try:
            yield
        except SystemExit:
            with suppress(OSError, ValueError):
                terminal.out.write(_RESET_TERMINAL)
                terminal.out.flush()
            raise
        finally:
            _set_terminal_modes(modes)


@contextmanager
def _leaves_by_signal() -> Iterator[None]:
    """Turns a signal that ends the process into SystemExit, so that what must be done is done."""
    names = [name for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]

    def leave(number: int, frame: FrameType | None) -> None:
        # A closed window sends several, and a job that it finds stopped goes on in the background,
        # where giving the terminal back would stop it again. The text must be kept all the same.
        for name in [*names, "SIGTTOU"]:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        raise SystemExit(ExitCode.TERMINATED)

    # What nohup or a service starts the process with is still ignored.
    names = [n for n in names if signal.getsignal(getattr(signal, n)) is not signal.SIG_IGN]
    handlers = {name: signal.signal(getattr(signal, name), leave) for name in names}
    try:
        yield
    finally:
        for name, handler in handlers.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def _keeps_text(session: Session, terminal: Terminal) -> Iterator[None]:
    """Keeps the text when the session ends, however it ends; says so, and what went wrong."""
    try:
        yield
    finally:
        try:
            kept = keep(session) is not None
        except ChargenError as error:
            terminal.complain(f"the text is not kept: {error}")
        else:
            with suppress(OSError, ValueError):  # the window may be closed
                if kept:
                    terminal.note("the text is kept; chargen repl --continue goes on with it")


def _terminal_modes() -> list[Any] | None:
    """Returns the modes of the terminal (termios); None where the system has none."""
    if os.name == "nt":
        return None
    import termios

    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):
        return None


def _set_terminal_modes(modes: list[Any] | None) -> None:
    if modes is not None:
        import termios

        with suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, modes)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C end a command, not the session."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.write("\n")


def _run_without_terminal(session: Session, terminal: Terminal, source: IO[str] | None) -> int:
    """Reads lines from a stream and writes plain text."""
    context = Context(session=session, screen=Screen(terminal, interactive=False))
    with ExitStack() as stack:
        if source is not None and source.isatty():  # a person, at a terminal without escape codes
            stack.enter_context(_leaves_by_signal())
            stack.enter_context(_keeps_text(session, terminal))
        for line, quoted in _read_lines(source):
            try:
                handle(context, line, quoted=quoted)
            except EOFError:
                break
    return ExitCode.DONE


def _read_lines(source: IO[str] | None) -> Iterator[tuple[str, bool]]:
    """Yields each line or quoted text, and whether three quotes stood around it."""
    if source is None:
        return
    collected: str | None = None
    # The bytes are read as those of a file are. A stream of text alone has none.
    data = getattr(source, "buffer", None)
    lines = source if data is None else read_lines(data, "standard input", Reading())
    for raw in lines:
        line = raw.removesuffix("\n").removesuffix("\r")
        collected = line if collected is None else f"{collected}\n{line}"
        if not is_open(collected):
            yield unquoted(collected), collected.startswith(QUOTES)
            collected = None
    if collected is not None:
        yield unquoted(collected), True
