"""How `chargen sample` writes: to a terminal, a pipe, a file, or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from chargen.cli.options import write_json
from chargen.cli.prompts import text_record
from chargen.cli.steering import unkept
from chargen.errors import ChargenError
from chargen.inference.many import Draft
from chargen.terminal.context import Terminal
from chargen.terminal.progress import reading_line
from chargen.terminal.safetext import SafeStream, safe
from chargen.text.tokenizer import utf8

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.inference.writer import Step

T = TypeVar("T")


class Request:
    """What to write: a model, a prompt and settings; and whether the prompt is shown."""

    def __init__(
        self,
        model: Model,
        prompt: str,
        unknown: str,
        seed: int,
        settings: dict[str, Any],
        echo: bool,
        count: int,
    ) -> None:
        self.count = count
        self.model, self.prompt, self.unknown, self.seed = model, prompt, unknown, seed
        self.settings = settings
        self.echoed = prompt if echo else ""

    def steps(self, terminal: Terminal) -> Iterator[Step]:
        """The steps of one text; shows how much of a long prompt is read."""
        return self._after_prompt(self.model.generate, terminal, self.prompt)

    def steps_of_texts(self, count: int, terminal: Terminal) -> Iterator[tuple[int, Step]]:
        """The steps of several texts, each with the number of its text; else as `steps`."""
        return self._after_prompt(self.model.generate_batch, terminal, self.prompt, count)

    def note_unkept(self, draft: Draft, terminal: Terminal) -> None:
        """Tells what was asked of a text and did not come."""
        for line in unkept(self.settings, draft.text.getvalue(), draft.finish):
            terminal.note(line)

    def _after_prompt(
        self, write: Callable[..., Iterator[T]], terminal: Terminal, *arguments: object
    ) -> Iterator[T]:
        """What `write` yields; its first step reads the prompt, under a line of progress."""
        size = len(utf8(self.prompt))
        with reading_line(terminal) as report:
            steps = write(
                *arguments,
                unknown=self.unknown,
                progress=lambda share: report("reading the prompt", int(share * size), size),
                **self.settings,
            )
            # A model that cannot write fails here, before anything is shown.
            first_step = next(steps)
        return chain((first_step,), steps)


def stream(request: Request, terminal: Terminal) -> None:
    """Write one text, each token as soon as it is there."""
    steps, written = request.steps(terminal), Draft()
    if not terminal.shows_text:
        terminal.write_bytes(utf8(request.echoed))
        for step in steps:
            terminal.write_bytes(step.data)
            written.add(step)
        request.note_unkept(written, terminal)
        return
    safe_stream, out = SafeStream(), terminal.out
    out.write(safe_stream.feed(request.echoed))
    try:
        for step in steps:
            written.add(step)
            if step.text:
                out.write(safe_stream.feed(step.text))
                out.flush()
    finally:
        out.write("\n")
        out.flush()
    request.note_unkept(written, terminal)


def _write_in_order(
    request: Request, count: int, terminal: Terminal, write: Callable[[int, Draft], None]
) -> None:
    """Write several texts in the order of their numbers, each as soon as it is complete.

    When Ctrl-C or an error ends the writing, the texts that have begun are written as they are.
    """
    drafts: dict[int, Draft] = {}
    first_missing = 0
    try:
        for number, step in request.steps_of_texts(count, terminal):
            drafts.setdefault(number, Draft()).add(step)
            while first_missing in drafts and drafts[first_missing].finish:
                write(first_missing, drafts.pop(first_missing))
                first_missing += 1
    except (KeyboardInterrupt, ChargenError):
        for number in sorted(drafts):
            write(number, drafts[number])
        raise


def write_texts(request: Request, count: int, terminal: Terminal) -> None:
    """Write several texts: under headings on a terminal, else with an empty line between them."""

    def write(number: int, draft: Draft) -> None:
        if terminal.shows_text:
            divider = f"{'-' if terminal.ascii else '─'}" * 20
            terminal.write_line(f"{divider} {number + 1} of {count}")
            terminal.write_line(safe(request.echoed + draft.text.getvalue()))
            terminal.out.flush()
        else:
            terminal.write_bytes(b"\n\n" if number else b"")
            terminal.write_bytes(utf8(request.echoed) + draft.data.getvalue())

    _write_in_order(request, count, terminal, write)


def write_rows(request: Request, count: int, terminal: Terminal) -> None:
    """Write each text as one line of JSON; `finish` is null where the writing was interrupted."""

    def write(number: int, draft: Draft) -> None:
        write_json(terminal, text_record(draft.written(request.prompt, 0, number), request.seed))
        terminal.out.flush()

    _write_in_order(request, count, terminal, write)
