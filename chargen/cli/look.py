"""chargen look: what would be read of a corpus, and what training would make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import CORPUS, TableName, json_option, terminal_options, write_json
from chargen.cli.reading import reading_options
from chargen.terminal.context import Terminal
from chargen.terminal.progress import plural
from chargen.terminal.safetext import safe_line
from chargen.text.registry import TOKENIZERS

if TYPE_CHECKING:
    from chargen.text.look import Look
    from chargen.text.text_options import TextOptions

_LOOK_HELP = """Show what would be read of a text, without training.

CORPUS and the options are those of `chargen train`. It tells what each file was taken for, how many
documents and characters there are and of which scripts, what is unusual, how much is repeated, and
how well a quick model by counts predicts the text.

\b
  chargen look novel.txt
  chargen look letters/ --documents files
  chargen look export/ --chat --label-from speaker
"""
_MAX_SHOWN = 12
_DEFAULT_MINUTES = 5.0
_VALID_FRACTION = 0.1


@click.command(help=_LOOK_HELP)
@click.argument("corpus", nargs=-1, type=CORPUS)
@click.option(
    "--tokenizer",
    type=TableName(TOKENIZERS),
    default="char",
    show_default=True,
    metavar="KIND",
    help="What the tokens would be.",
)
@reading_options
@json_option
@terminal_options
def command(
    corpus: tuple[str, ...], tokenizer: str, as_json: bool, terminal: Terminal, **options: Any
) -> None:
    """Look; see _LOOK_HELP."""
    from chargen.terminal.progress import reading_line
    from chargen.text.look import look_at
    from chargen.text.text_options import TextOptions

    # Without a model, the letters of any kind of tokens are those of characters.
    kind = "byte" if tokenizer == "byte" else "char"
    text_options = TextOptions(corpus=corpus, tokenizer=kind, **options)
    with reading_line(terminal) as on_reading:
        look = look_at(text_options.open(corpus, on_reading))
    if as_json:
        write_json(terminal, look.to_json())
        return
    for label, value in _rows(look, text_options, tokenizer):
        terminal.write_line(safe_line(f"{label:<14}{value}"))


def _rows(look: Look, options: TextOptions, tokenizer: str) -> list[tuple[str, str]]:
    rows = [("source", f"{s.name}: {s.bytes:,} bytes of text") for s in look.sources]
    rows += [("", note) for note in look.notes]
    mean = look.total // max(1, look.documents)
    sizes = f", {look.shortest:,} to {look.longest:,} characters, {mean:,} on average"
    rows.append(("documents", f"{look.documents:,}{sizes if look.documents > 1 else ''}"))
    if look.labels:
        shown = ", ".join(f"{name} {n:,}" for name, n in look.labels.most_common(_MAX_SHOWN))
        rows.append(("labels", f"{len(look.labels):,}: {shown}"))
    kinds = ", ".join(f"{script} {count:,}" for script, count in look.scripts().items())
    rows.append(("characters", f"{look.total:,}, {len(look.characters):,} different: {kinds}"))
    for kind, characters in look.unusual().items():
        listed = " ".join(map(_spelled, characters[:_MAX_SHOWN]))
        more = f" and {len(characters) - _MAX_SHOWN:,} more" if len(characters) > _MAX_SHOWN else ""
        rows.append(("unusual", f"{kind}: {listed}{more}"))
    if look.lines:
        where = f" at {look.longest_line_place}" if look.longest_line_place else ""
        rows.append(("longest line", f"{plural(look.longest_line, 'character')}{where}"))
        share = look.repeated_lines / look.lines
        repeated = f"{share:.0%} of {plural(look.lines, 'line')}"
        if look.documents > 1:
            documents = look.repeated_documents / look.documents
            repeated += f", {documents:.0%} of the documents"
        rows.append(("repeated", repeated))
    if look.bits is not None:
        rows.append(("by counts", f"{look.bits:.2f} bits a character"))
    if look.tail is not None:
        rows.append(("tail", look.tail.line()))
    rows.append(("training", _training(look, options, tokenizer)))
    return rows


def _training(look: Look, options: TextOptions, tokenizer: str) -> str:
    """What `chargen train` would plan."""
    from chargen.training.planner import usual_size

    tokens = look.total + (look.documents if options.documents != "whole" else 0)
    units, groups = usual_size(int((1 - _VALID_FRACTION) * tokens), _DEFAULT_MINUTES)
    shape = f"{groups} networks of {units // groups} units" if groups > 1 else f"{units} units"
    known = len(look.characters) + len(look.labels) + (options.documents != "whole")
    kinds = f" of {known:,} kinds" if tokenizer == "char" else ""
    count = f"{tokens:,} tokens{kinds}" if tokenizer == "char" else f"{look.total:,} characters"
    return (
        f"{count}; about {shape} for {_DEFAULT_MINUTES:.0f} minutes, before the speed of this "
        "machine is measured"
    )


def _spelled(character: str) -> str:
    return character if character.isprintable() else f"U+{ord(character):04X}"
