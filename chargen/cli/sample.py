"""chargen sample: writes texts to the terminal, a pipe, a file, or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from chargen.cli.chosen import choice_options, take_choice, write_chosen
from chargen.cli.options import (
    MODEL,
    F,
    decode_text,
    encoding_option,
    json_option,
    note_unseen,
    terminal_options,
)
from chargen.cli.prompts import write_after_prompts
from chargen.cli.standard_input import (
    UNREAD,
    has_unread_input,
    read_standard_input,
    waiting_told,
)
from chargen.cli.steering import spelling_note, steering_options, take_steering
from chargen.cli.written import Request, stream, write_rows, write_texts
from chargen.errors import UsageError, reason_of
from chargen.inference.filters import SETTINGS, SampleConfig, parse_stop
from chargen.inference.remembering import DEFAULT_MEMORY, MEMORY_MODES
from chargen.terminal.context import Terminal
from chargen.text.tokenizer import UNKNOWN_POLICIES

_SAMPLE_HELP = """Write with a model.

MODEL is a model file, a run folder or a run's name; without MODEL, the newest run. The
prompt comes from -p or from --prompt-file. With - for either of them it is standard input, which is
read only then; so a loop over the lines of a file keeps its lines. The prompt is used exactly as it
is, white space included, and is part of the output.

\b
  chargen sample
  chargen sample bard -p "ROMEO:" --length 300 --seed 1
  echo -n "To be" | chargen sample bard -p -
  chargen sample bard --prompts openings.txt --json
  chargen sample bard -n 5 --temperature 0.6 --stop '\\n\\n' > five.txt
  chargen sample bard --acrostic LOVE --ban thee,thou --finish sentence

A pipe or a file gets the text and nothing else. An empty line separates several texts; --json
keeps them apart even if they contain empty lines.

