"""chargen sample."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import MODEL, F, json_option, terminal_options
from chargen.errors import UsageError
from chargen.inference.filters import SETTINGS, SampleConfig
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import SafeStream, safe
from chargen.text.tokenizer import UNKNOWN_POLICIES, describe_unseen, utf8

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.inference.generate import Step

_HELP = """Write with a model.

MODEL is a model file, a run folder or a run's name; left out, it is the newest run. The prompt
comes from -p, from --prompt-file, or from standard input; it is part of the text, exactly as it
is, white space included.

\b
  chargen sample
  chargen sample bard -p "ROMEO:" --length 300 --seed 1
  chargen sample bard -n 5 --temperature 0.6 --stop $'\\n\\n' > five.txt

Into a pipe or a file goes the text and nothing else; several texts are divided by an empty line
(use --json to keep them apart for certain).
"""

_MOST = 10_000
_LONGEST_PROMPT = 64_000_000


def _setting(name: str, *flags: str) -> Callable[[F], F]:
    row = SETTINGS[name]
    kind = int if row.whole else float
    default = SampleConfig.__dataclass_fields__[name].default
    help_text = f"{row.help}; default {default}."
    return click.option(
        f"--{name.replace('_', '-')}", *flags, name, type=kind, metavar="X", help=help_text
    )


@click.command(help=_HELP)
@click.argument("model", required=False, type=MODEL)
@click.option("-p", "--prompt", help="Text to go on from.")
@click.option("--prompt-file", metavar="F", help="File to go on from; - is standard input.")
@click.option("-n", "--count", type=int, default=1, show_default=True, help="Texts to write.")
@_setting("length", "-l")
@_setting("temperature", "-t")
@_setting("top_k")
@_setting("top_p")
@_setting("min_p")
@_setting("repetition_penalty")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; repeatable.")
@click.option("--seed", type=int, metavar="N", help="Same seed, same text.")
@click.option(
    "--unknown",
    type=click.Choice(UNKNOWN_POLICIES),
    default="nearest",
    show_default=True,
    help="What becomes of prompt characters the model never saw.",
)
@click.option("--echo/--no-echo", default=True, help="Whether the prompt is part of the text.")
@json_option
@terminal_options
def command(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    count: int,
    unknown: str,
    echo: bool,
    as_json: bool,
    terminal: Terminal,
    **given: Any,
) -> None:
    """Write; see _HELP."""
    from chargen.api import draw_seed, load

    if not 1 <= count <= _MOST:
        raise UsageError(f"--count {count}: must be from 1 to {_MOST:,}")
    settings = {name: value for name, value in given.items() if value is not None}
    settings.setdefault("seed", draw_seed())
    config = SampleConfig(**settings)  # refuses bad settings before a model is read
    text = _prompt(prompt, prompt_file)
    loaded = load(model)
    config.check_vocabulary(loaded.config.vocab_size)
    loaded.encode(text, unknown)  # refuses what it must before anything is written
    for line in describe_unseen(loaded.tokenizer.unseen(text), Counter(text), len(text), unknown):
        terminal.note(line)
    job = _Job(loaded, text, unknown, config.seed, settings, echo)
    if as_json:
        _write_json(job, count, terminal)
    elif count == 1:
        _stream(job, terminal)
    else:
        _write_all(job, count, terminal)


class _Job:
    """What to write; and how often the prompt's text is shown."""

    def __init__(
        self,
        model: Model,
        prompt: str,
        unknown: str,
        seed: int,
        settings: dict[str, Any],
        echo: bool,
    ) -> None:
        self.model, self.prompt, self.unknown, self.seed = model, prompt, unknown, seed
        self.settings = settings
        self.echoed = prompt if echo else ""

    def steps(self) -> Any:
        return self.model.generate(self.prompt, unknown=self.unknown, **self.settings)

    def texts(self, count: int) -> list[list[Step]]:
        """All steps of each text."""
        found: list[list[Step]] = [[] for _ in range(count)]
        for number, step in self.model.generate_batch(
            self.prompt, count, unknown=self.unknown, **self.settings
        ):
            found[number].append(step)
        return found


def _stream(job: _Job, terminal: Terminal) -> None:
    """One text, shown while it is written."""
    steps = job.steps()
    first = next(steps)  # a model that cannot write fails here, before anything is shown
    steps = chain((first,), steps)
    if not terminal.shows_text:
        terminal.write_bytes(utf8(job.echoed))
        for step in steps:
            terminal.write_bytes(step.data)
        return
    safe_stream, out = SafeStream(), terminal.out
    out.write(safe_stream.feed(job.echoed))
    try:
        for step in steps:
            if step.text:
                out.write(safe_stream.feed(step.text))
                out.flush()
    finally:
        out.write("\n")
        out.flush()


def _write_all(job: _Job, count: int, terminal: Terminal) -> None:
    """Several texts, an empty line between them."""
    for number, steps in enumerate(job.texts(count)):
        if terminal.shows_text:
            divider = f"{'-' if terminal.ascii else '─'}" * 20
            terminal.write_line(f"{divider} {number + 1} of {count}")
            terminal.write_line(safe(job.echoed + "".join(step.text for step in steps)))
        else:
            terminal.write_bytes(b"\n\n" if number else b"")
            terminal.write_bytes(utf8(job.echoed) + b"".join(step.data for step in steps))


def _write_json(job: _Job, count: int, terminal: Terminal) -> None:
    for number, steps in enumerate(job.texts(count)):
        value = {
            "prompt": utf8(job.prompt).decode("utf-8", "replace"),
            "text": "".join(step.text for step in steps),
            "tokens": len(steps),
            "finish": steps[-1].finish,
            "nats_per_token": -sum(step.logprob for step in steps) / len(steps),
            "seed": job.seed,
            "number": number,
        }
        terminal.out.write(json.dumps(value) + "\n")


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    """The prompt, from whichever place it was given in."""
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file: give one of them")
    if prompt is not None:
        return prompt
    raw = b""
    if prompt_file is not None and prompt_file != "-":
        try:
            path = Path(prompt_file)
            if path.exists() and not (path.is_file() or path.is_fifo()):
                raise UsageError(f"--prompt-file {prompt_file or repr('')}: not a file")
            with path.open("rb") as stream:
                raw = stream.read(_LONGEST_PROMPT + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"--prompt-file {prompt_file}: cannot be read ({reason})") from error
    elif prompt_file == "-" or _is_piped():
        raw = sys.stdin.buffer.read(_LONGEST_PROMPT + 1)
    if len(raw) > _LONGEST_PROMPT:
        raise UsageError(f"the prompt is longer than {_LONGEST_PROMPT:,} bytes; give its end alone")
    return raw.decode("utf-8", "surrogateescape")


def _is_piped() -> bool:
    """Whether standard input is a pipe or a file, and not a terminal, a device or closed."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
