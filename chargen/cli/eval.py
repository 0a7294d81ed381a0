"""chargen eval: scores how well a model predicts texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import (
    MODEL,
    column_option,
    encoding_option,
    is_model,
    json_option,
    read_tokens,
    terminal_options,
    write_json,
)
from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.model.score import Score
    from chargen.text.tokenizer import Tokens

_EVAL_HELP = """Score how well a model predicts a text.

Each FILE (any CORPUS of `chargen train` is accepted) is read once, from an empty memory. With one
argument, the model is the newest run.

\b
  chargen eval bard chapter.txt
  chargen eval bard chapter.txt --json
  chargen eval bard chapter.txt --dynamic     also scores a model that learns while it reads

Nothing predicts the first token, so a text of N tokens is scored on N - 1 of them. Bits per byte
can be compared across tokenizers; nats per token cannot.

A long text (from about 60 KB for a model of 2x512) is read in several rows at once by torch. Each
row first reads some text before its own part. The products are in bfloat16 if the machine has it.
So the last decimal may differ from that of one long reading.
"""


@click.command(help=_EVAL_HELP)
@click.argument("names", metavar="[MODEL] FILE...", nargs=-1, required=True, type=MODEL)
@encoding_option
@column_option
@click.option(
    "--label", metavar="LABEL", help="Read every document under this label, or a mixture."
)
@click.option("--dynamic", is_flag=True, help="Also score the model while it learns from the text.")
@json_option
@terminal_options
def command(
    names: tuple[str, ...],
    encoding: str | None,
    column: str | None,
    label: str | None,
    dynamic: bool,
    as_json: bool,
    terminal: Terminal,
) -> None:
    """Score; see _EVAL_HELP."""
    from chargen.api import load
    from chargen.text.corpus_tokenizer import split_by_label

    if names[1:].count("-") > 1:
        raise UsageError("'-' (standard input) can be read only once; name it once")
    if len(names) == 1 and is_model(names[0]):
        raise UsageError(f"{names[0]}: name the FILE to score after the model")
    model = load(names[0] if len(names) > 1 else None)
    if label is not None:
        model = model.labelled(label)
    files = names[1:] or names
    for name in files:
        ids = read_tokens(
            model,
            name,
            terminal,
            encoding=encoding,
            column=column,
            labelled="own" if label is None else "model's",
            result="the score",
        )
        by_label = split_by_label(ids, model.tokenizer) if label is None else {}
        score = _score(model, ids, name, "auto")
        dynamic_score = _score(model, ids, name, "online") if dynamic else None
        if as_json:
            named = {"file": name} if len(files) > 1 else {}
            extra: dict[str, Any] = {}
            if dynamic_score is not None:
                extra["dynamic"] = dynamic_score.to_json()
            scores = {
                name: _score(model, part, name, "auto").to_json() for name, part in by_label.items()
            }
            if scores:
                extra["labels"] = scores
            write_json(terminal, {**named, **score.to_json(), **extra})
            continue
        terminal.write_line(_score_line(name, score))
        for label_name, part in by_label.items():
            part_score = _score(model, part, f"{name}, {label_name}", "auto")
            terminal.write_line(_score_line(f"{name}, {label_name}", part_score))
        if dynamic_score is not None:
            terminal.write_line(_score_line(f"{name}, learning while it reads", dynamic_score))


def _score(model: Model, ids: Tokens, name: str, way: str) -> Score:
    """Score a text; an error names the file."""
    try:
        return model.score_tokens(ids, way)
    except CorpusError as error:
        raise CorpusError(f"{name}: {error}") from error


def _score_line(label: str, score: Score) -> str:
    return (
        f"{label}: {score.nats_per_token:.4f} nats per token (perplexity {score.perplexity:.3f}), "
        f"{score.bits_per_byte:.4f} bits per byte, {score.bits_per_character:.4f} bits per "
        f"character; {score.tokens:,} tokens, {score.bytes:,} bytes, "
        f"{score.characters:,} characters"
    )
