"""Many prompts: reads them from a file or standard input, and writes the texts after them.

A prompt is read when a text is begun, and dropped when its last text is written. So neither the
prompts nor the texts of a long file are ever in memory together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from chargen.cli.options import write_json
from chargen.cli.standard_input import standard_input, wait_for_standard_input, waiting_told
from chargen.errors import CorpusError, UsageError, reason_of
from chargen.terminal.context import Terminal
from chargen.terminal.progress import plural
from chargen.terminal.safetext import safe
from chargen.text.json_rows import json_values
from chargen.text.reader import read_lines
from chargen.text.reading import Reading, unreadable
from chargen.text.tokenizer import utf8
from chargen.text.unseen import unseen_lines

if TYPE_CHECKING:
    from chargen.api import Model
    from chargen.inference.many import WrittenText

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_PROMPT = "prompt"
_MAX_LINE_BYTES = 64_000_000


def text_record(written: WrittenText, seed: int) -> dict[str, Any]:
    """A text as plain values for JSON; `finish` is null where the writing was interrupted."""
    return {
        _PROMPT: utf8(written.prompt).decode("utf-8", "replace"),
        "text": written.text,
        "tokens": written.tokens,
        "finish": written.finish,
        "nats_per_token": written.nats_per_token,
        "seed": seed,
        "number": written.number,
    }


def write_after_prompts(
    model: Model,
    name: str,
    count: int,
    terminal: Terminal,
    *,
    unknown: str,
    encoding: str | None,
    echo: bool,
    as_json: bool,
    settings: dict[str, Any],
) -> None:
    """Writes texts after each prompt of a file, in the order of the prompts.

    Args:
        model: what writes.
        name: the file; `-` is standard input.
        count: texts after each prompt.
        terminal: gets the texts, as JSON or with a heading or an empty line between them.
        unknown: what becomes of characters that the model never saw.
        encoding: of the file.
        echo: whether a text begins with its prompt.
        as_json: whether each text is a line of JSON, with the other keys of its row.
        settings: those of `Model.generate_many`.

    Raises:
        UsageError: the file cannot be opened, or has no prompt.
        CorpusError: a line cannot be read; the texts before it are written first.
    """
    prompts = Prompts(name, model, terminal, unknown=unknown, encoding=encoding)
    for written in model.generate_many(prompts, count, unknown=unknown, **settings):
        others = prompts.others[written.prompt_number]
        if written.number == count - 1:
            del prompts.others[written.prompt_number]
        if as_json:
            write_json(terminal, {**others, **text_record(written, settings["seed"])})
            terminal.out.flush()
            continue
        shown = written.prompt if echo else ""
        if terminal.shows_text:
            divider = f"{'-' if terminal.ascii else '─'}" * 20
            which = f", text {written.number + 1} of {count}" if count > 1 else ""
            terminal.write_line(f"{divider} {written.prompt_number + 1}{which}")
            terminal.write_line(safe(shown + written.text))
            terminal.out.flush()
        else:
            is_first = not written.prompt_number and not written.number
            terminal.write_bytes(b"" if is_first else b"\n\n")
            terminal.write_bytes(utf8(shown) + written.data)


class Prompts:
    """The prompts of a file, one by one; says what was skipped, replaced or too long.

    Args:
        name: the file: a line is a prompt, or in a .jsonl file a row; `-` is standard input.
        model: what will read the prompts.
        terminal: where it is said.
        unknown: what becomes of characters that the model never saw.
        encoding: of the file; None means UTF-8, or what a byte order mark says.
    """

    def __init__(
        self, name: str, model: Model, terminal: Terminal, *, unknown: str, encoding: str | None
    ) -> None:
        self.others: dict[int, dict[str, Any]] = {}
        """The other keys of the rows, by the numbers of the prompts that are in use."""
        self._name, self._shown = name, "standard input" if name == "-" else name
        self._model, self._terminal, self._unknown = model, terminal, unknown
        self._as_json = name != "-" and Path(name).suffix.lower() in _JSON_SUFFIXES
        as_bytes = model.tokenizer.reads_bytes and not self._as_json
        self._reading = Reading(encoding=encoding, as_bytes=as_bytes)
        self._blank = self._unseen = 0

    def __iter__(self) -> Iterator[str]:
        """The prompts.

        Raises:
            UsageError: the file cannot be opened, or has no prompt, or a character is unknown.
            CorpusError: a line cannot be read.
        """
        number = 0
        with self._opened() as stream:
            rows = self._rows(stream) if self._as_json else self._lines(stream)
            for line, prompt, others in rows:
                self._check(prompt, f"{self._shown}:{line}")
                self.others[number] = others
                number += 1
                yield prompt
        for note in self._reading.notes:
            self._terminal.note(note)
        if self._blank:
            self._terminal.note(f"{self._shown}: {plural(self._blank, 'blank line')} skipped")
        if self._unseen > 1:
            more = plural(self._unseen - 1, "more prompt")
            self._terminal.note(f"{self._shown}: unseen characters in {more}")
        if not number:
            raise UsageError(f"--prompts {self._name}: no prompt in it; give one a line")

    def _lines(self, stream: IO[bytes]) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Number, prompt and other keys of each line that is not blank."""
        for number, line in enumerate(self._text_lines(stream), 1):
            if line.strip():
                yield number, line, {}
            else:
                self._blank += 1

    def _rows(self, stream: IO[bytes]) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """The same of each row of JSON: an object with a prompt, or a string."""
        for number, row in json_values(self._text_lines(stream), self._shown):
            others = {} if isinstance(row, str) else row
            prompt = row
            if isinstance(row, dict):
                others = {key: value for key, value in row.items() if key != _PROMPT}
                prompt = row.get(_PROMPT)
            if not isinstance(prompt, str):
                reason = f'give a string, or an object with the key "{_PROMPT}" and a string'
                raise unreadable(f"{self._shown}:{number}", "a prompt", reason)
            yield number, prompt, others

    def _text_lines(self, stream: IO[bytes]) -> Iterator[str]:
        lines = _ShortLines(stream, self._shown)
        if self._reading.raw:
            for line in iter(lines.readline, b""):
                yield line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
        else:
            yield from read_lines(lines, self._shown, self._reading)

    def _check(self, prompt: str, where: str) -> None:
        """Refuses what the model cannot read, and notes what it reads otherwise."""
        from chargen.inference.batched_read import tokens_before_end

        try:
            tokens = len(self._model.encode(prompt, self._unknown))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
        read = tokens_before_end(self._model.stepper, tokens)
        if read < tokens:
            self._terminal.note(f"{where}: has {tokens:,} tokens; reads the last {read:,}")
        for line in unseen_lines(self._model.tokenizer, [prompt], self._unknown):
            self._unseen += 1
            if self._unseen == 1:
                self._terminal.note(f"{where}: {line}")

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        name = self._name
        if name == "-":
            stream = standard_input()
            wait_for_standard_input(self._terminal)
            yield stream
            return
        try:
            path = Path(name)
            if path.exists() and not (path.is_file() or path.is_fifo()):
                raise UsageError(f"--prompts {name or repr('')}: not a file")
            waiting = f"waiting for {name}; it is a pipe, and another program must write it"
            with waiting_told(self._terminal, waiting) if path.is_fifo() else nullcontext():
                opened = path.open("rb")
        except (OSError, ValueError) as error:
            raise UsageError(f"--prompts {name}: cannot be read ({reason_of(error)})") from error
        with opened:
            yield opened


class _ShortLines:
    """The lines of a stream, as `read_lines` asks for them; a line without an end is an error."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name, self._line = stream, name, 0

    def readline(self) -> bytes:
        """The next line with its end; empty at the end of the stream.

        Raises:
            CorpusError: the line is too long.
        """
        self._line += 1
        line = self._stream.readline(_MAX_LINE_BYTES + 1)
        if len(line) > _MAX_LINE_BYTES:
            where = f"{self._name}:{self._line}"
            raise CorpusError(f"{where}: longer than {_MAX_LINE_BYTES:,} bytes; give only its end")
        return line
