"""`--best-of` and `--unique` of chargen sample: texts that are chosen among several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from chargen.cli.options import F, decorated, write_json
from chargen.cli.prompts import text_record
from chargen.cli.written import Request
from chargen.errors import UsageError
from chargen.inference.choice import (
    WAYS,
    Candidate,
    Measure,
    Unseen,
    new_texts,
    ranked,
    tries,
    whole_texts,
)
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe
from chargen.text.tokenizer import utf8

_MAX_TEXTS = 1_000
_ENDS = ("stop", "finish", "match", "lines", "acrostic", "syllables", "rhyme")
"""Settings that say where a text ends; without one, a text of a list is a line."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was asked for."""

    best_of: int | None
    by: str
    unique: bool


def choice_options(function: F) -> F:
    """Add --best-of, --by and --unique; see `take_choice`."""
    ways = "; ".join(f"{name}: {way.help}" for name, way in WAYS.items())
    command: F = decorated(
        function,
        [
            click.option(
                "--best-of",
                type=int,
                metavar="N",
                help="Write N texts side by side and show the best; a terminal shows all, with "
                "their scores.",
            ),
            click.option(
                "--by",
                type=click.Choice(list(WAYS)),
                help=f"What is best ({ways}); default likelihood.",
            ),
            click.option(
                "--unique",
                is_flag=True,
                help="For lists: no text twice, and none that is a line of the training text.",
            ),
        ],
    )
    return command


def take_choice(given: dict[str, Any], count: int) -> Choice | None:
    """Takes these options out of all that were given; None where nothing is chosen.

    Raises:
        UsageError: they do not fit together.
    """
    best_of, by, unique = given.pop("best_of"), given.pop("by"), given.pop("unique")
    if best_of is None and by is not None:
        raise UsageError(f"--by {by} chooses among several texts; add --best-of 8")
    if best_of is not None and not 2 <= best_of <= _MAX_TEXTS:
        raise UsageError(f"--best-of {best_of}: must be from 2 to {_MAX_TEXTS:,}")
    if best_of is not None and (unique or count != 1):
        raise UsageError("--best-of shows one text; leave --count and --unique out")
    if best_of is None and not unique:
        return None
    return Choice(best_of=best_of, by=by or "likelihood", unique=unique)


def write_chosen(request: Request, choice: Choice, terminal: Terminal, *, as_json: bool) -> None:
    """Writes the texts that are chosen.

    Raises:
        UsageError: what they are compared with is not known.
    """
    if choice.best_of is not None:
        _write_best(request, choice.best_of, choice.by, terminal, as_json=as_json)
    else:
        _write_unique(request, terminal, as_json=as_json)


def _write_best(
    request: Request, best_of: int, by: str, terminal: Terminal, *, as_json: bool
) -> None:
    model = request.model
    valid = model.card.get("validation")
    nats = valid.get("nats_per_token") if isinstance(valid, dict) else None
    measure = Measure(
        usual_nats=nats if isinstance(nats, float) else None,
        copies=model.copies if WAYS[by].needs == "copies" else None,
    )
    need = WAYS[by].needs
    if need is not None and getattr(measure, need) is None:
        what = {"usual_nats": "its figures of validation", "copies": "its training text"}[need]
        raise UsageError(f"--by {by}: this model lacks {what} here; use --by likelihood")
    texts = ranked(_whole(request, best_of, terminal), by, measure)
    if as_json:
        for text in texts:
            _write_row(request, text, terminal, score=text.score, by=by)
    elif terminal.shows_text:
        for place, text in enumerate(texts, 1):
            _write_heading(terminal, f"{place} of {best_of}, {by} {text.score:.3f}")
            terminal.write_line(safe(request.echoed + text.text))
    else:
        terminal.write_bytes(utf8(request.echoed) + texts[0].written.data)


def _write_unique(request: Request, terminal: Terminal, *, as_json: bool) -> None:
    if not any(request.settings.get(name) for name in _ENDS):
        request.settings["stop"] = ("\n",)
    copies = request.model.copies
    if copies is None:
        terminal.note("the training text is not on this machine: only repeats are thrown away")
    unseen, count, kept = Unseen(copies), request.count, 0
    for text in _new(request, unseen, terminal):
        if as_json:
            _write_row(request, text, terminal)
        elif terminal.shows_text:
            terminal.write_line(safe(request.echoed + text.text))
        else:
            terminal.write_bytes(utf8(request.echoed) + text.written.data + b"\n")
        terminal.out.flush()
        kept += 1
    thrown = f"{unseen.thrown_away} thrown away: known lines, repeats or empty"
    if kept < count:
        terminal.note(f"only {kept} of {count} texts are new; {thrown}; raise --temperature")
    else:
        terminal.note(thrown)


def _new(request: Request, unseen: Unseen, terminal: Terminal) -> Iterator[Candidate]:
    texts = _whole(request, tries(request.count), terminal)
    return new_texts(texts, request.count, unseen)


def _whole(request: Request, count: int, terminal: Terminal) -> Iterator[Candidate]:
    return whole_texts(request.steps_of_texts(count, terminal), request.prompt)


def _write_heading(terminal: Terminal, text: str) -> None:
    terminal.write_line(f"{('-' if terminal.ascii else '─') * 20} {text}")


def _write_row(request: Request, text: Candidate, terminal: Terminal, **more: Any) -> None:
    write_json(terminal, {**text_record(text.written, request.seed), **more})
