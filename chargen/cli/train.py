"""chargen train."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import CORPUS, TableName, json_option, terminal_options
from chargen.errors import ExitCode
from chargen.model.config import CELLS
from chargen.terminal.context import Terminal
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.registry import TOKENIZERS
from chargen.training.config import DEVICES, KERNELS, OPTIMIZERS, PRECISIONS, SCHEDULES
from chargen.training.launch import this_process

if TYPE_CHECKING:
    from chargen.training.events import TrainEvent

_HELP = """Train a model on your text.

CORPUS is a file, a folder (all text files below it), - for standard input, builtin:NAME (see
`chargen corpora`), hf:DATASET[:CONFIG[:COLUMN]], or a .jsonl, .csv or .parquet file. Several are
joined; none at all is the built-in corpus.

\b
  chargen train novel.txt                     five minutes, all else planned
  chargen train letters/ --run me --minutes 2
  chargen train haiku.txt --documents lines   a model of single lines
  chargen train book.txt --cell gru --hidden-size 256 --epochs 4

The run goes to checkpoints/NAME. Ctrl-C finishes the step, saves and leaves; `chargen resume`
goes on from there, and also after a crash or a power cut.
"""


@click.command(help=_HELP)
@click.argument("corpus", nargs=-1, type=CORPUS)
@click.option("--run", metavar="NAME", help="Name of the run; default: the corpus's.")
@click.option(
    "--out",
    metavar="DIR",
    help="Folder for runs instead of checkpoints/; without --run, the run's own folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace a run of that name.")
@click.option("--minutes", type=float, metavar="M", help="Wall time to take; default 5.")
@click.option("--epochs", type=float, metavar="E", help="Passes over the corpus, instead.")
@click.option("--steps", type=int, metavar="N", help="Optimizer steps, instead.")
@click.option(
    "--cell", type=TableName(CELLS), metavar="CELL", help=f"{', '.join(CELLS)}; default lstm."
)
@click.option("--hidden-size", type=int, metavar="H", help="Units of each layer.")
@click.option("--layers", "num_layers", type=int, metavar="L", help="Recurrent layers; default 1.")
@click.option(
    "--groups",
    type=int,
    metavar="G",
    help="Networks side by side that share out the units; their logits are averaged.",
)
@click.option("--embedding-size", type=int, metavar="E", help="Width of the embedding.")
@click.option(
    "--tied-head",
    is_flag=True,
    default=None,
    help="Predict with the embedding's weights; makes it as wide as the layers.",
)
@click.option(
    "--tokenizer",
    type=TableName(TOKENIZERS),
    default="char",
    show_default=True,
    metavar="KIND",
    help="; ".join(f"{name}: {kind.help}" for name, kind in TOKENIZERS.items()) + ".",
)
@click.option("--vocab-size", type=int, metavar="V", help="Pieces of a subword tokenizer.")
@click.option(
    "--documents",
    type=click.Choice(DOCUMENT_MODES),
    default="whole",
    show_default=True,
    help="One long text, a document a file (or row), or a document a line.",
)
@click.option("--encoding", metavar="NAME", help="Of the files; UTF-8 and marked UTF-16 need none.")
@click.option("--column", metavar="NAME", help="Column of a table that holds the text.")
@click.option(
    "--valid", metavar="FILE", help="A text to validate on, instead of the corpus's tail."
)
@click.option(
    "--valid-fraction",
    type=float,
    default=0.1,
    show_default=True,
    metavar="F",
    help="Share of the corpus, at its end, to validate on; 0: none.",
)
@click.option("--batch-size", type=int, metavar="B", help="Places read side by side.")
@click.option("--bptt", type=int, metavar="T", help="Tokens that gradients flow back through.")
@click.option("--learning-rate", type=float, metavar="R", help="Highest rate.")
@click.option(
    "--optimizer", metavar="NAME", help=f"Of recurrent matrices: {', '.join(OPTIMIZERS)}."
)
@click.option("--schedule", metavar="NAME", help=f"{', '.join(SCHEDULES)}; default linear.")
@click.option("--warmup", type=float, metavar="F", help="Share of the steps that the rate rises.")
@click.option("--weight-decay", type=float, metavar="F", help="AdamW's decay; default 0.01.")
@click.option("--clip", type=float, metavar="F", help="Largest gradient norm; default 1.")
@click.option("--dropout", type=float, metavar="F", help="Between layers and before the head.")
@click.option("--dropout-masks", type=int, metavar="N", help="Of dropout, a step; default 1 or 2.")
@click.option("--embedding-dropout", type=float, metavar="F", help="After the embedding.")
@click.option("--ema", type=float, metavar="F", help="Share of the steps to average; 0: off.")
@click.option("--patience", type=int, metavar="N", help="Stop after N scores without a better one.")
@click.option("--device", metavar="NAME", help=f"{', '.join(DEVICES)}; default auto.")
@click.option("--precision", metavar="NAME", help=f"{', '.join(PRECISIONS)}; default auto.")
@click.option("--kernel", metavar="NAME", help=f"{', '.join(KERNELS)}; default auto: the fastest.")
@click.option("--threads", type=int, metavar="N", help="CPU threads; default: one a core.")
@click.option("--seed", type=int, metavar="N", help="Of weights and dropout; default 0.")
@json_option
@terminal_options
def command(corpus: tuple[str, ...], as_json: bool, terminal: Terminal, **options: Any) -> int:
    """Train; see _HELP."""
    return run_training(corpus, options, terminal, as_json=as_json)


def run_training(
    corpus: tuple[str, ...], options: dict[str, Any], terminal: Terminal, *, as_json: bool = False
) -> int:
    """Train, show it, and answer with the exit code. `demo` calls this too."""
    from chargen.model.runs import choose_folder
    from chargen.train_api import train

    # Of several processes the first one has the folder; the others choose without minding.
    overwrite = options["overwrite"] or not this_process().is_first
    folder = choose_folder(corpus, run=options["run"], out=options["out"], overwrite=overwrite)
    settings = {**options, "run": None, "out": folder}
    return follow(
        folder,
        partial(train, corpus, on_note=terminal.note, **settings),
        terminal,
        as_json=as_json,
    )


def follow(
    folder: Path,
    begin: Callable[..., Iterator[TrainEvent]],
    terminal: Terminal,
    *,
    as_json: bool,
) -> int:
    """Show a run to its end, or until it is interrupted; answers with the exit code.

    Args:
        folder: of the run.
        begin: makes the run's events, given `should_stop` and `on_reading`.
        terminal: where it is shown.
        as_json: an object a line on stdout as well.
    """
    from chargen.cli.training_view import Interrupts, Watch
    from chargen.terminal.progress import reading_line
    from chargen.training.events import event_record

    watch, closed = Watch(terminal, folder), False
    with Interrupts(watch.notice) as interrupts, closing(watch), reading_line(terminal) as tell:
        events = begin(should_stop=lambda: closed or interrupts.stop_requested(), on_reading=tell)
        for event in events:
            interrupts.begin_waiting()
            watch.show(event)
            if as_json:
                try:
                    terminal.out.write(json.dumps(event_record(event)) + "\n")
                    terminal.out.flush()
                except OSError:
                    # Nobody reads on, or the disk is full: what was learned is saved.
                    as_json, closed = False, True
    watch.summarise()
    return interrupts.exit_code if interrupts.stop_requested() else ExitCode.DONE
