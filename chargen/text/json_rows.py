"""Rows of .json, .jsonl and .ndjson files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chargen.errors import CorpusError
from chargen.hints import option, ways
from chargen.text.columns import Located
from chargen.text.compressed import read_whole
from chargen.text.contents import Content
from chargen.text.reader import read_all, read_table_lines
from chargen.text.reading import Place, Reading, unreadable

TEXT_COLUMN = "text"
"""What the column of a list of plain strings is called."""
_MAX_SEARCHED_LEVELS = 6
"""How deep a list of rows is looked for."""


def read_json_lines(content: Content, reading: Reading) -> Iterator[Located]:
    """The object of each line that is not empty.

    Raises:
        CorpusError: a line holds no object.
    """
    with content.open(reading) as stream:
        lines = read_table_lines(stream, content.name, reading)
        for number, line in enumerate(lines, 1):
            where = f"{content.name}:{number}"
            if not line.strip():
                continue
            row = _parsed(line, where, "jsonl")
            if isinstance(row, str):
                row = {TEXT_COLUMN: row}
            if not isinstance(row, dict):
                reason = f"the line holds {type(row).__name__}, not an object"
                raise unreadable(where, "jsonl", reason)
            yield Place(name=content.shown, line=number, is_one_line=True), row


def load_json(content: Content, reading: Reading) -> Any:
    """The value that a file holds.

    Raises:
        CorpusError: the file is too large, or no JSON.
    """
    with content.open(reading) as stream:
        data = read_whole(stream, content.name, "JSON")
    if not data.strip():
        raise CorpusError(f"{content.name}: the file is empty")
    text = read_all(data, content.name, reading)
    assert isinstance(text, str)
    return _parsed(text, content.name, "json")


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
            row if isinstance(row, Mapping) else {TEXT_COLUMN: row},
        )
        for number, row in enumerate(rows, 1)
        if isinstance(row, Mapping | str)
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
    found = _lists_of_rows(value)
    if len(found) == 1:
        return found[0]
    if isinstance(value, Mapping) and value and all(isinstance(v, Mapping) for v in value.values()):
        return "", list(value.values())  # rows by their names
    if found:
        paths = ", ".join(path for path, _ in found[:8])
        way = ways(("name the list and its column with", option("--column", "LIST.NAME")))
        raise CorpusError(f"{content.name}: which list holds the text?{way}; there are: {paths}")
    raise CorpusError(
        f"{content.name}: no list of rows in it; give a list of texts or of objects with a text"
    )


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
            rows = [item for item in found if all(isinstance(row, dict) for row in item[1])]
            return rows or found
        level = inner[:10_000]
    return []


def inner_column(column: str | None, path: str) -> str | None:
    """A column of the rows, without the path to their list.

    >>> inner_column("messages.content", "messages"), inner_column("content", "messages")
    ('content', 'content')
    """
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
        if error.pos >= len(text.rstrip()):
            reason = "it is cut off" if kind == "json" else f"{reason} (is it cut off?)"
        raise unreadable(where, kind, reason) from error
    except ValueError as error:  # a number of too many digits
        raise unreadable(where, kind, str(error).split(";")[0]) from error
