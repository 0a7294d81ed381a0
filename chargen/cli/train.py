"""chargen train: the options of a training run, and its start.

What the run shows and how it is stopped is in `training_view.py`; what the options mean, in
`chargen.train_api`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from chargen.cli.options import (
    CORPUS,
    MODEL,
    TableName,
    json_option,
    terminal_options,
    write_json,
)
from chargen.cli.reading import reading_options
from chargen.errors import ExitCode, reason_of
from chargen.model.config import CELLS
from chargen.terminal.context import Terminal
from chargen.terminal.messages import never_stopped, silence
from chargen.text.registry import TOKENIZERS
from chargen.training.config import DEVICES, KERNELS, OPTIMIZERS, PRECISIONS, SCHEDULES

if TYPE_CHECKING:
    from chargen.training.events import TrainEvent

_TRAIN_HELP = """Train a model on your text.

CORPUS is a file, a folder (all files below it), - for standard input, builtin:NAME (see
`chargen corpora`) or hf:DATASET[:CONFIG[:COLUMN]]. A file may be a text, a table (.csv, .tsv,
.json, .jsonl, .parquet), a book or letter (.epub, .docx, .odt, .rtf, .pdf, .html, .eml, .mbox,
.ipynb, .srt), a chat (--chat), and may be compressed. `chargen look CORPUS` shows what would be
read. Several are joined. Without CORPUS, the text is the built-in corpus.

\b
  chargen train novel.txt                     five minutes, everything else planned
  chargen train letters/ --run me --minutes 2
  chargen train haiku.txt --documents lines   each line is a document
  chargen train poems.txt --documents paragraphs   an empty line ends a document
  chargen train export/ --chat --label-from speaker
  chargen train book.txt --cell gru --hidden-size 256 --epochs 4
  chargen train book.txt --from english       begins with a model in the box

