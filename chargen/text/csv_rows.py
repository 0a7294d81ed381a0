"""Rows of .csv and .tsv files as their programs write them: delimiters, headers, quotes.

Nothing is converted: '007' and '1e5' are texts. What the file does not say is found in its first
rows, and a line tells what was found.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from chargen.errors import CorpusError
from chargen.hints import any_of, option, ways
from chargen.text.columns import TEXT_NAMES, PlaceOfLines, Row
from chargen.text.contents import Content
from chargen.text.reader import read_table_lines
from chargen.text.reading import Place, Reading, unreadable

_DELIMITERS = (",", ";", "\t", "|")
_HEAD_ROWS = 200
"""Rows by which the delimiter and the header are found."""
_MAX_FIELD_CHARACTERS = (1 << 31) - 1
"""The longest field of a CSV file; the largest limit that the standard library accepts anywhere."""
_WEAK_COMMA = re.compile(r"(?<=\d),(?=\d)|,(?= )")
_LOOSE_QUOTE = re.compile(r'(?:^|\t)"[^\t"]*"[^\t"]')
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
"""How Excel writes down its delimiter, as the first line."""
_NUMBER = re.compile(r"\s*([+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?|true|false|[\d:./ -]*)\s*", re.I)
"""A field that is no text: a number, a date, a time, true, false or nothing."""
_COMMON_NAMES = frozenset(
    (
        *("id", "name", "title", "date", "time", "author", "user", "category", "class", "label"),
        *("tag", "tags", "lang", "language", "url", "source", "rating", "score", "year", "type"),
        *("group", "status", "number", "nr", "key", "value", "word", "artist", "genre", "speaker"),
        *("sender", "created", "timestamp", "from", "to", "by", *TEXT_NAMES),
    )
)
"""What columns are often called: a first row with such a field is a header."""
_NAME = re.compile(r"[^\W\d][\w.#/-]{0,29}( [\w.#/-]{1,20}){0,2}")
"""What a column may be called, if nothing else says that the first row is a header."""


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """What the first rows of a file show."""

    delimiter: str
    header: tuple[str, ...]
    """The names of the columns; their numbers, from 1, if the file does not name them."""
    has_header: bool
    is_guess: bool = False
    """Whether the first row may as well be one of the others."""
    has_quotes: bool = True
    """Whether fields may stand in quotes; else quotes are text."""

    def describe(self) -> str:
        """In words, after the number of rows."""
        shown = {"\t": "tab", ",": "a comma", " ": "a blank"}.get(self.delimiter, self.delimiter)
        words = [f"delimiter {shown}"]
        if not self.has_header:
            words.append("no header")
        elif self.is_guess:
            words.append(f"first row taken as header ({' | '.join(self.header)})")
        if not self.has_quotes:
            words.append("quotes taken as text")
        return ", ".join(words)

    def reader(self, lines: Iterable[str], *, strict: bool = False) -> Any:
        """Divides lines into rows of fields."""
        if not self.has_quotes:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)
        return csv.reader(lines, delimiter=self.delimiter, strict=strict)


def read_csv(content: Content, reading: Reading) -> tuple[CsvFormat, Iterator[tuple[Place, Row]]]:
    """What a file looks like, and its rows; a row that is too short has None in its last columns.

    Raises:
        CorpusError: the file is empty; or while it is read: it is damaged.
    """
    # The limit is global to the process. It is never lowered, so another reader loses nothing.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARACTERS))
    with content.open(reading) as stream:
        head = list(islice(read_table_lines(stream, content.name, reading), 4 * _HEAD_ROWS))
    first = next((number for number, line in enumerate(head) if line.strip()), None)
    if first is None:
        raise CorpusError(f"{content.name}: the file is empty")
    if _is_json(head[first]):
        raise CorpusError(f"{content.name}: holds JSON, and no table; name the file .json")
    said = _SEPARATOR_LINE.fullmatch(head[first].strip(' "'))
    skipped = first + 1 if said else first
    delimiter = reading.field_delimiter or (said and said[1]) or None
    if delimiter is None:
        delimiter = _find_delimiter(head[skipped:], "\t" if content.suffix == ".tsv" else ",")
    found = CsvFormat(delimiter=delimiter, header=(), has_header=False)
    if delimiter == "\t" and _has_loose_quotes(head[skipped:], found):
        found = replace(found, has_quotes=False)
    rows = _parsed(head[skipped:], found)
    if not rows:
        raise CorpusError(f"{content.name}: the table has no rows")
    named = [name for name in (reading.column, reading.label_column) if name is not None]
    has_header, is_guess = _has_header(rows, named)
    numbers = tuple(str(number) for number in range(1, len(rows[0]) + 1))
    header = numbers
    if has_header and not set(named) & set(numbers):
        header = _names(rows[0])
    found = replace(found, header=header, has_header=has_header, is_guess=is_guess)
    return found, _rows(content, reading, found, skipped)


def _is_json(line: str) -> bool:
    """Whether a line begins JSON: a bracket alone, or a value that is no single text."""
    if line.strip() in ("{", "["):
        return True
    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(line), dict | list)
    return False


def _names(first: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns: the fields of a header, or numbers where it does not tell."""
    names: list[str] = []
    for number, field in enumerate(first, 1):
        name = field.strip() or str(number)
        names.append(name if name not in names else f"{name} ({number})")
    return tuple(names)


