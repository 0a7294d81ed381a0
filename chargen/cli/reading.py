"""The options that say how a corpus is read, for the commands that read one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from chargen.cli.options import decorated
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.letters import CLEANERS, FORMS
from chargen.text.reading import ENCODING_ERRORS, LABEL_SOURCES

F = TypeVar("F", bound=Callable[..., Any])


class Names(click.ParamType[tuple[str, ...]]):
    """Several names, divided by commas."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names without blanks around them."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


_OPTIONS = (
    click.option(
        "--documents",
        type=click.Choice(DOCUMENT_MODES),
        default="whole",
        show_default=True,
        help="What a document is: the whole text, each file (or row of a table), each line, "
        "what stands between empty lines, or between lines of --separator.",
    ),
    click.option(
        "--separator", metavar="TEXT", help="Documents end at lines that are exactly this."
    ),
    click.option(
        "--label-from",
        metavar="WHAT",
        help=f"Give each document a label to write by: {', '.join(LABEL_SOURCES)}.",
    ),
    click.option(
        "--column",
        metavar="NAME",
        help="Column of a table with the text; in JSON also a path, as messages.content.",
    ),
    click.option(
        "--delimiter", metavar="C", help="Divides the fields of .csv and .tsv; default: found."
    ),
    click.option("--chat", is_flag=True, help="Read exports of chats as NAME: message."),
    click.option("--speaker", metavar="NAME", help="Of chats, read only this person's messages."),
    click.option(
        "--include", metavar="PATTERN", multiple=True, help="Of folders, read only such files."
    ),
    click.option(
        "--exclude", metavar="PATTERN", multiple=True, help="Of folders, leave out such files."
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        help="Encoding of the text; not needed for UTF-8, or with a byte order mark; auto guesses.",
    ),
    click.option(
        "--encoding-errors",
        type=click.Choice(ENCODING_ERRORS),
        default="strict",
        show_default=True,
        help="What happens to bytes that are no text.",
    ),
    click.option(
        "--normalize",
        type=click.Choice(FORMS),
        help="Form of the letters; default nfc, and none for bytes.",
    ),
    click.option(
        "--clean",
        type=Names(),
        default=(),
        metavar="NAMES",
        help="Tidy the text: all, or some of "
        + "; ".join(f"{name}: {cleaner.help}" for name, cleaner in CLEANERS.items())
        + ".",
    ),
)


def reading_options(function: F) -> F:
    """Add the options that become fields of `TextOptions` of the same names."""
    command: F = decorated(function, _OPTIONS)
    return command


def without_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a command that a person gave, as far as they differ from the defaults."""
    defaults = {"documents": "whole", "encoding_errors": "strict", "chat": False}
    return {
        name: value
        for name, value in settings.items()
        if value not in (None, ()) and defaults.get(name) != value
    }
