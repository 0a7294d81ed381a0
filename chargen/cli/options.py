"""The arguments and options that several commands share.

MODEL, RUN, CORPUS and FILE complete in the shell; MODEL and FILE are loaded here. --json, --color,
--ascii, --quiet and --debug are declared here. Training is in `training_view.py`, pictures in
`pictures.py`. Allowed names and ranges come from the tables of the
modules that use them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from chargen.cli.standard_input import wait_for_standard_input
from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import COLOR_MODES, Terminal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from chargen.api import Model
    from chargen.text.tokenizer import Tokens

F = TypeVar("F", bound=Callable[..., Any])


def decorated(function: Any, decorators: Sequence[Callable[[Any], Any]]) -> Any:
    """Apply several decorators; the first one is the outermost."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def terminal_options(function: F) -> F:
    """Add --color, --ascii, --quiet and --debug; the command gets them as one `terminal`."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        context.meta[parameter.name or ""] = value

    def make_terminal(context: click.Context, _: click.Parameter, color: str) -> Terminal:
        return Terminal(color=color, ascii=context.meta["ascii"], quiet=context.meta["quiet"])

    # click reads eager options first: they are known when --color becomes the terminal.
    flag = partial(click.option, is_flag=True, is_eager=True, expose_value=False, callback=remember)
    decorators = (
        click.option(
            "--color",
            "terminal",
            type=click.Choice(COLOR_MODES),
            default="auto",
            show_default=True,
            callback=make_terminal,
            help="When to use colours; auto obeys NO_COLOR.",
        ),
        flag("--ascii", help="Draw with ASCII characters only."),
        flag("-q", "--quiet", help="Write only errors to stderr."),
        # main() reads --debug from the arguments, before any command runs.
        flag("--debug", help="Show the traceback of an error."),
    )
    command: F = decorated(function, decorators)
    return command


def json_option(function: F) -> F:
    """Add --json; the command gets `as_json` and writes with `write_json`."""
    option = click.option(
        "--json", "as_json", is_flag=True, help="Write one JSON object per line to stdout."
    )
    return option(function)


def encoding_option(function: F) -> F:
    """Add --encoding, of the text files that a command reads."""
    option = click.option(
        "--encoding",
        metavar="NAME",
        help="Encoding of the text; not needed for UTF-8, or with a byte order mark.",
    )
    return option(function)


def column_option(function: F) -> F:
    """Add --column, of the tables that a command reads."""
    option = click.option(
        "--column",
        metavar="NAME",
        help="Column of a table with the text; in JSON also a path, as messages.content.",
    )
    return option(function)


def write_json(terminal: Terminal, value: object) -> None:
    """Write a value to stdout as one line of JSON."""
    terminal.out.write(json.dumps(value) + "\n")


def finite_lists(values: npt.NDArray[np.floating]) -> list[Any]:
    """An array of any shape as nested lists, with None for NaN and infinity."""
    import numpy as np

    numbers = values.astype(object)
    numbers[~np.isfinite(values)] = None
    lists: list[Any] = numbers.tolist()
    return lists


class ModelName(click.ParamType[str]):
    """MODEL: a file, a run folder, a run's name, or a model in the box."""

    name = "model"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer the names of runs, then files."""
        from click.shell_completion import CompletionItem

        return [*_models(incomplete), CompletionItem(incomplete, type="file")]


def _models(incomplete: str) -> list[Any]:
    """The names of runs and of the models in the box, for the shell."""
    from click.shell_completion import CompletionItem

    from chargen.model.bases import BASES
    from chargen.model.runs import list_runs

    names = dict.fromkeys([*(run.name for run in list_runs()), *BASES])
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class RunName(click.ParamType[str]):
    """RUN: a run folder or a run's name."""

    name = "run"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer the names of runs, then folders."""
        from click.shell_completion import CompletionItem

        from chargen.model.runs import CHECKPOINTS, TRAINING

        names = sorted(state.parent.name for state in CHECKPOINTS.glob(f"*/{TRAINING}"))
        runs = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*runs, CompletionItem(incomplete, type="dir")]


class CorpusName(click.ParamType[str]):
    """CORPUS: a file, a folder, -, builtin:NAME or hf:DATASET."""

    name = "corpus"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer named corpora after a "b", files otherwise."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("b"):
            from chargen.text.recipes import recipes

            names = [f"builtin:{recipe.name}" for recipe in recipes()]
            return [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file")]


class ModelOrCorpus(CorpusName):
    """A MODEL, or a CORPUS."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer models, then corpora."""
        return [*_models(incomplete), *super().shell_complete(ctx, param, incomplete)]


class TableName(click.ParamType[str]):
    """The name of a row of a table; completed here, checked by the module with the table."""

    name = "name"

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Offer the names that begin with what is typed."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self._names if name.startswith(incomplete)]


MODEL = ModelName()
RUN_NAME = RunName()
CORPUS = CorpusName()
MODEL_OR_CORPUS = ModelOrCorpus()
NO_VALIDATION_TEXT = "the model's validation text is not on this machine"


def is_model(name: str) -> bool:
    """Whether a name means a model: a .safetensors file, or a run (also beside a text)."""
    from chargen.model.bases import BASES
    from chargen.model.runs import CHECKPOINTS, MODEL

    if name.endswith(".safetensors") or (Path(name) / MODEL).is_file():
        return True
    run = CHECKPOINTS / name
    if (run / MODEL).is_file():
        return True
    return not Path(name).exists() and (run.is_dir() or name in BASES)


