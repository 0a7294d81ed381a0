"""chargen finetune."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from chargen.cli import train
from chargen.cli.options import CORPUS, MODEL, terminal_options
from chargen.terminal.context import Terminal
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.finetune_dataset import VOCABULARIES

_HELP = """Go on training a model on a text of yours.

MODEL is a model file, a run folder or a run's name; it stays as it is. A small text is enough to
learn a voice: 20 KB will do. Characters that the model never saw are taken in, made from their
relatives (é from e); the report says which.

\b
  chargen finetune english diary.txt --run mine
  chargen finetune english diary.txt --replay novels/    and not forget the novels
  chargen finetune english chat.txt --documents lines    each line a document

The result is a run like any other: `chargen sample`, `repl`, `info` and `resume` take it.
"""

_OWN = {"corpus", "documents", "minutes", "tokenizer", "vocab_size", "tied_head"}
"""Options of `train` that mean something else here, or nothing."""


@terminal_options
@click.option(
    "--vocab",
    "vocabulary",
    type=click.Choice(VOCABULARIES),
    default="extend",
    show_default=True,
    help="Take in new characters, or read the nearest known in their place.",
)
@click.option(
    "--extend-vocab",
    type=click.IntRange(min=0, max=100_000),
    default=0,
    metavar="N",
    help="Pieces to add to a subword model, for words of the text.",
)
@click.option(
    "--replay", metavar="CORPUS", help="The model's own text, of which some lanes go on reading."
)
@click.option("--replay-share", type=float, metavar="F", help="Their share; default 0.8.")
@click.option(
    "--l2-to-base",
    type=float,
    metavar="F",
    help="Pull weights back to where they began; 1 is much.",
)
@click.option(
    "--freeze", type=int, metavar="N", help="Lowest layers that learn only from half way on."
)
@click.option(
    "--layer-decay",
    type=float,
    metavar="F",
    help="Rate of a layer beside that of the one above it; default 1.",
)
@click.option(
    "--minutes",
    type=float,
    metavar="M",
    help="Wall time to take at most; default 2. A small text takes less.",
)
@click.option(
    "--documents",
    type=click.Choice(DOCUMENT_MODES),
    help="As for train; default: as the base was trained.",
)
@click.option("--tokenizer", metavar="KIND", help="The model's own; anything else is refused.")
def run_finetuning(
    model: str,
    corpus: tuple[str, ...],
    terminal: Terminal,
    as_json: bool = False,
    **options: Any,
) -> int:
    """Fine-tune; see _HELP."""
    from chargen.api import load
    from chargen.model.runs import MODEL as MODEL_FILE
    from chargen.model.runs import choose_folder, locate_model
    from chargen.train_api import finetune

    path = locate_model(model)
    stem = path.parent.name if path.name == MODEL_FILE else path.stem
    name = corpus[0].rpartition(":")[2].rstrip("/").rpartition("/")[2]
    where = {key: options.pop(key) for key in ("run", "out", "overwrite")}
    folder = choose_folder([f"{stem}-{name}"], **where)
    load(path)  # complains, before anything else is begun
    return train.follow(
        folder,
        partial(
            finetune,
            path,
            corpus,
            out=folder,
            overwrite=where["overwrite"],
            on_note=terminal.note,
            **options,
        ),
        terminal,
        as_json=as_json,
    )


def _parameters() -> list[click.Parameter]:
    """MODEL, CORPUS, the options of `train` that make sense, and those of fine-tuning."""
    own: list[click.Parameter] = click.command()(run_finetuning).params
    named = {one.name for one in own}
    shared = [one for one in train.command.params if one.name not in _OWN | named]
    return [
        click.Argument(["model"], type=MODEL),
        click.Argument(["corpus"], nargs=-1, type=CORPUS, required=True),
        *shared,
        *own,
    ]


command = click.Command("finetune", callback=run_finetuning, params=_parameters(), help=_HELP)
