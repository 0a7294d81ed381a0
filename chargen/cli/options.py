"""Options that several commands share. Choices and ranges come from the tables they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from chargen.terminal.context import COLOR_MODES, Terminal

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
