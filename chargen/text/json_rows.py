"""Rows of .json, .jsonl and .ndjson files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chargen.errors import CorpusError
from chargen.hints import option, ways
from chargen.text.columns import TEXT_NAMES, Located, text_of, value_at
from chargen.text.compressed import read_whole
from chargen.text.contents import Content
from chargen.text.reader import read_table_lines, read_text
from chargen.text.reading import Place, Reading, unreadable

TEXT_COLUMN = "text"
"""What the column of a list of plain strings is called."""
_HEAD_BYTES = 1 << 20
_MAX_SEARCHED_LEVELS = 6
"""How deep a list of rows is looked for."""


def read_json_lines(content: Content, reading: Reading) -> Iterator[Located]:
    """The object of each line that is not empty.

    Raises:
        CorpusError: a line holds no object, or there is none.
    """
    is_empty = True
    with content.open(reading) as stream:
        lines = read_table_lines(stream, content.name, reading)
        for number, row in json_values(lines, content.name):
            is_empty = False
            if isinstance(row, str):
                row = {TEXT_COLUMN: row}
            if not isinstance(row, dict):
                reason = f"the line holds {type(row).__name__}, not an object"
                reason += "; name the file .json" if isinstance(row, list) else ""
                raise unreadable(f"{content.name}:{number}", "jsonl", reason)
            yield Place(name=content.shown, line=number, is_one_line=True), row
    if is_empty:
        raise CorpusError(f"{content.name}: the file is empty")


def json_values(lines: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    """The number, from 1, and the value of each line that is not empty.

    Raises:
        CorpusError: a line holds no JSON.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _parsed(line, f"{name}:{number}", "jsonl")


def load_json(content: Content, reading: Reading) -> Any:
    """The value that a file holds.

    Raises:
        CorpusError: the file is too large, or no JSON.
    """
    with content.open(reading) as stream:
        data = read_whole(stream, content.name, "JSON")
    if not data.strip():
        raise CorpusError(f"{content.name}: the file is empty")
    return _parsed(read_text(data, content.name, reading), content.name, "json")


def is_json_lines(content: Content, reading: Reading) -> bool:
    """Whether a .json file holds an object in each line, as many programs write it."""
    with content.open(reading) as stream:
        head = stream.read(_HEAD_BYTES)
    first, *others = [line for line in head.splitlines() if line.strip()][:2] or [b""]
    if not others or not first.rstrip().endswith(b"}"):
        return False
    try:
        return isinstance(json.loads(first.decode("utf-8-sig", "replace")), dict)
    except (ValueError, RecursionError):
        return False


def json_rows(value: Any, content: Content, reading: Reading) -> tuple[str, Iterator[Located]]:
    """The rows of a value that holds a list of them, and the path to that list.

    Args:
        value: what the file holds.
        content: its name.
        reading: the first parts of its `column` may be the path to the rows.

    Raises:
        CorpusError: there is no list of rows, or more than one.
    """
    path, rows = _find_rows(value, content, reading.column)
    located = (
        (
            Place(name=content.shown, row=number),
            row if isinstance(row, Mapping) else {TEXT_COLUMN: _joined(row)},
        )
        for number, row in enumerate(rows, 1)
    )
    return path, located


def _find_rows(value: Any, content: Content, column: str | None) -> tuple[str, list[Any]]:
    if isinstance(value, list):
        return "", value
    if column is not None:
        keys = column.split(".")
        inner = value
        for number, key in enumerate(keys):
            inner = inner.get(key) if isinstance(inner, Mapping) else None
            if isinstance(inner, list):
                return ".".join(keys[: number + 1]), inner
    if isinstance(value, Mapping) and value:
        inner = list(value.values())
        if all(isinstance(row, Mapping) for row in inner) and _share_a_text(inner):
            return "", inner  # rows by their names
        if len(inner) > 1 and all(isinstance(row, str) for row in inner):
            is_one = _has_text(value) or column in value
            return "", [value] if is_one else inner
    found = _lists_of_rows(value)
    of_rows = [item for item in found if any(isinstance(row, Mapping) for row in item[1])]
    telling = [item for item in of_rows if any(map(_has_text, item[1][:1]))]
    named = column is not None and value_at(value, column) is not None
    if named or (_has_text(value) and not telling):
        return "", [value]
    best = telling or of_rows or found
    if len(best) == 1:
        return best[0]
    if found:
        paths = ", ".join(path for path, _ in found[:8])
        way = ways(("name the list and its column with", option("--column", "LIST.NAME")))
        raise CorpusError(f"{content.name}: which list holds the text?{way}; there are: {paths}")
    raise CorpusError(
        f"{content.name}: no list of rows in it; give a list of texts or of objects with a text"
    )


def _joined(row: Any) -> Any:
    return text_of(row) if isinstance(row, list) else row


def _has_text(value: Any) -> bool:
    """Whether an object has a text under one of the names that texts usually have."""
    names = TEXT_NAMES if isinstance(value, Mapping) else ()
    return any(isinstance(value.get(name), str) for name in names)


def _share_a_text(rows: list[Any]) -> bool:
    """Whether several objects, one for each name, have a string under the same key."""
    keys = [{key for key, value in row.items() if isinstance(value, str)} for row in rows[:100]]
    return len(rows) > 1 and bool(set.intersection(*keys))


def _lists_of_rows(value: Any) -> list[tuple[str, list[Any]]]:
    """The lists of objects or strings that are least deep in a value, with their paths."""
    level = [("", value)]
    for _ in range(_MAX_SEARCHED_LEVELS):
        inner = [
            (f"{path}.{key}" if path else str(key), child)
            for path, parent in level
            if isinstance(parent, Mapping)
            for key, child in parent.items()
        ]
        found = [
            (path, child)
            for path, child in inner
            if isinstance(child, list) and child and all(isinstance(r, dict | str) for r in child)
        ]
        if found:
            return found
        level = inner[:10_000]
    return []


def inner_column(column: str | None, path: str) -> str | None:
    """A column of the rows, without the path to their list.

    >>> inner_column("messages.content", "messages"), inner_column("content", "messages")
    ('content', 'content')
    """
    if path and column == path:
        return TEXT_COLUMN
    if column is None or not path or not column.startswith(f"{path}."):
        return column
    return column.removeprefix(f"{path}.")


def _parsed(text: str, where: str, kind: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise unreadable(where, kind, "nested too deeply") from error
    except json.JSONDecodeError as error:
        reason = error.msg if kind == "jsonl" else f"{error.msg} in line {error.lineno:,}"
        if kind == "json" and error.msg == "Extra data":
            reason += "; if each line is a value of its own, name the file .jsonl"
        value = text.strip()
        is_open = value[:1] in ("{", "[") and value[-1:] not in ("}", "]")
        if error.pos >= len(text.rstrip()) or is_open:
            reason = "it is cut off" if kind == "json" else "the line is cut off"
            if kind == "jsonl" and value in ("[", "{"):
                reason = "the value goes on in the next line; name the file .json"
        raise unreadable(where, kind, reason) from error
    except ValueError as error:  # a number of too many digits
        raise unreadable(where, kind, str(error).split(";")[0]) from error