def _rows(
    content: Content, reading: Reading, found: CsvFormat, skipped: int
) -> Iterator[tuple[Place, Row]]:
    shown, header, width = content.shown, found.header, len(found.header)
    is_header = found.has_header
    with content.open(reading) as stream:
        at_end = False

        def lines() -> Iterator[str]:
            nonlocal at_end
            for line in islice(read_table_lines(stream, content.name, reading), skipped, None):
                yield f"{line}\n"
            at_end = True

        reader = found.reader(lines())
        before = skipped
        try:
            for fields in reader:
                if at_end:  # a row that ends with the file instead of a line lacks a quote
                    reason = f"the quote in line {before + 1:,} is not closed"
                    raise unreadable(content.name, "csv", reason)
                line, before = before + 1, skipped + reader.line_num
                if not fields:
                    continue
                if is_header:
                    is_header = False
                    continue
                if len(fields) > width:
                    if any(fields[width:]):
                        reason = _too_many(len(fields), width)
                        raise unreadable(f"{content.name}:{line}", "csv", reason)
                    del fields[width:]
                place = Place(name=shown, line=line)
                if before > line:
                    place = PlaceOfLines(name=shown, line=line)
                values = [*fields, *[None] * (width - len(fields))]
                yield place, dict(zip(header, values, strict=True))
        except csv.Error as error:
            raise unreadable(f"{content.name}:{before + 1}", "csv", str(error)) from error


def _too_many(fields: int, width: int) -> str:
    if width == 1:
        whole = ("read whole lines with", option("--delimiter", "tab"))
        return f"{fields} fields, but 1 column in the first row" + ways(
            "put quotes around the texts", whole
        )
    named = ("name", any_of("--delimiter"))
    return f"{fields} fields, but {width} columns in the first row" + ways(
        "put quotes around them", named
    )


def _parsed(lines: Iterable[str], found: CsvFormat) -> list[list[str]]:
    """The first rows."""
    rows: list[list[str]] = []
    with suppress(csv.Error):  # reading it again names the line
        for fields in found.reader(io.StringIO("\n".join(lines), newline="\n")):
            if fields:
                rows.append(fields)
            if len(rows) >= _HEAD_ROWS:
                break
    return rows


def _has_loose_quotes(lines: Sequence[str], found: CsvFormat) -> bool:
    """Whether a field begins with a quote that does not end with the field."""
    text = "".join(f"{line}\n" for line in lines[:_HEAD_ROWS])
    try:
        for _ in found.reader(io.StringIO(text, newline="\n"), strict=True):
            pass
    except csv.Error:
        # A quoted field may go on after these lines; then the last of them is inside it.
        return len(lines) <= _HEAD_ROWS or any(map(_LOOSE_QUOTE.search, lines[:_HEAD_ROWS]))
    return False


def _find_delimiter(lines: Sequence[str], usual: str) -> str:
    """The delimiter that gives most rows the same number of fields, above one."""
    best, best_score = usual, (0.0, 0)
    for delimiter in (usual, *(other for other in _DELIMITERS if other != usual)):
        # The commas of numbers and of prose divide nothing, if something else does.
        given = [_WEAK_COMMA.sub(".", line) for line in lines] if delimiter == "," else lines
        found = CsvFormat(delimiter=delimiter, header=(), has_header=False)
        # Some programs end each row with a delimiter, but not the first.
        widths = [len(fields) - (fields[-1] == "") for fields in _parsed(given, found)]
        wide = Counter(width for width in widths if width > 1)
        if not wide:
            continue
        width, count = max(wide.items(), key=lambda item: (item[1], item[0]))
        # A row may be short; one with too many fields shows that this is not the delimiter.
        fitting = sum(1 for other in widths if other <= width)
        share = count / len(widths) if fitting == len(widths) else count / len(widths) / 2
        # Text has commas too: a delimiter also divides the first row.
        if widths[0] == width and (share, width) > best_score and share > 0.4:
            best, best_score = delimiter, (share, width)
    return best


def _has_header(rows: Sequence[Sequence[str]], named: Sequence[str]) -> tuple[bool, bool]:
    """Whether the first row names the columns, and whether that is a guess."""
    first, rest = [field.strip() for field in rows[0]], rows[1:]
    numbers = {str(number) for number in range(1, len(first) + 1)}
    if any(name in first and name not in numbers for name in named):
        return True, False
    if named and not set(named) <= numbers:
        return True, False  # so that the columns that there are can be listed
    names = [name.lower() for name in first if name]
    if not names or any(map(_NUMBER.fullmatch, names)):
        return False, False
    if any(name in _COMMON_NAMES for name in names):
        return True, False
    if len(names) < len(first) or len(set(names)) < len(names):
        return False, False
    columns = [
        [row[number] for row in rest if number < len(row) and row[number].strip()]
        for number in range(len(first))
    ]
    if any(values and all(map(_NUMBER.fullmatch, values)) for values in columns):
        return True, False
    # What follows is a guess; who numbers the columns says that they have no names.
    if named or not all(map(_NAME.fullmatch, first)):
        return False, False
    if len(first) > 1:
        return not any(name in values for name, values in zip(first, columns, strict=True)), True
    # A list of short texts mostly has no header; its first line must differ from the others.
    lengths = [len(value) for value in columns[0]]
    return len(lengths) > 1 and sum(lengths) / len(lengths) > 4 * len(first[0]), True


def is_text_field(name: str, value: str | None) -> bool:
    """Whether a field shows that its column is text: neither a number nor a date nor nothing."""
    return value is not None and (name.lower() == "text" or not _NUMBER.fullmatch(value))
