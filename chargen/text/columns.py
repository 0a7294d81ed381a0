"""Which column of a table is the text, and the text of each row as a document.

The formats are read by csv_rows.py, json_rows.py and hub.py. A row is a mapping from the names of
columns to values; in JSON, a column can also be a path, such as `messages.content`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from chargen.errors import CorpusError
from chargen.hints import option, ways
from chargen.text.reading import Document, Hasher, Place, Reading

TEXT_NAMES = (
    *("text", "content", "body", "message", "sentence"),
    *("quote", "lyrics", "poem", "comment"),
)
"""What columns of text are often called, the most telling name first."""
_HEAD_ROWS = 1000
"""Rows in which the column of the text is looked for."""
_MAX_LISTED_COLUMNS = 50
_MAX_LEVELS = 20
"""How deep the parts of a text may be nested."""
TABLE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"})

Row = Mapping[str, Any]
Located = tuple[Place, Row]


@dataclass(frozen=True, kw_only=True)
class PlaceOfLines(Place):
    """The place of a row with line ends in its fields, which so stand in several lines."""

    def of_column(self, row: Row, column: str) -> Place:
        """The place where a column of the row begins."""
        before = takewhile(lambda name: name != column, row)
        above = sum((row[name] or "").count("\n") for name in before)
        return Place(name=self.name, line=(self.line or 1) + above)


@dataclass(kw_only=True)
class TextColumn:
    """Finds the column of the text, and counts the rows that have none.

    Args:
        name: how errors call the table.
        reading: its `column` is taken, if it names one.
        candidates: the columns that hold text; None takes those with text in the first row that
            has any.
        head_rows: rows in which `column` must appear.
        wanted: the column, where that is not the reading's.
    """

    name: str
    reading: Reading
    wanted: str | None = None
    candidates: Sequence[str] | None = None
    head_rows: int = 1
    chosen: str | None = None
    rows: int = 0
    without_text: int = 0
    _seen: dict[str, None] = field(default_factory=dict)
    _nested: bool = False

    def __post_init__(self) -> None:
        """Takes the reading's column."""
        if self.wanted is None:
            self.wanted = self.reading.column

    def text(self, row: Row) -> str | None:
        """The text of the next row; None if it has none.

        Raises:
            CorpusError: the column is not known or holds something else.
        """
        self.rows += 1
        if self.chosen is None:
            self._choose(row)
        value = None if self.chosen is None else value_at(row, self.chosen)
        text = None if value is None else text_of(value)
        if text is None:
            if value is not None and not isinstance(value, list | dict):
                raise CorpusError(
                    f"{self.name}: column '{self.chosen}' holds {type(value).__name__}, not text, "
                    f"in row {self.rows}" + ways(("choose another with", _column_option()))
                )
            self.without_text += 1
        return text

    def _choose(self, row: Row) -> None:
        if len(self._seen) < _MAX_LISTED_COLUMNS:
            self._seen.update(dict.fromkeys(islice(_paths(row), _MAX_LISTED_COLUMNS)))
            self._nested |= any(isinstance(value, list | dict) for value in row.values())
        if self.wanted is None:
            self.chosen = self._find(row)
        elif value_at(row, self.wanted) is not None or self.wanted in row:
            self.chosen = self.wanted
        elif self.rows >= self.head_rows:
            raise self._missing()

    def _find(self, row: Row) -> str | None:
        """The column of the text, or None if this row has text in no column."""
        columns = self.candidates
        if columns is None:
            columns = [column for column, value in row.items() if isinstance(value, str)]
        if self.candidates is None:
            nested = [name for name in row if _holds_prose(row[name])]
            parts = [name for name in nested if text_of(row[name]) is not None]
            called = [name for name in parts if name.lower() in TEXT_NAMES]
            if not columns and len(called) == 1:
                return called[0]
            paths = [path for path in _paths(row) if text_of(value_at(row, path)) is not None]
            if not columns and len(paths) == 1:
                return paths[0]
            if columns and nested and not {name.lower() for name in columns} & set(TEXT_NAMES):
                self._ask(row)
        if not columns:
            return None
        if len(columns) == 1:
            return columns[0]
        for name in TEXT_NAMES:
            called = [column for column in columns if column.lower() == name]
            if len(called) == 1:
                return called[0]
        self._ask(row)
        return None

    def _ask(self, row: Row) -> None:
        column = _column_option()
        way = ways(("name one with", column) if column else "give a file with that column alone")
        raise CorpusError(
            f"{self.name}: which column holds the text?{way}; "
            f"there are: {', '.join(list(_paths(row))[:_MAX_LISTED_COLUMNS])}"
        )

    def finish(self) -> None:
        """Checks, after the last row, that a column was found.

        Raises:
            CorpusError: none was.
        """
        if self.chosen is not None or not self.rows:
            return
        if self.wanted is not None:
            raise self._missing()
        # In a CSV file all is text, also numbers; elsewhere a column of numbers is refused.
        path = _column_option() if self._nested else None
        way = ways("give another file", ("name a path such as messages.content with", path))
        if self.candidates is not None:
            way = ways(("choose one with", _column_option()))
        raise CorpusError(
            f"{self.name}: no column holds text{way}; there are: {', '.join(self._seen) or 'none'}"
        )

    def _missing(self) -> CorpusError:
        columns = ", ".join(self._seen) or "none"
        return CorpusError(f"{self.name}: no column '{self.wanted}'; there are: {columns}")


