"""chargen surprise: where a text surprises a model, as colours and as FILE:LINE:COLUMN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, model_and_text, write_json
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import CorpusError, ExitCode, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.surprise import Surprise, TextPosition

_COLOURED_TOKENS = 4000
_QUOTED_TOKENS = 24
_SURPRISE_HELP = """Show where a text surprises a model.

On a terminal, the text is coloured by its bits. Then the most surprising positions are listed as
FILE:LINE:COLUMN, which editors can jump to. With one argument, the model is the newest run.

\b
  chargen surprise bard scene.txt
  chargen surprise code script.py --max-bits 12     a linter: positions above 12 bits, in order
  chargen surprise bard scene.txt --export surprise.html

With --max-bits, the exit code is 4 if a position is listed.
"""


@click.command(help=_SURPRISE_HELP)
@click.argument("names", metavar="[MODEL] FILE", nargs=-1, required=True, type=MODEL)
@click.option(
    "--top", type=int, default=10, show_default=True, metavar="N", help="Positions to list."
)
@click.option(
    "--max-bits", type=float, metavar="B", help="List all positions above B bits, in order."
)
@display_options
def command(
    names: tuple[str, ...],
    top: int,
    max_bits: float | None,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    pictures: Pictures,
) -> int:
    """Show; see _SURPRISE_HELP."""
    import numpy as np

    from chargen.insight.surprise import measure_surprise, positions_of
    from chargen.insight.views import surprise_view, token_label, token_labels
    from chargen.terminal.progress import progress_line

    if top < 0:
        raise UsageError(f"--top {top}: must be at least 0")
    if max_bits is not None and not 0 <= max_bits < 1e6:
        raise UsageError(f"--max-bits {max_bits}: must be from 0 to a million")
    model, ids, name = model_and_text(names, terminal, encoding=encoding, needs_file=True)
    with progress_line(terminal, "reading") as progress:
        surprise = measure_surprise(model.stepper, ids, progress=progress)
    if len(ids) < 2:
        raise CorpusError(f"{name}: nothing predicts a single token; give a longer text")
    texts = token_labels(model.tokenizer, ids.tolist())
    bits = np.nan_to_num(surprise.bits, nan=-1.0)
    if max_bits is not None:
        listed = np.flatnonzero(bits > max_bits)
    else:
        listed = np.sort(np.argsort(-bits, kind="stable")[: min(top, len(ids) - 1)])
    positions = positions_of(texts, listed)
    # A byte that completes no character has no text: it is shown as a number.
    labels = tuple(
        text or token_label(model.tokenizer, int(token))
        for text, token in zip(texts, ids, strict=True)
    )
    if max_bits is None:
        positions.sort(key=lambda position: -bits[position.token])
    view = surprise_view(surprise.bits[-_COLOURED_TOKENS:], texts[-_COLOURED_TOKENS:])
    if not pictures.export(view) and not as_json and terminal.out.isatty():
        pictures.show(view)
        terminal.out.write("\n")
        if len(ids) > _COLOURED_TOKENS:
            terminal.note(f"shown: the last {_COLOURED_TOKENS:,} of {len(ids):,} tokens")
    for position in positions:
        if as_json:
            write_json(terminal, _position_record(name, position, surprise, model, labels))
        else:
            line = _position_line(name, position, surprise, model, labels, ascii=terminal.ascii)
            terminal.write_line(line)
    return ExitCode.FOUND if max_bits is not None and positions else ExitCode.DONE


def _position_record(
    name: str, position: TextPosition, surprise: Surprise, model: Model, labels: tuple[str, ...]
) -> dict[str, Any]:
    """A position as plain values for JSON."""
    from chargen.insight.views import token_label

    token = position.token
    return {
        "file": name,
        "line": position.line,
        "column": position.column,
        "bits": float(surprise.bits[token]),
        "text": labels[token],
        "expected": token_label(model.tokenizer, int(surprise.expected[token])),
        "probability": float(surprise.probability[token]),
    }


def _position_line(
    name: str,
    position: TextPosition,
    surprise: Surprise,
    model: Model,
    labels: tuple[str, ...],
    *,
    ascii: bool,
) -> str:
    """A position as compilers write it: FILE:LINE:COLUMN, then the token and the expected one."""
    from chargen.insight.views import token_label
    from chargen.terminal.heatmap import one_line
    from chargen.terminal.safetext import safe_line

    token = position.token
    expected = one_line(token_label(model.tokenizer, int(surprise.expected[token])), ascii=ascii)
    before = one_line("".join(labels[max(0, token - _QUOTED_TOKENS) : token]), ascii=ascii)
    token_text = one_line(labels[token], ascii=ascii)
    return (
        f"{safe_line(name)}:{position.line}:{position.column}: {surprise.bits[token]:.1f} bits for "
        f"'{token_text}' after '{before}', expected '{expected}' "
        f"({surprise.probability[token]:.0%})"
    )
