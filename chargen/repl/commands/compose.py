"""The commands for longer work on a text: an editor, a passage between two texts, a chat."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from chargen.errors import UsageError, reason_of
from chargen.inference.between import bridge
from chargen.inference.filters import RECENT_TOKENS
from chargen.repl.commands import Context
from chargen.repl.commands.write import read_and_write, show_position
from chargen.repl.session import Chat, Session
from chargen.repl.settings import change_sample
from chargen.terminal.progress import plural
from chargen.terminal.safetext import SafeText, safe
from chargen.text.tokenizer import newline_id, utf8
from chargen.text.unseen import unseen_lines

_EDITORS = ("nano", "vim", "vi", "notepad")
"""What is tried where no variable names an editor."""
_MAX_BRIDGE_TOKENS = 120
_NAME_END = ": \t"


def edit(context: Context, argument: str) -> None:
    """Opens the text in an editor; goes on from the first change, and keeps the old text."""
    session, screen = context.session, context.screen
    if not screen.interactive:
        raise UsageError("edit: needs a terminal; /save and /load work without one")
    old = session.text()
    new = _edited(old, _editor())
    if new.removesuffix("\n") == old.removesuffix("\n"):
        screen.line("the text is unchanged", "dim")
        return
    kept = replace_text(session, new)
    for line in unseen_lines(session.model.tokenizer, [new], session.settings.unknown):
        screen.line(line, "dim")
    screen.line(f"the first {plural(kept, 'token')} are as before; the old text is a branch", "dim")
    show_position(context)


def replace_text(session: Session, text: str) -> int:
    """Makes the branch hold another text; what both begin with alike is not read again.

    Returns:
        How many tokens both begin with.
    """
    tree = session.tree
    ids = session.model.tokenizer.encode(text, session.settings.unknown).tolist()
    nodes = tree.path(tree.tip)
    same = 0
    while same < min(len(nodes), len(ids)) and tree.token(nodes[same]) == ids[same]:
        same += 1
    tree.move(tree.back(tree.tip, len(nodes) - same))
    session.starts.append((tree.tip, False))
    tree.branches[tree.branch] = session.composer.read(tree.tip, ids[same:])
    return same


def _editor() -> list[str]:
    """The editor that the person has chosen, and its arguments.

    Raises:
        UsageError: there is none.
    """
    for variable in ("VISUAL", "EDITOR"):
        if command := os.environ.get(variable):
            try:
                return shlex.split(command, posix=os.name != "nt")
            except ValueError as error:
                raise UsageError(f"edit: {variable} {command!r}: {error}") from error
    for name in _EDITORS:
        if found := shutil.which(name):
            return [found]
    raise UsageError("edit: no editor found; set EDITOR to one, for example EDITOR=nano")


def _edited(text: str, editor: list[str]) -> str:
    """What the person made of a text.

    Raises:
        UsageError: the editor cannot be started or failed, or left no text.
    """
    handle, name = tempfile.mkstemp(prefix="chargen-", suffix=".txt")  # readable by its user only
    path = Path(name)
    try:
        with open(handle, "wb") as stream:
            stream.write(utf8(text))
        result = subprocess.run([*editor, name], check=False)
        if result.returncode:
            raise UsageError(
                f"edit: {editor[0]} ended with {result.returncode}; the text is unchanged"
            )
        edited = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(
            f"edit: {editor[0]} cannot be used ({reason_of(error)}); set EDITOR to another"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("edit: the file is not UTF-8 any more; the text is unchanged") from error
    finally:
        with suppress(OSError):
            path.unlink()
    # Editors end a file with a line end, also where the text had none.
    return edited if text.endswith("\n") else edited.removesuffix("\n")


def between(context: Context, argument: str) -> None:
    """Writes a passage that leads from the text to another one, and adds both."""
    session, screen = context.session, context.screen
    if not argument:
        raise UsageError("between: give the text to arrive at, as /between and the sun rose.")
    tree, composer, tokenizer = session.tree, session.composer, session.model.tokenizer
    target = [int(token) for token in tokenizer.encode(argument, session.settings.unknown)]
    if not target:
        raise UsageError("between: the model knows no character of this text; give another")
    start = composer.start(tree.tip, empty=True)
    sample = session.settings.sample
    config = change_sample(
        sample,
        seed=session.seed + session.drawn,
        length=min(sample.length, _MAX_BRIDGE_TOKENS),
    )
    session.drawn += 1
    found = bridge(
        session.model.stepper,
        tokenizer,
        tree.state(start),
        composer.logits(start),
        tree.tokens(tree.tip, RECENT_TOKENS).tolist(),
        target,
        config,
    )
    session.starts.append((tree.tip, True))
    passage = composer.read(start, found.tokens)
    session.starts.append((passage, False))
    tree.branches[tree.branch] = composer.read(passage, target)
    shown = screen.styled(safe(argument), "bold")
    screen.write(SafeText(f"{safe(tokenizer.decode(found.tokens))}{shown}\n"))
    if not found.tokens:
        screen.line("no word ended within the length, so nothing stands between", "dim")
        return
    screen.line(
        f"a token of the text to arrive at costs {found.nats:.2f} nats after this passage, "
        f"{found.direct_nats:.2f} without one",
        "dim",
    )


def chat(context: Context, argument: str) -> None:
    """Begins or ends a chat: what is typed is a turn of one speaker, the model answers."""
    session, screen = context.session, context.screen
    if argument == "off":
        session.chat = None
        screen.line("the chat has ended; what you type is continued again", "dim")
        return
    names = argument.split()
    if not 1 <= len(names) <= 2 or any(name.strip(_NAME_END) == "" for name in names):
        raise UsageError("chat: name yourself and whoever answers, as /chat ANNA BEN; or off")
    me, other = (name.rstrip(_NAME_END) for name in (*names, "")[:2])
    unseen = session.model.tokenizer.unseen(me + other + ":\n")
    if unseen:
        raise UsageError(
            f"chat {argument}: the model never saw {', '.join(map(repr, unseen))}; "
            "choose other names"
        )
    session.chat = Chat(me=me, other=other)
    told = other or "whoever the model chooses"
    screen.line(f"you are {me}, {told} answers; /chat off ends it", "dim")


def take_turn(context: Context, line: str) -> None:
    """Reads a turn of the person, and writes the answer to its end."""
    session = context.session
    speakers = session.chat
    assert speakers is not None
    own_line = _has_own_line(session, speakers.me)
    gap = "" if not session.position or session.text(2).endswith("\n") else "\n"
    after_name, turn_end = (":\n", "\n\n") if own_line else (": ", "\n")
    answer = f"{speakers.other}{after_name}" if speakers.other else ""
    before = session.settings.sample
    session.settings.sample = change_sample(before, stop=(turn_end,))
    try:
        read_and_write(context, f"{gap}{speakers.me}{after_name}{line}{turn_end}{answer}")
    finally:
        session.settings.sample = before
    session.append(turn_end)


def _has_own_line(session: Session, name: str) -> bool:
    """Whether the model writes names on lines of their own, as plays do."""
    composer, tokenizer = session.composer, session.model.tokenizer
    newline = newline_id(tokenizer)
    blank = tokenizer.encode(" ")
    if newline is None or not len(blank):
        return newline is not None
    ids = tokenizer.encode(f"\n\n{name}:")
    _, state = composer.stepper.logits_of(ids[:-1], composer.stepper.zero_state())
    logits = composer.stepper.step(int(ids[-1]), state, state)
    return bool(logits[newline] > logits[int(blank[0])])
