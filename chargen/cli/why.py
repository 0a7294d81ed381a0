"""chargen why."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, TableName, model_and_text
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import CorpusError, UsageError
from chargen.insight.why import CAUSES
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.why import Passage
    from chargen.text.tokenizer import Tokens

_BEFORE, _FURTHER = 96, 8192
_GUESSES, _PASSAGES = 5, 3
_PLACE = re.compile(r"[0-9]{1,15}(:[0-9]{1,15})?")
_HELP = """Which earlier tokens a prediction rests on, as heat over the text.

Also what was likely instead, and the passages of the training text after which the model was in
the nearest state. Without MODEL, the newest run.

\b
  chargen why bard scene.txt                    the last token
  chargen why bard scene.txt --at 1200          the 1200th
  chargen why bard scene.txt --at 31:7          that of line 31, column 7, as `surprise` names it
  chargen why bard scene.txt --by gradient

\b
Ways to ask: """ + "\n             ".join(f"{name:<10}{one.help}" for name, one in CAUSES.items())


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] FILE", nargs=-1, required=True, type=MODEL)
@click.option("--at", metavar="N", help="Which token: its number, or LINE:COLUMN, from 1.")
@click.option(
    "--by", type=TableName(CAUSES), default="input", show_default=True, metavar="WAY",
    help="How to ask.",
)  # fmt: skip
@display_options
def command(
    names: tuple[str, ...],
    at: str | None,
    by: str,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> None:
    """Show; see _HELP."""
    import numpy as np

    from chargen.inference.engine import check_finite, log_softmax
    from chargen.insight.views import alone, labels_of
    from chargen.insight.why import cause_view, find_cause
    from chargen.terminal.step_display import why_lines

    cause = find_cause(by)
    model, ids, name = model_and_text(names, terminal, encoding=encoding, needs_file=True)
    place = _place(at, model, ids, name)
    first = max(0, place - _BEFORE)
    stepper = model.stepper
    further = np.asarray(ids[max(0, first - _FURTHER) : first], np.int64)
    before = stepper.read(further, stepper.zero_state())
    part = np.asarray(ids[first : place + 1], np.int64)
    values = cause.measure(stepper, part, before)
    logits, state = stepper.logits_of(part[:-1], before)
    check_finite(logits)
    chances = np.exp(log_softmax(logits[-1]))
    guesses = np.argsort(-chances, kind="stable")[:_GUESSES].tolist()
    shown = as_json or pictures.target is None
    passages = _passages(model, state, terminal) if shown else []
    labels = labels_of(model.tokenizer, part.tolist())
    if as_json:
        value: dict[str, Any] = {
            "position": place + 1,
            "token": alone(model.tokenizer, int(part[-1])),
            "probability": float(chances[part[-1]]),
            "by": by,
            "tokens": labels[:-1],
            "values": values.tolist(),
            "instead": [
                {"token": alone(model.tokenizer, one), "probability": float(chances[one])}
                for one in guesses
            ],
            "passages": [vars(one) for one in passages],
        }
        terminal.out.write(json.dumps(value) + "\n")
    if pictures.target is not None or not as_json:
        pictures.show(cause_view(cause, values, labels))
    if as_json or pictures.target is not None:
        return
    told = why_lines(
        alone(model.tokenizer, int(part[-1])), float(chances[part[-1]]), cause,
        [(alone(model.tokenizer, one), float(chances[one])) for one in guesses], passages,
        ascii=terminal.ascii,
    )  # fmt: skip
    for line in told:
        terminal.write_line(line)


def _place(at: str | None, model: Model, ids: Tokens, name: str) -> int:
    """Which token is asked about, from 0.

    Raises:
        UsageError: there is no such token, or nothing before it.
        CorpusError: the text is too short.
    """
    import numpy as np

    from chargen.insight.views import labels_of

    if len(ids) < 2:
        raise CorpusError(f"{name}: one token rests on nothing; give a longer text")
    place = len(ids) - 1
    if at is not None:
        if _PLACE.fullmatch(at) is None:
            raise UsageError(f"--at '{at}': write a token's number, or LINE:COLUMN")
        line, _, column = at.partition(":")
        if not column:
            place = int(line) - 1
        else:
            text = labels_of(model.tokenizer, ids.tolist())
            rows = "".join(text).split("\n")
            number, offset = int(line) - 1, int(column) - 1
            if not 0 <= number < len(rows):
                raise UsageError(f"--at {at}: the text has lines 1 to {len(rows):,}")
            if not 0 <= offset <= len(rows[number]):
                raise UsageError(
                    f"--at {at}: line {line} has columns 1 to {len(rows[number]) + 1}, the line "
                    "end included"
                )
            character = sum(len(one) + 1 for one in rows[:number]) + offset
            ends = np.cumsum([len(one) for one in text])
            place = min(int(np.searchsorted(ends, character, side="right")), len(ids) - 1)
    if not 1 <= place < len(ids):
        raise UsageError(f"--at {at}: must be from 2 to the {len(ids):,} tokens of the text")
    return place


def _passages(model: Model, state: Any, terminal: Terminal) -> list[Passage]:
    """The nearest places of the training text, where that is on this machine."""
    from chargen.api import training_text
    from chargen.insight.why import build_passages, quote
    from chargen.terminal.progress import progress_line

    text = training_text(model)
    if text is None:
        terminal.note("the training text is not on this machine: no passages of it")
        return []
    with progress_line(terminal, "reading the training text") as progress:
        index = build_passages(model.stepper, text.tokens, progress=progress)
    near = index.nearest(state, _PASSAGES)
    return [quote(text.tokens, model.tokenizer, place, cosine) for place, cosine in near]
