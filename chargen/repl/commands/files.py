"""The commands about files: how does a person save, load and export a session, a model or a text?

What a session file contains is in repl/record.py; where models lie is in model/runs.py.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from chargen.api import load as load_model
from chargen.errors import ChargenError, ModelFileError, UsageError
from chargen.files import is_plain_number
from chargen.model.bases import BASES, base_path
from chargen.model.run_states import describe_run
from chargen.model.runs import CHECKPOINTS, list_runs, size_label
from chargen.own_files import OVERWRITE, is_noted, note_text, write_own
from chargen.repl import story
from chargen.repl.commands import Context
from chargen.repl.commands.inspect import view_grid
from chargen.repl.commands.write import show_position
from chargen.repl.kept import describe_kept, forget_kept, keep, kept_paths
from chargen.repl.record import read_session, write_session
from chargen.repl.session import Session
from chargen.terminal.export import EXPORTS
from chargen.terminal.export import export as export_picture
from chargen.terminal.progress import plural
from chargen.text.tokenizer import utf8

_MAX_CLIPBOARD_BYTES = 70_000
"""Most terminals accept a clipboard text of this size."""


_TEXTS: dict[str, Callable[[Session], str]] = {
    ".txt": Session.text,
    ".md": story.markdown,
    ".html": story.page,
}
"""What `/export` makes of the text, by the ending of the file's name."""


def save(context: Context, argument: str) -> None:
    """Saves the texts, branches and settings of the session to a JSON file."""
    name, overwrite = _split_overwrite(argument)
    path = _named_file("save", name)
    if path.suffix != ".json":
        path = path.with_name(f"{path.name}.json")
    write_session(path, context.session, overwrite=overwrite)
    context.screen.line(f"saved to {path}; /load {path} brings it back", "dim")


def load(context: Context, argument: str) -> None:
    """Loads a model, which reads the present texts, or a session file, which replaces them."""
    if not argument:
        raise UsageError("load: name a model (/models lists the runs) or a session file")
    if not argument.endswith(".json") and _means_session(argument):
        argument = f"{argument}.json"
    if argument.endswith(".json"):
        _load_session(context, argument)
    else:
        _load_model(context, argument)


def _means_session(name: str) -> bool:
    """Whether NAME.json is a file and NAME is no model."""
    is_model = Path(name).exists() or (CHECKPOINTS / name).exists()
    return Path(f"{name}.json").is_file() and not is_model


def _load_session(context: Context, name: str) -> None:
    _replace_session(context, _named_file("load", name), own=False)


def _replace_session(context: Context, path: Path, *, own: bool) -> None:
    session, screen = context.session, context.screen
    try:
        before = keep(session, spare=path)
    except ChargenError:  # the state folder cannot be written to: the person asked to replace it
        before = None
    session.kept_as = None  # what replaces it is another session
    read_session(path, session, own=own)
    if before is not None:
        screen.line("the text from before is kept; /sessions lists it", "dim")
    screen.set_background(session.settings.background)
    count = len(session.tree.branches)
    branches = f"{count} branch{'' if count == 1 else 'es'}"
    screen.line(f"loaded {branches}; writing with {session.name}", "dim")
    show_position(context)


def _load_model(context: Context, name: str) -> None:
    session = context.session
    model = load_model(name)
    unseen = session.change_model(model)
    branches = session.tree.branches
    read = ""
    if session.position or branches.keys() - {"main"}:
        texts = "the text" if len(branches) == 1 else f"all {len(branches)} branches"
        read = f", which has read {texts}"
    context.screen.line(f"writing with {session.name}{read}", "dim")
    for line in unseen:
        context.screen.line(line, "dim")


def sessions(context: Context, argument: str) -> None:
    """Lists the texts of earlier sessions, brings one of them back, or removes them all."""
    paths = kept_paths()
    if argument == "forget":
        count = forget_kept()
        context.screen.line(f"removed {plural(count, 'text')} of earlier sessions", "dim")
        return
    if not paths:
        raise UsageError(
            "sessions: there is none yet; a session keeps itself as soon as it has a text"
        )
    if not argument:
        rows = [
            (str(number), one.model, one.ending) for number, one in enumerate(describe_kept(), 1)
        ]
        context.screen.table(("", "model", "end of the text"), rows)
        return
    if not argument.isdecimal() or not 1 <= int(argument) <= len(paths):
        raise UsageError(
            f"sessions {argument}: give a number from 1 to {len(paths)}; /sessions lists them"
        )
    _replace_session(context, paths[int(argument) - 1], own=True)