The run goes to checkpoints/NAME. Ctrl-C finishes the step, saves and leaves; `chargen resume`
continues from there, and also after a crash or a power cut.
"""


@click.command(help=_TRAIN_HELP)
@click.argument("corpus", nargs=-1, type=CORPUS)
@click.option("--run", metavar="NAME", help="Name of the run; default: the name of the corpus.")
@click.option(
    "--out",
    metavar="DIR",
    help="Folder for runs instead of checkpoints/; without --run, the folder of this run.",
)
@click.option(
    "--from",
    "base",
    type=MODEL,
    metavar="MODEL",
    help="Begin with a model, for example english, instead of with nothing; see finetune.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run of the same name.")
@click.option("--minutes", type=float, metavar="M", help="Minutes to train for; default 5.")
@click.option(
    "--epochs", type=float, metavar="E", help="Passes over the corpus, instead of minutes."
)
@click.option("--steps", type=int, metavar="N", help="Optimizer steps, instead of minutes.")
@click.option(
    "--cell", type=TableName(CELLS), metavar="CELL", help=f"{', '.join(CELLS)}; default lstm."
)
@click.option("--hidden-size", type=int, metavar="H", help="Units in each layer.")
@click.option("--layers", "num_layers", type=int, metavar="L", help="Recurrent layers; default 1.")
@click.option(
    "--groups",
    type=int,
    metavar="G",
    help="Independent networks that share the units; their logits are averaged.",
)
@click.option("--embedding-size", type=int, metavar="E", help="Width of the embedding.")
@click.option(
    "--tied-head",
    is_flag=True,
    default=None,
    help="Use the embedding's weights for the head too; makes it as wide as the layers.",
)
@click.option(
    "--tokenizer",
    type=TableName(TOKENIZERS),
    default="char",
    show_default=True,
    metavar="KIND",
    help="; ".join(f"{name}: {kind.help}" for name, kind in TOKENIZERS.items()) + ".",
)
@click.option("--vocab-size", type=int, metavar="V", help="Most tokens of subwords, words, ...")
@click.option("--pattern", metavar="REGEX", help="Finds the tokens of --tokenizer regex.")
@reading_options
@click.option(
    "--valid", metavar="FILE", help="Text to validate on, instead of the end of the corpus."
)
@click.option(
    "--valid-fraction",
    type=float,
    default=0.1,
    show_default=True,
    metavar="F",
    help="Share of the corpus to validate on: its end, or documents spread over it; 0: none.",
)
@click.option("--batch-size", type=int, metavar="B", help="Rows of the batch.")
@click.option(
    "--bptt", type=int, metavar="T", help="Tokens of a window, through which gradients flow."
)
@click.option("--learning-rate", type=float, metavar="LR", help="Peak learning rate.")
@click.option(
    "--optimizer",
    metavar="NAME",
    help=f"Optimizer of the recurrent matrices: {', '.join(OPTIMIZERS)}.",
)
@click.option(
    "--schedule",
    metavar="NAME",
    help=f"Learning-rate schedule: {', '.join(SCHEDULES)}; default linear.",
)
@click.option(
    "--warmup", type=float, metavar="F", help="Share of the steps in which the rate rises."
)
@click.option("--weight-decay", type=float, metavar="F", help="AdamW's decay; default 0.01.")
@click.option(
    "--clip",
    type=float,
    metavar="F",
    help="Largest gradient norm, for AdamW; default 1.",
)
@click.option(
    "--dropout", type=float, metavar="P", help="Dropout between layers and before the head."
)
@click.option(
    "--dropout-masks", type=int, metavar="N", help="Dropout masks for each step; default 1 or 2."
)
@click.option("--embedding-dropout", type=float, metavar="P", help="Dropout after the embedding.")
@click.option(
    "--ema", type=float, metavar="F", help="Span of the EMA, as a share of the steps; 0: off."
)
@click.option(
    "--patience", type=int, metavar="N", help="Stop after N validations without a better score."
)
@click.option("--device", metavar="NAME", help=f"{', '.join(DEVICES)}; default auto.")
@click.option("--precision", metavar="NAME", help=f"{', '.join(PRECISIONS)}; default auto.")
@click.option("--kernel", metavar="NAME", help=f"{', '.join(KERNELS)}; default auto: the fastest.")
@click.option("--threads", type=int, metavar="N", help="CPU threads; default: one for each core.")
@click.option("--seed", type=int, metavar="N", help="Seed of weights and dropout; default 0.")
@click.option(
    "--memory/--no-memory",
    default=True,
    help="Whether the model also gets counts of its text, in a file beside it.",
)
@json_option
@terminal_options
def command(
    corpus: tuple[str, ...],
    base: str | None,
    as_json: bool,
    terminal: Terminal,
    **options: Any,
) -> int:
    """Train; see _TRAIN_HELP."""
    if base is not None:
        from chargen.finetune_api import finetune

        # What a person did not give, the base decides.
        source_of = click.get_current_context().get_parameter_source
        given = {
            name: value
            for name, value in options.items()
            if source_of(name) is not ParameterSource.DEFAULT
        }
        tune = partial(finetune, base, corpus, on_note=terminal.note, **given)
        return show_events(tune, terminal, as_json=as_json)
    from chargen.train_api import train

    begin = partial(train, corpus, on_note=terminal.note, **options)
    return show_events(begin, terminal, as_json=as_json)


def show_events(
    begin: Callable[..., Iterator[TrainEvent]],
    terminal: Terminal,
    *,
    as_json: bool = False,
) -> int:
    """Show a run until it ends or is interrupted; return the exit code.

    A run goes on where its events cannot be written; the exit code tells it.

    Args:
        begin: makes the run's events, given `should_stop` and `on_reading`.
        terminal: where the run is shown.
        as_json: also write each event to stdout, as one line of JSON.
    """
    from chargen.cli.training_view import Interrupts, TrainingView
    from chargen.terminal.progress import reading_line
    from chargen.training.events import event_record

    view, code = TrainingView(terminal), ExitCode.DONE
    with (
        Interrupts(view.notice) as interrupts,
        closing(view),
        reading_line(terminal) as on_reading,
    ):
        events = begin(should_stop=interrupts.stop_requested, on_reading=on_reading)
        for event in events:
            interrupts.begin_waiting()
            view.show(event)
            if as_json:
                try:
                    with never_stopped():
                        write_json(terminal, event_record(event))
                        terminal.out.flush()
                except OSError as error:
                    # Nobody reads stdout any more, or the disk is full.
                    as_json = False
                    silence(terminal.out)
                    if not isinstance(error, BrokenPipeError):
                        code = ExitCode.FAILURE
                        told = f"stdout: {reason_of(error)}; training goes on without --json"
                        (terminal.complain if terminal.quiet else view.notice)(told)
    view.summarise()
    return interrupts.exit_code if interrupts.stop_requested() else code
