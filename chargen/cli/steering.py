"""The options by which a person asks something of a text; the table is in steering/config.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import F, decorated
from chargen.errors import UsageError, reason_of
from chargen.steering.config import ASKED, Steering, parse

if TYPE_CHECKING:
    from chargen.api import Model

_MAX_FILE_BYTES = 10_000_000
_WORDS = ("ban", "must")
"""Options that also take a file with one word a line."""


def steering_options(function: F) -> F:
    """Add the options of `ASKED`; the command gets them as they were typed, or None."""
    command: F = decorated(function, [_option(name) for name in ASKED])
    return command


def _option(name: str) -> Callable[[Any], Any]:
    row = ASKED[name]
    flag = f"--{name.replace('_', '-')}"
    if row.metavar is None:
        return click.option(flag, name, is_flag=True, default=None, help=f"{row.help}.")
    metavar = f"{row.metavar}|FILE" if name in _WORDS else row.metavar
    told = f"{row.help}; or a file, one word a line." if name in _WORDS else f"{row.help}."
    return click.option(flag, name, metavar=metavar, help=told)


def take_steering(given: dict[str, Any]) -> dict[str, Any]:
    """Takes the values of these options out of all that were given, and reads them.

    Raises:
        UsageError: a value cannot be read, or an empty one was given.
    """
    settings: dict[str, Any] = {}
    for name in ASKED:
        typed = given.pop(name, None)
        if typed is None or typed is False:
            continue
        if typed == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty; leave it out to ask nothing")
        if typed is not True:
            is_file = name in _WORDS and _is_file(typed)
            typed = _words_of(typed) if is_file else parse(name, typed)
        settings[name] = typed
    Steering(**settings)
    return settings


def _is_file(typed: str) -> bool:
    try:
        return Path(typed).is_file()
    except (OSError, ValueError):
        return False


def _words_of(name: str) -> tuple[str, ...]:
    try:
        with Path(name).open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{name}: cannot be read as a list of words ({reason})") from error
    words = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(data) > _MAX_FILE_BYTES or not words:
        raise UsageError(f"{name}: a list of words has one word a line, at least one")
    return words


def spelling_note(model: Model, settings: dict[str, Any]) -> str | None:
    """A line that tells that rhymes follow the spelling; None where the sounds are known."""
    from chargen.steering.spelled import is_english, words_of

    if not settings.get("rhyme") or model.copies is None:
        return None
    if is_english(words_of(model.copies)):
        return None
    return "rhymes by spelling: the sounds are known of English words only"


def unkept(settings: dict[str, Any], text: str, finish: str | None) -> list[str]:
    """What was asked of a text and did not come, a line each.

    Args:
        settings: as `take_steering` returned them.
        text: what was written.
        finish: how the text ended.
    """
    from chargen.steering.phrases import holds

    lines = []
    missing = [word for word in settings.get("must", ()) if not holds(text, word)]
    if missing:
        lines.append(f"must: {', '.join(missing)} did not come; write more, or another seed")
    asked = Steering(**{name: settings[name] for name in settings if name in ASKED})
    if finish == "length" and asked.line_count:
        lines.append(
            f"the {asked.line_count} lines were not complete when the length was reached; "
            "give a larger --length"
        )
    if finish == "length" and asked.finish:
        lines.append(f"finish: no end of a {asked.finish} came within twice the length")
    return lines
