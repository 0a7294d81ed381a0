"""Options that several commands share. Choices and ranges come from the tables they belong to.

MODEL and FILE on the command line, loaded and read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import COLOR_MODES, Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.text.tokenizer import Tokens


F = TypeVar("F", bound=Callable[..., Any])


def stacked(function: Any, decorators: Sequence[Callable[[Any], Any]]) -> Any:
    """A function under several decorators, the first of them outermost."""
    for one in reversed(decorators):
        function = one(function)
    return function


def terminal_options(function: F) -> F:
    """--color, --ascii, --quiet and --debug; the command gets a `terminal`."""

    @wraps(function)
    def with_terminal(*args: Any, color: str, ascii: bool, quiet: bool, **rest: Any) -> Any:
        rest.pop("debug")  # read from the arguments by main(), before any command runs
        terminal = Terminal(color=color, ascii=ascii, quiet=quiet)
        return function(*args, terminal=terminal, **rest)

    decorators = (
        click.option(
            "--color",
            type=click.Choice(COLOR_MODES),
            default="auto",
            show_default=True,
            help="Colours; NO_COLOR is obeyed.",
        ),
        click.option("--ascii", is_flag=True, help="Draw with ASCII characters alone."),
        click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    )
    found: F = stacked(with_terminal, decorators)
    return found


def json_option(function: F) -> F:
    """--json."""
    option = click.option(
        "--json", "as_json", is_flag=True, help="One JSON object a line on stdout."
    )
    return option(function)


class ModelName(click.ParamType[str]):
    """MODEL: a file, a run folder or a run's name."""

    name = "model"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Names of runs, then files."""
        from click.shell_completion import CompletionItem

        from chargen.model.runs import list_runs

        names = [one.name for one in list_runs() if one.name.startswith(incomplete)]
        return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


class RunName(click.ParamType[str]):
    """RUN: a run folder or a run's name."""

    name = "run"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Names of runs, then folders."""
        from click.shell_completion import CompletionItem

        from chargen.model.runs import CHECKPOINTS, TRAINING

        names = sorted(one.parent.name for one in CHECKPOINTS.glob(f"*/{TRAINING}"))
        found = [CompletionItem(one) for one in names if one.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="dir")]


class CorpusName(click.ParamType[str]):
    """CORPUS: a file, a folder, -, builtin:NAME or hf:DATASET."""

    name = "corpus"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Named corpora, then files."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("b"):
            from chargen.text.recipes import recipes

            names = [f"builtin:{one.name}" for one in recipes()]
            return [CompletionItem(one) for one in names if one.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file")]


class TableName(click.ParamType[str]):
    """A row of a table: offered by the shell, and checked where the table is."""

    name = "name"

    def __init__(self, rows: Iterable[str]) -> None:
        self._rows = tuple(rows)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """The rows that begin so."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(one) for one in self._rows if one.startswith(incomplete)]


MODEL = ModelName()
RUN_NAME = RunName()
CORPUS = CorpusName()


def is_model(name: str) -> bool:
    """Whether a name means a model and nothing else."""
    from chargen.model.runs import CHECKPOINTS

    path = Path(name)
    return name.endswith(".safetensors") or (not path.exists() and (CHECKPOINTS / path).is_dir())


def model_and_text(
    names: tuple[str, ...],
    terminal: Terminal,
    *,
    encoding: str | None = None,
    needs_file: bool = False,
) -> tuple[Model, Tokens, str]:
    """[MODEL] [FILE]: the model, the tokens (N,) of the text, and what the text is called.

    Without MODEL it is the newest run; without FILE, what the model was validated on, unless
    `needs_file` is set.

    Raises:
        UsageError: too many names, or no FILE where none can be found.
        CorpusError: the file cannot be read, or is empty.
        ModelFileError: there is no such model, or it is damaged.
    """
    from chargen.api import load, validation_text

    if len(names) > 2:
        raise UsageError("give one MODEL and one FILE")
    file = names[-1] if len(names) == 2 or (names and not is_model(names[0])) else None
    if file is None and needs_file:
        raise UsageError(f"{names[0] if names else 'chargen'}: name the FILE to read")
    model = load(names[0] if names and names[0] != file else None)
    if file is not None:
        return model, read_tokens(model, file, terminal, encoding=encoding), file
    found = validation_text(model)
    if found is None or not len(found):
        raise UsageError("name the FILE to read: what the model was validated on is not here")
    return model, found, "its validation text"


def read_tokens(
    model: Model,
    name: str,
    terminal: Terminal,
    *,
    encoding: str | None = None,
    column: str | None = None,
) -> Tokens:
    """A text as tokens (N,) of a model; says which characters it never saw.

    Raises:
        CorpusError: it cannot be read, or is empty.
    """
    import numpy as np

    from chargen.text.corpus import open_corpus
    from chargen.text.encoding import encoded_batches
    from chargen.text.reader import Reading
    from chargen.text.store import token_dtype
    from chargen.text.tokenizer import describe_unseen

    documents = model.card.get("documents")
    corpus = open_corpus(
        [name],
        documents=documents if documents in ("files", "lines") else "whole",
        reading=Reading(encoding=encoding, column=column, as_bytes=model.tokenizer.reads_bytes),
    )
    unseen: dict[str, int] = {}
    characters = 0
    for piece in corpus.pieces():
        if isinstance(piece, str):
            characters += len(piece)
            for one in model.tokenizer.unseen(piece):
                unseen[one] = unseen.get(one, 0) + piece.count(one)
    if unseen:
        replaced = model.tokenizer.unseen("".join(unseen))
        for line in describe_unseen(replaced, unseen, characters, "nearest"):
            terminal.complain(f"{name}: {line}; the score is of the text with these replaced")
    dtype = np.dtype(token_dtype(model.tokenizer.vocab_size))
    batches = [ids for ids, _ in encoded_batches(corpus, model.tokenizer, dtype)]
    found: Tokens = np.concatenate([np.empty(0, dtype), *batches])
    if not len(found):
        raise CorpusError(f"{name}: the text is empty")
    return found
