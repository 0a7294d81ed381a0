"""chargen eval."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from chargen.cli.options import MODEL, is_model, json_option, read_tokens, terminal_options
from chargen.errors import CorpusError, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.model.score import Score
    from chargen.text.tokenizer import Tokens

_HELP = """Score a text: how well a model predicts it.

Each FILE (any CORPUS of `chargen train` will do) is read once, from an empty memory, in one piece.
With one argument, the model is the newest run.

\b
  chargen eval bard chapter.txt
  chargen eval bard chapter.txt --json
  chargen eval bard chapter.txt --dynamic     also as a model that learns while it reads

The first token is read but nothing predicts it, so a text of N tokens is scored on N - 1. Bits
per byte compare across tokenizers; nats per token do not.

What would take long (from some 60 KB at 2x512) is read in lanes, each warmed up, through torch: in
bfloat16 where the machine has it, so the last decimal may differ.
"""


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] FILE...", nargs=-1, required=True, type=MODEL)
@click.option("--encoding", metavar="NAME", help="Of the files; UTF-8 and marked UTF-16 need none.")
@click.option("--column", metavar="NAME", help="Column of a table that holds the text.")
@click.option("--dynamic", is_flag=True, help="Also score it learning while it reads; loads torch.")
@json_option
@terminal_options
def command(
    names: tuple[str, ...],
    encoding: str | None,
    column: str | None,
    dynamic: bool,
    as_json: bool,
    terminal: Terminal,
) -> None:
    """Score; see _HELP."""
    from chargen.api import load

    if names[1:].count("-") > 1:
        raise UsageError("'-' (standard input) can be read only once; name it once")
    if len(names) == 1 and is_model(names[0]):
        raise UsageError(f"{names[0]}: name the FILE to score after the model")
    model = load(names[0] if len(names) > 1 else None)
    files = names[1:] or names
    for name in files:
        ids = read_tokens(model, name, terminal, encoding=encoding, column=column)
        score = _score(model, ids, name)
        learned = _score_dynamically(model, ids) if dynamic else None
        if as_json:
            labelled = {"file": name} if len(files) > 1 else {}
            extra = {} if learned is None else {"dynamic": learned.to_json()}
            terminal.out.write(json.dumps({**labelled, **score.to_json(), **extra}) + "\n")
            continue
        terminal.write_line(_line(name, score))
        if learned is not None:
            terminal.write_line(_line(f"{name}, learning while it reads", learned))


def _score(model: Model, ids: Tokens, name: str) -> Score:
    try:
        from chargen.scoring import score

        return score(model, ids)
    except CorpusError as error:
        raise CorpusError(f"{name}: {error}") from error


def _score_dynamically(model: Model, ids: Tokens) -> Score:
    from chargen.scoring import score_online

    return score_online(model, ids)


def _line(name: str, score: Score) -> str:
    return (
        f"{name}: {score.nats_per_token:.4f} nats per token (perplexity {score.perplexity:.3f}), "
        f"{score.bits_per_byte:.4f} bits per byte, {score.bits_per_character:.4f} bits per "
        f"character; {score.tokens:,} tokens, {score.bytes:,} bytes, "
        f"{score.characters:,} characters"
    )
