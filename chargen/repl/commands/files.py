"""Commands that keep and bring back: save, load, models, export, copy."""

from __future__ import annotations

import base64
from pathlib import Path

from chargen.api import load as load_model
from chargen.errors import ChargenError, ModelFileError, UsageError
from chargen.files import atomic_writer, cache_folder, make_folder
from chargen.model.runs import CHECKPOINTS, list_runs, read_run, size_of
from chargen.repl.commands import Context
from chargen.repl.commands.inspect import view_grid
from chargen.repl.commands.write import show_place
from chargen.repl.record import is_session, read_session, write_session
from chargen.repl.session import Session
from chargen.terminal.export import EXPORTS
from chargen.terminal.export import export as export_picture
from chargen.terminal.progress import is_figure
from chargen.text.tokenizer import utf8

_ASIDE = "before-load.json"
_CLIPBOARD = 70_000
"""Bytes that terminals take, as a rule."""


def save(context: Context, argument: str) -> None:
    """Keep texts, branches and settings."""
    path = context.session.file_name(argument)
    if path.suffix != ".json":
        path = path.with_name(f"{path.name}.json")
    if path.exists() and not is_session(path):
        raise UsageError(f"{path}: is there already, and no session; choose another name")
    write_session(path, context.session)
    context.screen.line(f"saved to {path}; /load {path} brings it back", "dim")


def load(context: Context, argument: str) -> None:
    """Another model, or a session."""
    session, screen = context.session, context.screen
    if not argument:
        raise UsageError("load: name a model (/models lists the runs) or a session's file")
    if (
        not argument.endswith(".json")
        and Path(f"{argument}.json").is_file()
        and not (Path(argument).exists() or (CHECKPOINTS / argument).exists())
    ):
        argument = f"{argument}.json"
    if argument.endswith(".json"):
        left = _keep_aside(session)
        read_session(session.file_name(argument), session)
        if left is not None:
            screen.line(f"what was here before is kept in {left}", "dim")
        screen.set_background(session.settings.background)
        screen.line(f"{len(session.tree.branches)} branches by {session.name}", "dim")
        show_place(context)
        return
    model = load_model(argument)
    branches = len(session.tree.branches)
    session.change_model(model)
    what = "the text" if branches == 1 else f"all {branches} branches"
    read = (
        f", which has read {what}"
        if session.tree.branches.keys() - {"main"} or (session.position)
        else ""
    )
    screen.line(f"writing with {session.name}{read}", "dim")


def _keep_aside(session: Session) -> Path | None:
    """Keep a text that another session takes the place of."""
    if len(session.tree.branches) == 1 and not session.position:
        return None
    path = cache_folder() / _ASIDE
    try:
        make_folder(path.parent)
        write_session(path, session)
    except ChargenError:
        return None
    return path


def model_names(context: Context) -> tuple[str, ...]:
    """Runs that can be loaded."""
    return tuple(one.name for one in list_runs())


def models(context: Context, argument: str) -> None:
    """The runs that can be loaded."""
    rows = []
    for folder in list_runs():
        record = read_run(folder)
        score, model = record.get("validation"), record.get("model")
        bits = score.get("bits_per_byte") if isinstance(score, dict) else None
        what = ""
        if isinstance(model, dict):
            what = f"{model.get('cell')} {size_of(model)}"
        rows.append((folder.name, what, f"{bits:.3f} bits/byte" if is_figure(bits) else ""))
    if not rows:
        raise ModelFileError("no run in checkpoints/ yet; /load takes a model's file as well")
    context.screen.table(("run", "model", "validation"), rows)


def export(context: Context, argument: str) -> None:
    """The text, or a view, into a file."""
    kinds = (".txt", *EXPORTS)
    # A name may have spaces; what follows its ending is the view.
    name, view = next(
        (
            (f"{before}{kind}", after)
            for kind in kinds
            for before, found, after in [argument.partition(kind)]
            if found
        ),
        (argument, ""),
    )
    path = context.session.file_name(name)
    if path.suffix == ".txt":
        with atomic_writer(path) as handle:
            handle.write(utf8(context.session.text()))
    elif path.suffix in EXPORTS:
        look = view.strip() or context.session.heat.view
        export_picture(view_grid(context, look), path, dark=context.screen.palette.dark)
    else:
        raise UsageError(f"export {name}: the file's name must end with one of {', '.join(kinds)}")
    context.screen.line(f"written to {path}", "dim")


def copy(context: Context, argument: str) -> None:
    """The text to the clipboard, by the terminal itself."""
    if not context.screen.interactive:
        raise UsageError("copy: needs a terminal; /export FILE.txt writes the text to a file")
    data = utf8(context.session.text())
    if len(data) > _CLIPBOARD:
        raise UsageError(
            f"copy: {len(data):,} bytes are more than terminals take; /export FILE.txt instead"
        )
    encoded = base64.b64encode(data).decode("ascii")
    context.screen.out.write(f"\x1b]52;c;{encoded}\x07")
    context.screen.line(
        f"{len(data):,} bytes handed to the terminal for its clipboard (some refuse)", "dim"
    )