def row_documents(
    rows: Iterable[Located],
    column: TextColumn,
    hasher: Hasher,
    describe: Callable[[], str] = lambda: "",
) -> Iterator[Document]:
    """The text of each row as a document; says at the end what was found.

    Args:
        rows: each with its place.
        column: finds the text.
        hasher: is updated with the texts.
        describe: more words about the table, for the line that is noted after the last row.
    """
    reading = column.reading
    shown = column.name
    for place, row in rows:
        shown = place.name
        text = column.text(row)
        if text is None:
            continue
        text = update_hash(hasher, text.replace("\r\n", "\n").replace("\r", "\n"))
        if text:
            if isinstance(place, PlaceOfLines):
                place = place.of_column(row, str(column.chosen))
            yield Document(pieces=iter((text,)), place=place, label=_label(row, reading))
    column.finish()
    if not column.rows:
        raise CorpusError(f"{column.name}: the table has no rows")
    words = [f"{column.rows:,} {'row' if column.rows == 1 else 'rows'}", describe()]
    words.append(f"column {column.chosen}" if column.chosen else "")
    if column.without_text:
        words.append(f"{column.without_text:,} without text")
    reading.note(f"{shown}: {', '.join(filter(None, words))}")


def text_candidates(rows: Iterable[Row], is_text: Callable[[str, str | None], bool]) -> list[str]:
    """The columns with text in any of the first rows of a table whose fields are all strings."""
    columns: dict[str, None] = {}
    for number, row in enumerate(rows):
        if number >= _HEAD_ROWS:
            break
        for name, value in row.items():
            if is_text(name, value):
                columns[name] = None
    return list(columns)


def value_at(row: Any, path: str) -> Any:
    """The value of a column, or of a path through objects and lists; None if there is none.

    >>> value_at({"messages": [{"content": "a"}, {"content": "b"}]}, "messages.content")
    ['a', 'b']
    """
    if isinstance(row, Mapping) and path in row:
        return row[path]
    values, in_list = [row], False
    for key in path.split("."):
        next_values: list[Any] = []
        for value in values:
            inner = value if isinstance(value, list) else [value]
            in_list |= isinstance(value, list)
            next_values += [
                item[key] for item in inner if isinstance(item, Mapping) and key in item
            ]
        values = next_values
    values = [value for value in values if value is not None]
    if in_list or len(values) > 1:
        return values or None
    return values[0] if values else None


def text_of(value: Any) -> str | None:
    """A value as text: a string, or a list of parts, each a string or an object with a text."""
    return _text_of(value, _MAX_LEVELS)


def _text_of(value: Any, levels: int) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and levels:
        # Parts of one message follow each other; the messages of a conversation are lines.
        parts = [_part_text(part, levels - 1) for part in value]
        texts = [part for part in parts if part is not None]
        divider = "" if any(isinstance(part, Mapping) for part in value) else "\n"
        return divider.join(texts) if texts else None
    if isinstance(value, Mapping):
        return _part_text(value, levels)
    return None


def _part_text(part: Any, levels: int) -> str | None:
    if isinstance(part, list):
        return _text_of(part, levels)
    if isinstance(part, Mapping):
        part = next((part[name] for name in TEXT_NAMES if isinstance(part.get(name), str)), None)
    return part if isinstance(part, str) else None


def _holds_prose(value: Any, levels: int = 6) -> bool:
    """Whether some words stand anywhere inside a list or an object."""
    if isinstance(value, str):
        return levels < 6 and " " in value.strip()
    inner = value.values() if isinstance(value, Mapping) else value
    is_nested = isinstance(value, list | Mapping) and levels > 0
    return is_nested and any(_holds_prose(item, levels - 1) for item in islice(inner, 100))


def _paths(row: Row) -> Iterator[str]:
    """The columns of a row; of those that hold objects, the paths to their strings."""
    for name, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, Mapping) and inner:
            keys = [key for key, item in inner.items() if isinstance(item, str)]
            yield from (f"{name}.{key}" for key in keys or list(inner))
        else:
            yield str(name)


def update_hash(hasher: Hasher, text: str) -> str:
    """Adds a text to a hash; returns it without halves of characters, which no file can hold."""
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:  # JSON can spell a half of a character; '?' replaces it
        raw = text.encode("utf-8", "replace")
        text = raw.decode("utf-8")
    hasher.update(raw)
    return text


def _label(row: Row, reading: Reading) -> str | None:
    if reading.label_column is None:
        return None
    value = value_at(row, reading.label_column)
    if value is None or isinstance(value, list | Mapping):
        return None
    return str(value).strip() or None


def _column_option() -> str | None:
    return option("--column", "NAME")
