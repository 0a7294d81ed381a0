"""Rows of .csv and .tsv files as their programs write them: delimiters, headers, quotes.

Nothing is converted: '007' and '1e5' are texts. What the file does not say is found in its first
rows, and a line tells what was found.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from chargen.errors import CorpusError
from chargen.hints import any_of, ways
from chargen.text.columns import TEXT_NAMES, Row
from chargen.text.contents import Content
from chargen.text.reader import read_table_lines
from chargen.text.reading import Place, Reading, unreadable

_DELIMITERS = (",", ";", "\t", "|")
_HEAD_ROWS = 200
"""Rows by which the delimiter and the header are found."""
_MAX_FIELD_CHARACTERS = (1 << 31) - 1
"""The longest field of a CSV file; the largest limit that the standard library accepts anywhere."""
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
_NAME = re.compile(r"[^\W\d][\w .#/-]{0,39}")
"""What a column may be called, if nothing else says that the first row is a header."""


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """What the first rows of a file show."""

    delimiter: str
    header: tuple[str, ...]
    """The names of the columns; their numbers, from 1, if the file does not name them."""
    has_header: bool

    def describe(self) -> str:
        """In words, after the number of rows."""
        shown = {"\t": "tab", ",": "a comma", " ": "a blank"}.get(self.delimiter, self.delimiter)
        return f"delimiter {shown}" + ("" if self.has_header else ", no header")


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
    said = _SEPARATOR_LINE.fullmatch(head[first].strip())
    skipped = first + 1 if said else first
    delimiter = reading.field_delimiter or (said and said[1]) or None
    if delimiter is None:
        delimiter = _find_delimiter(head[skipped:], "\t" if content.suffix == ".tsv" else ",")
    rows = _parsed(head[skipped:], delimiter)
    if not rows:
        raise CorpusError(f"{content.name}: the table has no rows")
    named = (reading.column, reading.label_column)
    has_header = _has_header(rows, [name for name in named if name is not None])
    numbers = tuple(str(number) for number in range(1, len(rows[0]) + 1))
    found = CsvFormat(
        delimiter=delimiter,
        header=tuple(rows[0]) if has_header else numbers,
        has_header=has_header,
    )
    return found, _rows(content, reading, found, skipped)


def _rows(
    content: Content, reading: Reading, found: CsvFormat, skipped: int
) -> Iterator[tuple[Place, Row]]:
    width = len(found.header)
    is_header = found.has_header
    with content.open(reading) as stream:
        at_end = False

        def lines() -> Iterator[str]:
            nonlocal at_end
            for line in islice(read_table_lines(stream, content.name, reading), skipped, None):
                yield f"{line}\n"
            at_end = True

        reader = csv.reader(lines(), delimiter=found.delimiter)
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
                    reason = f"{len(fields)} fields, but {width} columns in the first row"
                    if any_of("--delimiter"):
                        reason += ways("put quotes around them", f"name {any_of('--delimiter')}")
                    raise unreadable(f"{content.name}:{line}", "csv", reason)
                values = [*fields, *[None] * (width - len(fields))]
                yield _place(content, line, fields), dict(zip(found.header, values, strict=True))
        except csv.Error as error:
            raise unreadable(f"{content.name}:{before + 1}", "csv", str(error)) from error


@dataclass(frozen=True, kw_only=True)
class CsvPlace(Place):
    """The place of a row; its fields may hold line ends, and so stand in other lines."""

    fields: tuple[str, ...] = ()

    def of_field(self, number: int) -> Place:
        """The place of a field, from 0."""
        above = sum(field.count("\n") for field in self.fields[:number])
        return Place(name=self.name, line=(self.line or 1) + above)


def _place(content: Content, line: int, fields: Sequence[str]) -> Place:
    return CsvPlace(name=content.shown, line=line, fields=tuple(fields))


def _parsed(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """The first rows; a row that the end of the lines cuts off is left out."""
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for fields in reader:
            if fields:
                rows.append(fields)
            if len(rows) >= _HEAD_ROWS:
                break
    except csv.Error:
        pass  # reading it again names the line
    return rows


def _find_delimiter(lines: Sequence[str], usual: str) -> str:
    """The delimiter that gives most rows the same number of fields, above one."""
    best, best_score = usual, (0.0, 0)
    for delimiter in (usual, *(other for other in _DELIMITERS if other != usual)):
        widths = [len(fields) for fields in _parsed(lines, delimiter)]
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


def _has_header(rows: Sequence[Sequence[str]], named: Sequence[str]) -> bool:
    """Whether the first row names the columns."""
    first, rest = rows[0], rows[1:]
    names = [field.strip().lower() for field in first]
    if any(name in first for name in named):
        return True
    if named:  # columns without names are called by their numbers
        return not all(name.isdecimal() and 0 < int(name) <= len(first) for name in named)
    if not all(names) or len(set(names)) < len(names) or any(map(_NUMBER.fullmatch, first)):
        return False
    if any(name in _COMMON_NAMES for name in names):
        return True
    columns = [
        [row[number] for row in rest if number < len(row) and row[number].strip()]
        for number in range(len(first))
    ]
    if any(values and all(map(_NUMBER.fullmatch, values)) for values in columns):
        return True
    if not all(map(_NAME.fullmatch, first)):
        return False
    if len(first) > 1:
        return not any(field in values for field, values in zip(first, columns, strict=True))
    # A list of short texts mostly has no header; its first line must differ from the others.
    lengths = [len(value) for value in columns[0]]
    return len(lengths) > 1 and sum(lengths) / len(lengths) > 4 * len(first[0])


def is_text_field(name: str, value: str | None) -> bool:
    """Whether a field shows that its column is text: neither a number nor a date nor nothing."""
    return value is not None and (name.lower() == "text" or not _NUMBER.fullmatch(value))
