"""chargen why: which earlier tokens, and which training passages, are behind a prediction."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, TableName, model_and_text, write_json
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import CorpusError, UsageError
from chargen.insight.why import CAUSES
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.why import Passage
    from chargen.text.store import TokenStore
    from chargen.text.tokenizer import Tokens

_SHOWN_TOKENS = 96
_WARM_UP_TOKENS = 8192
"""Tokens read before those that are shown: earlier ones no longer change the state."""
_LISTED_PREDICTIONS, _LISTED_PASSAGES = 5, 3
_POSITION = re.compile(r"[0-9]{1,15}(:[0-9]{1,15})?")
_WHY_HELP = """Show which earlier tokens a prediction depends on, as heat over the text.

It also shows the likeliest tokens instead, the passages of the training text after which the state
was most similar, and what the counts beside the network had to do with it. Without MODEL, the model
is the newest run.

\b
  chargen why bard scene.txt                    the last token
  chargen why bard scene.txt --at 1200          the 1200th token
  chargen why bard scene.txt --at 31:7          line 31, column 7, as `chargen surprise` writes it
  chargen why bard scene.txt --by gradient

\b
Ways to ask: """ + "\n             ".join(
    f"{name:<10}{cause.help}" for name, cause in CAUSES.items()
)


@click.command(help=_WHY_HELP)
@click.argument("names", metavar="[MODEL] FILE", nargs=-1, required=True, type=MODEL)
@click.option("--at", metavar="N", help="Which token: its number, or LINE:COLUMN, from 1.")
@click.option(
    "--by", type=TableName(CAUSES), default="input", show_default=True, metavar="WAY",
    help="How to measure what each token contributed.",
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
    """Show; see _WHY_HELP."""
    import numpy as np

    from chargen.inference.engine import check_finite, log_softmax
    from chargen.insight.views import token_label, token_labels
    from chargen.insight.why import cause_view, find_cause
    from chargen.own_corpus import training_text
    from chargen.terminal.step_display import memory_lines, why_lines
    from chargen.trained_text import recalled

    cause = find_cause(by)
    model, ids, name = model_and_text(names, terminal, encoding=encoding, needs_file=True)
    position = _find_position(at, model, ids, name)
    first = max(0, position - _SHOWN_TOKENS)
    stepper = model.stepper
    warm_up = np.asarray(ids[max(0, first - _WARM_UP_TOKENS) : first], np.int64)
    state_before = stepper.read(warm_up, stepper.zero_state())
    shown = np.asarray(ids[first : position + 1], np.int64)
    token = int(shown[-1])
    values = cause.measure(stepper, shown, state_before)
    logits, state = stepper.logits_of(shown[:-1], state_before)
    check_finite(logits)
    probabilities = np.exp(log_softmax(logits[-1]))
    likeliest = np.argsort(-probabilities, kind="stable")[:_LISTED_PREDICTIONS].tolist()
    lists_passages = as_json or pictures.target is None
    text = training_text(model) if lists_passages else None
    passages = _find_passages(model, text, state, terminal) if lists_passages else []
    before = ids[max(0, position - _WARM_UP_TOKENS) : position].tolist()
    memory = recalled(model, before, token, log_softmax(logits[-1]), text)
    labels = token_labels(model.tokenizer, shown.tolist())
    guesses = [
        (token_label(model.tokenizer, other), float(probabilities[other])) for other in likeliest
    ]
    if as_json:
        value: dict[str, Any] = {
            "position": position + 1,
            "token": token_label(model.tokenizer, token),
            "probability": float(probabilities[token]),
            "by": by,
            "tokens": labels[:-1],
            "values": values.tolist(),
            "instead": [
                {"token": text, "probability": probability} for text, probability in guesses
            ],
            "passages": [vars(passage) for passage in passages],
        }
        if memory is not None:
            value["memory"] = asdict(memory)
        write_json(terminal, value)
    if pictures.target is not None or not as_json:
        pictures.show(cause_view(cause, values, labels))
    if as_json or pictures.target is not None:
        return
    for line in why_lines(
        token_label(model.tokenizer, token), float(probabilities[token]), cause, guesses, passages,
        ascii=terminal.ascii,
    ):  # fmt: skip
        terminal.write_line(line)
    if memory is not None:
        for line in memory_lines(
            token_label(model.tokenizer, token), memory.counted, memory.context,
            memory.occurrences, memory.places, ascii=terminal.ascii,
        ):  # fmt: skip
            terminal.write_line(line)


def _find_position(at: str | None, model: Model, ids: Tokens, name: str) -> int:
    """The position, from 0, of the token that --at names; without --at, of the last token.

    Raises:
        UsageError: there is no such token, or none before it.
        CorpusError: the text is too short.
    """
    if len(ids) < 2:
        raise CorpusError(f"{name}: a single token has nothing before it; give a longer text")
    position = len(ids) - 1
    if at is not None:
        if _POSITION.fullmatch(at) is None:
            raise UsageError(f"--at '{at}': write a token's number, or LINE:COLUMN")
        line, _, column = at.partition(":")
        if column:
            position = _position_in_lines(at, int(line), int(column), model, ids)
        else:
            position = int(line) - 1
    if not 1 <= position < len(ids):
        raise UsageError(f"--at {at}: must be from 2 to {len(ids):,}, the tokens of the text")
    return position


def _position_in_lines(at: str, line: int, column: int, model: Model, ids: Tokens) -> int:
    """The position, from 0, of the token at a line and a column, both from 1.

    Raises:
        UsageError: the text has no such line, or the line no such column.
    """
    import numpy as np

    from chargen.insight.views import token_labels

    texts = token_labels(model.tokenizer, ids.tolist())
    lines = "".join(texts).split("\n")
    if not 1 <= line <= len(lines):
        raise UsageError(f"--at {at}: the text has lines 1 to {len(lines):,}")
    length = len(lines[line - 1])
    if not 1 <= column <= length + 1:
        raise UsageError(
            f"--at {at}: line {line} has columns 1 to {length + 1}, the line end included"
        )
    character = sum(len(earlier) + 1 for earlier in lines[: line - 1]) + column - 1
    ends = np.cumsum([len(text) for text in texts])
    return min(int(np.searchsorted(ends, character, side="right")), len(ids) - 1)


def _find_passages(
    model: Model, text: TokenStore | None, state: Any, terminal: Terminal
) -> list[Passage]:
    """The passages of the training text with the most similar states; none if it is not here."""
    from chargen.insight.why import build_passages, quote_passage
    from chargen.own_corpus import place_of
    from chargen.terminal.progress import progress_line

    if text is None:
        terminal.note("the training text is not on this machine: no passages of it")
        return []
    with progress_line(terminal, "reading the training text") as progress:
        passages = build_passages(model.stepper, text.tokens, progress=progress)
    quoted = [
        quote_passage(text.tokens, model.tokenizer, position, cosine)
        for position, cosine in passages.nearest(state, _LISTED_PASSAGES)
    ]
    return [
        replace(passage, place=place_of(model, passage.around, **passage.context))
        for passage in quoted
    ]
