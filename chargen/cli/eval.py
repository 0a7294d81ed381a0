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
    from chargen.inference.memory_file import Memory
    from chargen.model.score import Score
    from chargen.scoring import MemoryScores
    from chargen.text.tokenizer import Tokens

DYNAMIC = ("counts", "weights", "both")
"""What may learn while a text is read; as in `chargen.scoring`, which loads what scores."""
_EVAL_HELP = """Score how well a model predicts a text.

Each FILE (any CORPUS of `chargen train` is accepted) is read once, from an empty memory. With one
argument, the model is the newest run.

\b
  chargen eval bard chapter.txt
  chargen eval bard chapter.txt --json
  chargen eval bard chapter.txt --dynamic     also scores a model that learns while it reads
  chargen eval bard chapter.txt --dynamic counts --json

A model with a memory has three figures: network and counts together, the network alone, the counts
alone.

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
@click.option(
    "--dynamic",
    type=click.Choice(DYNAMIC),
    is_flag=False,
    flag_value="both",
    help="Also score the model while it learns from the text: its counts, its weights, or both.",
)
@click.option("--memory/--no-memory", default=True, help="Whether counts help the network.")
@json_option
@terminal_options
def command(
    names: tuple[str, ...],
    encoding: str | None,
    column: str | None,
    label: str | None,
    dynamic: str | None,
    memory: bool,
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
        if memory and model.memory is not None:
            label_of = {"file": name} if len(files) > 1 else {}
            both = _scores_with_memory(model, model.memory, ids, name, dynamic)
            parts = {
                label_name: _scores_with_memory(model, model.memory, part, label_name, None)[0]
                for label_name, part in by_label.items()
            }
            if as_json:
                more: dict[str, Any] = {}
                if len(both) > 1:
                    more["dynamic"] = both[1].to_json()
                if parts:
                    more["labels"] = {label: each.to_json() for label, each in parts.items()}
                write_json(terminal, {**label_of, **both[0].to_json(), **more})
            else:
                _show_with_memory(both, model.memory, name, dynamic, terminal)
                for label_name, each in parts.items():
                    terminal.write_line(_score_line(f"{name}, {label_name}", each.together))
            continue
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


def _scores_with_memory(
    model: Model, memory: Memory, ids: Tokens, name: str, dynamic: str | None
) -> list[MemoryScores]:
    """Score a text by network and counts; also while they learn from it, if that was asked for."""
    from chargen.scoring import score_with_memory

    ways = [None] if dynamic is None else [None, dynamic]
    try:
        return [score_with_memory(model.stepper, memory, model.tokenizer, ids, way) for way in ways]
    except CorpusError as error:
        raise CorpusError(f"{name}: {error}") from error


def _show_with_memory(
    scores: list[MemoryScores], memory: Memory, name: str, dynamic: str | None, terminal: Terminal
) -> None:
    """Show the three figures, and say which text fitted the gate."""
    labels = (name, f"{name}, {dynamic} learning while it reads")
    for label, each in zip(labels, scores, strict=False):
        terminal.write_line(_score_line(label, each.together))
        terminal.write_line(
            f"  network alone {each.network.nats_per_token:.4f}, counts alone "
            f"{each.counts.nats_per_token:.4f} nats per token"
        )
    fitted = memory.card.get("fitted_tokens")
    terminal.note(
        f"how much counts are believed was fitted on {fitted:,} tokens of the validation part"
        if fitted
        else "how much counts are believed was fitted on other texts"
    )


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
