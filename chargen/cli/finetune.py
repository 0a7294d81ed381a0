"""chargen finetune: the options of fine-tuning, and its start.

The options that fine-tuning shares with training are those of `chargen train`; `_parameters` says
which. What the options mean is in `chargen.train_api`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from chargen.cli import train
from chargen.cli.options import MODEL_OR_CORPUS, is_model, terminal_options
from chargen.errors import UsageError
from chargen.terminal.context import Terminal
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.finetune_dataset import VOCABULARIES

_FINETUNE_HELP = """Continue training a model on your own text.

MODEL is a model file, a run folder, a run's name, or a model in the box (english, python, tiny); it
is not changed. Without MODEL, the model in the box that predicts the text best is chosen. A small
text is enough to learn a style: 20 KB suffice. Characters that the model never saw are added to its
vocabulary, each initialised from a similar one (é from e); a report lists them.

\b
  chargen finetune diary.txt --run mine
  chargen finetune english diary.txt --minutes 5
  chargen finetune english diary.txt --replay novels/    remembers the novels
  chargen finetune english chat.txt --documents lines    each line is a document

The result is a run like any other: `chargen sample`, `repl`, `info` and `resume` accept it.
"""

_REDEFINED = {"corpus", "base", "documents", "minutes", "tokenizer", "vocab_size", "tied_head"}
"""Parameters of `train` that mean something else here, or have no meaning."""


@terminal_options
@click.option(
    "--vocab",
    "vocabulary",
    type=click.Choice(VOCABULARIES),
    default="extend",
    show_default=True,
    help="Add new characters to the vocabulary, or replace each by the most similar known one.",
)
@click.option(
    "--extend-vocab",
    type=click.IntRange(min=0, max=100_000),
    default=0,
    metavar="N",
    help="Pieces to add to a subword model, for words of the text.",
)
@click.option(
    "--replay",
    metavar="CORPUS",
    help="A second text, best the training text of the model, that most batch rows read.",
)
@click.option("--replay-share", type=float, metavar="F", help="Share of those rows; default 0.8.")
@click.option(
    "--l2-to-base",
    type=float,
    metavar="F",
    help="Strength of an L2 penalty towards the model's weights; 1 is strong.",
)
@click.option(
    "--freeze",
    type=int,
    metavar="N",
    help="Lowest layers to freeze for the first half of the training.",
)
@click.option(
    "--layer-decay",
    type=float,
    metavar="F",
    help="Learning rate of each layer, as a share of the rate of the layer above; default 1.",
)
@click.option(
    "--minutes",
    type=float,
    metavar="M",
    help="Minutes to train for at most; default 2. A small text takes less.",
)
@click.option(
    "--documents",
    type=click.Choice(DOCUMENT_MODES),
    help="What a document is, as for train; default: as in the model's training.",
)
@click.option(
    "--tokenizer", metavar="KIND", help="The tokenizer of the model; any other is refused."
)
def run_finetuning(
    names: tuple[str, ...],
    terminal: Terminal,
    as_json: bool = False,
    **options: Any,
) -> int:
    """Fine-tune; see _FINETUNE_HELP."""
    from chargen.finetune_api import finetune

    model, corpus = model_and_corpus(names)
    begin = partial(finetune, model, corpus, on_note=terminal.note, **options)
    return train.show_events(begin, terminal, as_json=as_json)


def model_and_corpus(names: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Which name is the model to begin from (None: it is chosen), and which are the corpus.

    Raises:
        UsageError: there is no corpus.
    """
    first, *others = names
    if others and (is_model(first) or not _may_be_corpus(first)):
        return first, tuple(others)
    if not others and is_model(first) and not Path(first).is_file():
        raise UsageError(f"{first}: this is a model; name a CORPUS to fine-tune it on")
    return None, names


def _may_be_corpus(name: str) -> bool:
    return name == "-" or name.startswith(("builtin:", "hf:")) or Path(name).exists()


def _parameters() -> list[click.Parameter]:
    """[MODEL] CORPUS, the options of `train` that make sense here, and those of fine-tuning."""
    options: list[click.Parameter] = click.command()(run_finetuning).params
    replaced = _REDEFINED | {option.name for option in options}
    shared = [option for option in train.command.params if option.name not in replaced]
    return [
        click.Argument(
            ["names"],
            nargs=-1,
            type=MODEL_OR_CORPUS,
            required=True,
            metavar="[MODEL] CORPUS...",
        ),
        *shared,
        *options,
    ]


command = click.Command(
    "finetune", callback=run_finetuning, params=_parameters(), help=_FINETUNE_HELP
)