def model_and_text(
    names: tuple[str, ...],
    terminal: Terminal,
    *,
    encoding: str | None = None,
    needs_file: bool = False,
) -> tuple[Model, Tokens, str]:
    """Load [MODEL] and read [FILE].

    Args:
        names: the arguments. Without MODEL, the model is the newest run; without FILE, the text
            is the model's validation text.
        terminal: shows which characters the model never saw.
        encoding: of FILE; None means UTF-8, or what a byte order mark says.
        needs_file: refuse to run without FILE.

    Returns:
        The model, the tokens (N,) of the text, and the text's name for messages.

    Raises:
        UsageError: there are too many names, or FILE is missing and the validation text too.
        CorpusError: the file cannot be read, or is empty.
        ModelFileError: there is no such model, or it is damaged.
    """
    from chargen.own_corpus import validation_text

    model, file = named_model_and_file(names, needs_file=needs_file)
    if file is not None:
        return model, read_tokens(model, file, terminal, encoding=encoding), file
    tokens = validation_text(model)
    if tokens is None or not len(tokens):
        raise UsageError(f"name the FILE to read: {NO_VALIDATION_TEXT}")
    return model, tokens, "its validation text"


def named_model_and_file(names: tuple[str, ...], *, needs_file: bool) -> tuple[Model, str | None]:
    """Load [MODEL], and tell which name is FILE; None where none is.

    Raises:
        UsageError: there are too many names, or FILE is missing and needed.
        ModelFileError: there is no such model, or it is damaged.
    """
    from chargen.api import load

    if len(names) > 2:
        raise UsageError("give one MODEL and one FILE")
    file = None
    if len(names) == 2 or (names and not is_model(names[0])):
        file = names[-1]
    elif names and needs_file and Path(names[0]).suffix != ".safetensors":
        file = names[0] if Path(names[0]).is_file() else None
    if file is None and needs_file:
        raise UsageError(f"{names[0] if names else 'chargen'}: name the FILE to read")
    return load(names[0] if len(names) == 2 or (names and file is None) else None), file


def read_tokens(
    model: Model,
    name: str,
    terminal: Terminal,
    *,
    encoding: str | None = None,
    column: str | None = None,
    labelled: Literal["no", "own", "model's"] = "no",
    result: str = "what follows",
) -> Tokens:
    """Read a text as tokens (N,) of a model; report the characters that the model never saw.

    Args:
        model: whose tokenizer encodes the text.
        name: a file or any other CORPUS.
        terminal: shows the report.
        encoding: of the file; None means UTF-8, or what a byte order mark says.
        column: of a table, if the text is one.
        labelled: the labels with which documents begin: none, their own where they have one, or
            the one with which the model writes.
        result: what the command makes of the text, for the report.

    Raises:
        CorpusError: the text cannot be read, or is empty.
    """
    import numpy as np

    from chargen.text.corpus import open_corpus
    from chargen.text.corpus_tokenizer import form_of, unlabelled
    from chargen.text.encoding import encoded_batches
    from chargen.text.letters import Letters
    from chargen.text.reading import Reading
    from chargen.text.store import token_dtype
    from chargen.text.text_options import documents_of, letters_of
    from chargen.text.unseen import unseen_lines

    if name == "-":
        wait_for_standard_input(terminal)
    corpus = open_corpus(
        [name],
        **documents_of(model.card),
        reading=Reading(
            encoding=encoding,
            column=column,
            chat=model.card.get("chat") is True,
            label_from=letters_of(model.card).get("label_from") if labelled == "own" else None,
            letters=Letters(normalize=form_of(model.tokenizer)),
            as_bytes=model.tokenizer.reads_bytes,
        ),
    )
    for line in unseen_lines(model.tokenizer, corpus.pieces()):
        terminal.complain(f"{name}: {line}; {result} is of the text with these replaced")
    dtype = np.dtype(token_dtype(model.tokenizer.vocab_size))
    tokenizer = model.tokenizer if labelled != "no" else unlabelled(model.tokenizer)
    batches = [ids for ids, _ in encoded_batches(corpus, tokenizer, dtype)]
    tokens: Tokens = np.concatenate([np.empty(0, dtype), *batches])
    if not len(tokens):
        raise CorpusError(f"{name}: the text is empty")
    return tokens


def decode_text(data: bytes, name: str, model: Model, encoding: str | None) -> str:
    """The text of a file or of standard input, read as a corpus is.

    Args:
        data: the content.
        name: how messages call it.
        model: a model of bytes takes every byte as it is, unless an encoding is named.
        encoding: of the content; None means UTF-8, or what a byte order mark says.

    Raises:
        CorpusError: the content is binary or in another encoding.
    """
    from chargen.text.reader import read_all
    from chargen.text.reading import Reading

    shown = "standard input" if name == "-" else name
    text = read_all(data, shown, Reading(encoding=encoding, as_bytes=model.tokenizer.reads_bytes))
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def check_length(name: str, ids: Tokens, min_tokens: int) -> None:
    """Refuse a text that is too short for a command.

    Raises:
        CorpusError: it has fewer tokens than `min_tokens`.
    """
    from chargen.terminal.progress import plural

    if len(ids) < min_tokens:
        raise CorpusError(f"{name}: {plural(len(ids), 'token')}; give at least {min_tokens}")


def note_unseen(model: Model, text: str, terminal: Terminal, policy: str = "nearest") -> None:
    """Tell the person which characters of a short text the model never saw.

    Args:
        model: whose vocabulary counts.
        text: the text.
        terminal: shows a line or two.
        policy: what becomes of these characters, one of `UNKNOWN_POLICIES`.
    """
    from chargen.text.unseen import unseen_lines

    for line in unseen_lines(model.tokenizer, [text], policy):
        terminal.note(line)