def model_names(context: Context) -> tuple[str, ...]:
    """Returns the names of the runs, and of the models in the box, that can be loaded."""
    return tuple(dict.fromkeys([*(folder.name for folder in list_runs()), *_boxed()]))


def _boxed() -> dict[str, str]:
    """The models in the box that are installed, and what they have read."""
    return {name: read for name, read in BASES.items() if base_path(name) is not None}


def models(context: Context, argument: str) -> None:
    """Lists the runs that can be loaded, then the models in the box."""
    rows = []
    for folder in list_runs():
        record = describe_run(folder)
        score, model = record.get("validation"), record.get("model")
        bits = score.get("bits_per_byte") if isinstance(score, dict) else None
        described = f"{model.get('cell')} {size_label(model)}" if isinstance(model, dict) else ""
        rows.append(
            (folder.name, described, f"{bits:.3f} bits/byte" if is_plain_number(bits) else "")
        )
    rows += [(name, read, "in the box") for name, read in _boxed().items()]
    if not rows:
        raise ModelFileError("no run in checkpoints/ yet; /load FILE loads a model file")
    context.screen.table(("run", "model", "validation"), rows)


def export(context: Context, argument: str) -> None:
    """Writes the text or a view of it to a file; the ending of the name chooses the format."""
    endings = (".txt", ".md", *EXPORTS)
    argument, overwrite = _split_overwrite(argument)
    name, view = _split_at_ending(argument, endings)
    path = _named_file("export", name)
    if path.suffix in _TEXTS and not view:
        data = utf8(_TEXTS[path.suffix](context.session))
        write_own(path, data, is_noted, overwrite=overwrite)
        note_text(data)
    elif path.suffix in EXPORTS:
        grid = view_grid(context, view or context.session.heat.view)
        export_picture(grid, path, dark=context.screen.palette.dark, overwrite=overwrite)
    else:
        raise UsageError(
            f"export {name}: the file's name must end with one of {', '.join(endings)}"
        )
    context.screen.line(f"written to {path}", "dim")


def _split_overwrite(argument: str) -> tuple[str, bool]:
    """Splits `my text.txt --overwrite` into the rest and whether that word is there."""
    rest = argument.removesuffix(OVERWRITE)
    if rest != argument and (not rest or rest[-1].isspace()):
        return rest.rstrip(), True
    return argument, False


def _split_at_ending(argument: str, endings: tuple[str, ...]) -> tuple[str, str]:
    """Splits `my text.svg gates` into the file name and the view; a file name may have blanks."""
    for ending in endings:
        before, separator, after = argument.partition(ending)
        if separator:
            return f"{before}{ending}", after.strip()
    return argument, ""


def copy(context: Context, argument: str) -> None:
    """Sends the text to the terminal, which puts it on the clipboard (escape code OSC 52)."""
    if not context.screen.interactive:
        raise UsageError("copy: needs a terminal; /export FILE.txt writes the text to a file")
    data = utf8(context.session.text())
    if len(data) > _MAX_CLIPBOARD_BYTES:
        raise UsageError(
            f"copy: the text has {len(data):,} bytes, but terminals take only "
            f"{_MAX_CLIPBOARD_BYTES:,}; /export FILE.txt writes it to a file"
        )
    encoded = base64.b64encode(data).decode("ascii")
    context.screen.out.write(f"\x1b]52;c;{encoded}\x07")
    context.screen.line(
        f"sent {plural(len(data), 'byte')} to the clipboard; some terminals ignore this", "dim"
    )


def _named_file(command: str, name: str) -> Path:
    """Returns the path of a file that a person named.

    Raises:
        UsageError: there is no name, or it is a folder's.
    """
    if not name:
        raise UsageError(f"{command}: name a file")
    path = Path(name).expanduser()
    if path.is_dir():
        raise UsageError(f"{command} {path}: is a folder; name a file")
    return path