--prompts FILE writes after each line of a file, or after the "prompt" of each row of a .jsonl file,
whose other keys come back with --json. Texts come in the order of their prompts, and the file may
be of any length. The same seed gives each prompt the same text, whatever comes after it.
"""

_MAX_TEXTS = 10_000
_MAX_PROMPT_BYTES = 64_000_000


def _setting(name: str, metavar: str, *flags: str) -> Callable[[F], F]:
    """The option of a setting of `SampleConfig`, with the help of its table."""
    row = SETTINGS[name]
    kind = int if row.integer else float
    default = SampleConfig.__dataclass_fields__[name].default
    help_text = f"{row.help}; default {default}."
    return click.option(
        f"--{name.replace('_', '-')}", *flags, name, type=kind, metavar=metavar, help=help_text
    )


@click.command(help=_SAMPLE_HELP)
@click.argument("model", required=False, type=MODEL)
@click.option(
    "-p", "--prompt", metavar="TEXT", help="Prompt: the beginning of the text; - is standard input."
)
@click.option("--prompt-file", metavar="FILE", help="File with the prompt; - is standard input.")
@click.option(
    "--prompts",
    metavar="FILE",
    help="Many prompts: one a line, or .jsonl; - is standard input, one prompt a line.",
)
@click.option(
    "-n",
    "--count",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Texts to write after each prompt.",
)
@_setting("length", "N", "-l")
@_setting("temperature", "T", "-t")
@_setting("top_k", "K")
@_setting("top_p", "P")
@_setting("min_p", "P")
@_setting("typical_p", "P")
@_setting("eta", "P")
@_setting("lookahead", "N")
@_setting("repetition_penalty", "R")
@click.option(
    "--stop",
    multiple=True,
    metavar="TEXT",
    help=r"Stop before this text; \n is a line end, \t a tab, \\ a backslash; repeatable.",
)
@steering_options
@choice_options
@click.option("--seed", type=int, metavar="N", help="Seed; the same seed writes the same.")
@click.option(
    "--unknown",
    type=click.Choice(UNKNOWN_POLICIES),
    default="nearest",
    show_default=True,
    help="What to do with characters of the prompt that the model never saw.",
)
@click.option(
    "--label",
    metavar="LABEL",
    help="Write as documents of this label; a:0.7,b:0.3 mixes two. The model lists its labels in "
    "`chargen info`.",
)
@click.option(
    "--memory",
    type=click.Choice(MEMORY_MODES),
    default=DEFAULT_MEMORY,
    show_default=True,
    help="What counts help to write: none, those of the training text, or growing ones.",
)
@click.option("--echo/--no-echo", default=True, help="Include the prompt in the output.")
@encoding_option
@json_option
@terminal_options
def command(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    prompts: str | None,
    count: int,
    unknown: str,
    echo: bool,
    label: str | None,
    memory: str,
    encoding: str | None,
    as_json: bool,
    terminal: Terminal,
    **given: Any,
) -> None:
    """Write; see _SAMPLE_HELP."""
    from chargen.api import draw_seed, load
    from chargen.inference.batched_read import tokens_before_end
    from chargen.inference.writer import impossible_stops
    from chargen.model.bases import is_base

    if not 1 <= count <= _MAX_TEXTS:
        raise UsageError(f"--count {count}: must be from 1 to {_MAX_TEXTS:,}")
    steering = take_steering(given)
    choice = take_choice(given, count)
    settings = {name: value for name, value in given.items() if value is not None} | steering
    settings.setdefault("seed", draw_seed())
    settings["stop"] = tuple(map(parse_stop, settings["stop"]))
    config = SampleConfig(**settings)  # checks the settings before a model is loaded
    read_prompt = _read_prompt(prompt, prompt_file, prompts, terminal)
    loaded = load(model)
    if model is None and loaded.path is not None and is_base(loaded.path):
        terminal.note(f"no run yet: {loaded.path.parent.name}, a model in the box, writes")
    if label is not None:
        loaded = loaded.labelled(label)
    text = read_prompt if isinstance(read_prompt, str) else ""
    if isinstance(read_prompt, bytes):
        text = decode_text(read_prompt, prompt_file or "-", loaded, encoding)
    tokens = len(loaded.encode(text, unknown))  # refuses unknown characters before it writes
    read = tokens_before_end(loaded.stepper, tokens)
    if read < tokens:
        terminal.note(f"the prompt has {tokens:,} tokens; reads the last {read:,}")
    note_unseen(loaded, text, terminal, unknown)
    for line in impossible_stops(config.stop, loaded.tokenizer):
        terminal.note(line)
    if memory != "off" and loaded.memory is None and loaded.memory_problem:
        terminal.complain(loaded.memory_problem)
    if note := spelling_note(loaded, settings):
        terminal.note(note)
    settings["memory"] = memory
    if prompts is not None:
        if config.lookahead:
            raise UsageError("--prompts: cannot be combined with --lookahead; leave one out")
        if choice is not None:
            raise UsageError("--prompts: --best-of and --unique choose among texts of one prompt")
        write_after_prompts(
            *(loaded, prompts, count, terminal),
            unknown=unknown,
            encoding=encoding,
            echo=echo,
            as_json=as_json,
            settings=settings,
        )
        return
    request = Request(loaded, text, unknown, config.seed, settings, echo, count)
    if choice is not None:
        write_chosen(request, choice, terminal, as_json=as_json)
    elif as_json:
        write_rows(request, count, terminal)
    elif count == 1:
        stream(request, terminal)
    else:
        write_texts(request, count, terminal)


def _read_prompt(
    prompt: str | None, prompt_file: str | None, prompts: str | None, terminal: Terminal
) -> str | bytes:
    """The prompt: a text, or the bytes of a file or, where one of them is `-`, standard input.

    Raises:
        UsageError: several options are given, or the file cannot be read or is too long.
    """
    given = {"--prompt": prompt, "--prompt-file": prompt_file, "--prompts": prompts}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)}: give one of them")
    if prompts is not None:
        return ""  # they are read one by one, while texts are written
    if prompt is not None and prompt != "-":
        return prompt
    raw = b""
    if "-" in (prompt, prompt_file):
        raw = read_standard_input(terminal, limit=_MAX_PROMPT_BYTES)
    elif prompt_file is not None:
        try:
            path = Path(prompt_file)
            if path.exists() and not (path.is_file() or path.is_fifo()):
                raise UsageError(f"--prompt-file {prompt_file or repr('')}: not a file")
            waiting = f"waiting for {prompt_file}; it is a pipe, and another program must write it"
            told = waiting_told(terminal, waiting) if path.is_fifo() else nullcontext()
            with told, path.open("rb") as stream:
                raw = stream.read(_MAX_PROMPT_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = reason_of(error)
            raise UsageError(f"--prompt-file {prompt_file}: cannot be read ({reason})") from error
    elif has_unread_input():
        terminal.note(UNREAD)
    if len(raw) > _MAX_PROMPT_BYTES:
        raise UsageError(
            f"the prompt is longer than {_MAX_PROMPT_BYTES:,} bytes; give only its end"
        )
    return raw
