"""chargen surprise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, model_and_text
from chargen.cli.pictures import Pictures, display_options
from chargen.errors import CorpusError, ExitCode, UsageError
from chargen.terminal.context import Terminal

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.insight.surprise import Surprise, TextPosition

_SHOWN = 4000
_AROUND = 24
_HELP = """Mark a text by the model's surprise, and list the most surprising places.

With one argument, the model is the newest run. On a terminal, the text is coloured; the places
follow as FILE:LINE:COLUMN, which editors can jump to.

\b
  chargen surprise bard scene.txt
  chargen surprise code script.py --max-bits 12     a linter: every place above 12 bits, in order
  chargen surprise bard scene.txt --export surprise.html

With --max-bits, the exit code is 4 when there is such a place.
"""


@click.command(help=_HELP)
@click.argument("names", metavar="[MODEL] FILE", nargs=-1, required=True, type=MODEL)
@click.option(
    "--top", type=int, default=10, show_default=True, metavar="N", help="How many places."
)
@click.option("--max-bits", type=float, metavar="B", help="List every place above, in order.")
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
    """Show; see _HELP."""
    import numpy as np

    from chargen.insight.surprise import measure_surprise, positions_of
    from chargen.insight.views import alone, labels_of, surprise_view
    from chargen.terminal.progress import progress_line

    if top < 0:
        raise UsageError(f"--top {top}: must be at least 0")
    if max_bits is not None and not 0 <= max_bits < 1e6:
        raise UsageError(f"--max-bits {max_bits}: must be from 0 to a million")
    model, ids, name = model_and_text(names, terminal, encoding=encoding, needs_file=True)
    with progress_line(terminal, "reading") as progress:
        found = measure_surprise(model.stepper, ids, progress=progress)
    if len(ids) < 2:
        raise CorpusError(f"{name}: nothing predicts a single token; give a longer text")
    spelled = labels_of(model.tokenizer, ids.tolist())
    bits = np.nan_to_num(found.bits, nan=-1.0)
    if max_bits is not None:
        listed = np.flatnonzero(bits > max_bits)
    else:
        listed = np.sort(np.argsort(-bits, kind="stable")[: min(top, len(ids) - 1)])
    places = positions_of(spelled, listed)
    # A byte that completes no character is shown by its number.
    labels = tuple(
        text or alone(model.tokenizer, int(token)) for text, token in zip(spelled, ids, strict=True)
    )
    if max_bits is None:
        places.sort(key=lambda one: -bits[one.token])
    if not pictures.export(surprise_view(found.bits[-_SHOWN:], spelled[-_SHOWN:])) and not as_json:
        if terminal.out.isatty():
            pictures.show(surprise_view(found.bits[-_SHOWN:], spelled[-_SHOWN:]))
            terminal.out.write("\n")
        if len(ids) > _SHOWN and terminal.out.isatty():
            terminal.note(f"shown: the last {_SHOWN:,} of {len(ids):,} tokens")
    for one in places:
        if as_json:
            terminal.out.write(json.dumps(_record(name, one, found, model, labels)) + "\n")
        else:
            terminal.write_line(_line(name, one, found, model, labels, ascii=terminal.ascii))
    return ExitCode.FOUND if max_bits is not None and places else ExitCode.DONE


def _record(
    name: str, one: TextPosition, found: Surprise, model: Model, labels: tuple[str, ...]
) -> dict[str, Any]:
    from chargen.insight.views import alone

    return {
        "file": name,
        "line": one.line,
        "column": one.column,
        "bits": float(found.bits[one.token]),
        "text": labels[one.token],
        "expected": alone(model.tokenizer, int(found.expected[one.token])),
        "probability": float(found.chance[one.token]),
    }


def _line(
    name: str,
    one: TextPosition,
    found: Surprise,
    model: Model,
    labels: tuple[str, ...],
    *,
    ascii: bool,
) -> str:
    """A place as compilers write it: FILE:LINE:COLUMN: what is there, and what was expected."""
    from chargen.insight.views import alone
    from chargen.terminal.heatmap import one_line
    from chargen.terminal.safetext import safe_line

    expected = one_line(alone(model.tokenizer, int(found.expected[one.token])), ascii=ascii)
    before = one_line("".join(labels[max(0, one.token - _AROUND) : one.token]), ascii=ascii)
    here = one_line(labels[one.token], ascii=ascii)
    return (
        f"{safe_line(name)}:{one.line}:{one.column}: {found.bits[one.token]:.1f} bits for "
        f"'{here}' after '{before}', expected '{expected}' ({found.chance[one.token]:.0%})"
    )
