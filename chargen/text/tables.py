"""Tables: the text of each row, whatever the format; the formats are read by other files."""

from __future__ import annotations

from collections.abc import Iterator

from chargen.errors import CorpusError
from chargen.hints import option, ways
from chargen.text import hub
from chargen.text.columns import (
    TABLE_SUFFIXES,
    Located,
    TextColumn,
    row_documents,
    text_candidates,
)
from chargen.text.contents import Content
from chargen.text.csv_rows import is_text_field, read_csv
from chargen.text.json_rows import (
    inner_column,
    is_json_lines,
    json_rows,
    load_json,
    read_json_lines,
)
from chargen.text.reading import AUTO, Document, Hasher, Reading

__all__ = ["TABLE_SUFFIXES", "table_documents"]
_HEAD_ROWS = 1000
"""Rows of JSON in which the column of the text is looked for."""


def table_documents(
    content: Content, suffix: str, reading: Reading, hasher: Hasher
) -> Iterator[Document]:
    """The text of each row of a table; notes what was found.

    Args:
        content: the table.
        suffix: one of `TABLE_SUFFIXES`.
        reading: how it is read.
        hasher: is updated with the texts.

    Raises:
        CorpusError: it is damaged, empty, or has no column of text.
    """
    column = TextColumn(name=content.name, reading=reading)
    rows: Iterator[Located]
    if suffix in (".csv", ".tsv"):
        found, rows = read_csv(content, reading)
        if reading.column is None:
            head = (row for _, row in read_csv(content, reading)[1])
            column.candidates = text_candidates(head, is_text_field)
        yield from row_documents(rows, column, hasher, found.describe)
    elif suffix == ".json" and not is_json_lines(content, reading):
        value = load_json(content, reading)
        if _may_be_chat(value):
            reading.note(
                f"{content.shown}: looks like the export of a chat"
                + ways(("to read it as NAME: message, use", option("--chat")))
            )
        path, rows = json_rows(value, content, reading)
        shown_path = f"list {path}" if path else ""
        inner = inner_column(reading.column, path)
        column = TextColumn(name=content.name, reading=reading, wanted=inner, head_rows=_HEAD_ROWS)
        yield from row_documents(rows, column, hasher, lambda: shown_path)
    elif suffix == ".parquet":
        if content.path is None:
            raise CorpusError(f"{content.name}: a .parquet file in an archive; unpack it first")
        if reading.encoding not in (None, AUTO):
            raise CorpusError(
                f"{content.name}: --encoding has no effect on .parquet files, which are UTF-8"
            )
        if content.path.stat().st_size == 0:
            raise CorpusError(f"{content.name}: the file is empty")
        rows = hub.parquet_rows(content.path, content.shown)
        yield from row_documents(rows, column, hasher)
    else:
        column.head_rows = _HEAD_ROWS
        rows = read_json_lines(content, reading)
        yield from row_documents(rows, column, hasher)


def _may_be_chat(value: object) -> bool:
    messages = value.get("messages") if isinstance(value, dict) else None
    return isinstance(messages, list) and any(
        isinstance(message, dict) and bool({"from", "author", "sender_name"} & message.keys())
        for message in messages[:20]
    )
