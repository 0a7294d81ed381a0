"""Rows of tables as documents: .jsonl, .csv and .parquet files, and data sets of the Hub.

Values stay as they are in the file: '007' and '1e5' in a CSV file are not numbers. JSON lines and
CSV are read by the standard library. The rest is read by `datasets`, which is imported only when it
is needed, because the import takes seconds. All of them are streamed, a row at a time.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chargen.errors import CorpusError, NetworkError
from chargen.hints import option, ways
from chargen.text.growing import open_as_begun
from chargen.text.reader import (
    MARK,
    Hasher,
    Pieces,
    Reading,
    read_lines,
    recognise_encoding,
    way_to_read,
    whole_lines,
)

TABLE_SUFFIXES = frozenset({".jsonl", ".csv", ".parquet"})
_HUB = "https://huggingface.co"
_CONNECT_SECONDS = 3.0
_HEAD_BYTES = 1 << 20
"""Bytes of a CSV file by which its encoding is recognised."""
_HEAD_ROWS = 1000
"""Rows in which the column of the text is looked for."""
_MAX_FIELD_CHARACTERS = (1 << 31) - 1
"""The longest field of a CSV file; the largest limit that the standard library accepts anywhere."""
_MAX_LISTED_COLUMNS = 50
_NO_EVIDENCE = re.compile(r"\s*([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|true|false)?\s*", re.IGNORECASE)
"""A CSV field that does not show whether its column is text: a number, true, false or empty."""

Row = Mapping[str, Any]


def local_rows(path: Path, reading: Reading, notes: list[str]) -> Iterator[str]:
    """The text of each row of a .jsonl, .csv or .parquet file.

    Args:
        path: the file.
        reading: its `column` holds the text; None finds it, and says so in `notes`.
        notes: is replaced by what a person should know.

    Raises:
        CorpusError: the file is damaged, empty, or has no such column.
    """
    if path.stat().st_size == 0:
        raise CorpusError(f"{path}: the file is empty")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _reading(path, _csv_texts(path, reading, notes))
    if suffix == ".jsonl":
        rows = _jsonl_rows(path, reading)
        texts = _texts(rows, str(path), reading.column, notes, head_rows=_HEAD_ROWS)
        return _reading(path, texts)
    if reading.encoding is not None:
        raise CorpusError(
            f"{path}: --encoding has no effect on {path.suffix} files, which are UTF-8"
        )
    return _parquet_texts(path, reading, notes)


def _reading(path: Path, texts: Iterator[str]) -> Iterator[str]:
    try:
        yield from texts
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or error})") from error


def _jsonl_rows(path: Path, reading: Reading) -> Iterator[Row]:
    with open_as_begun(path, reading) as stream:
        lines = read_lines(stream, str(path), reading, in_table=True)
        for number, line in enumerate(lines, 1):
            try:
                if not line.strip():
                    continue
                row = json.loads(line)
            except RecursionError as error:
                raise _unreadable(f"{path}:{number}", "jsonl", "nested too deeply") from error
            except ValueError as error:
                raise _unreadable(f"{path}:{number}", "jsonl", _first_line(error)) from error
            if not isinstance(row, dict):
                reason = f"the line holds {type(row).__name__}, not an object"
                raise _unreadable(f"{path}:{number}", "jsonl", reason)
            yield row


def _csv_texts(path: Path, reading: Reading, notes: list[str]) -> Iterator[str]:
    encoding = reading.encoding
    if encoding is None:
        with path.open("rb") as stream:
            encoding = recognise_encoding(stream.read(_HEAD_BYTES), str(path), in_table=True)
    elif codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # a byte order mark is not a part of the first column's name
    candidates = None
    if reading.column is None:
        candidates = _text_columns(islice(_csv_rows(path, encoding, reading), _HEAD_ROWS))
    rows = _csv_rows(path, encoding, reading)
    yield from _texts(rows, str(path), reading.column, notes, candidates=candidates)


def _text_columns(rows: Iterable[Row]) -> list[str]:
    """The columns of a CSV file that hold text: not only numbers, or called `text`."""
    columns: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None and (name.lower() == "text" or not _NO_EVIDENCE.fullmatch(value)):
                columns[name] = None
    return list(columns)


def _csv_rows(path: Path, encoding: str, reading: Reading) -> Iterator[Row]:
    """The rows below the header; a row that is too short has None in its last columns."""
    # The limit is global to the process. It is never lowered, so another reader loses nothing.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARACTERS))
    at_end = False
    with io.TextIOWrapper(open_as_begun(path, reading), encoding, newline="") as stream:

        def lines() -> Iterator[str]:
            nonlocal at_end
            yield next(stream, "").removeprefix(MARK)
            yield from stream
            at_end = True

        reader = csv.reader(lines())
        header: list[str] | None = None
        try:
            for fields in reader:
                if at_end:  # a row that ends with the file instead of a line lacks a quote
                    reason = "a quote is not closed before the end of the file"
                    raise _unreadable(str(path), "csv", reason)
                if not fields:
                    continue
                if header is None:
                    header = fields
                    continue
                if len(fields) > len(header):
                    reason = f"{len(fields)} fields, but {len(header)} columns in the header"
                    raise _unreadable(f"{path}:{reader.line_num}", "csv", reason)
                missing = [None] * (len(header) - len(fields))
                yield dict(zip(header, [*fields, *missing], strict=True))
        except UnicodeError as error:
            wrong = whole_lines(error.object) if isinstance(error, UnicodeDecodeError) else b""
            raise CorpusError(
                f"{path}:{reader.line_num + 1}: not {encoding.removesuffix('-sig').upper()}"
                f"{way_to_read(wrong, in_table=True)}"
            ) from error
        except csv.Error as error:
            raise _unreadable(f"{path}:{reader.line_num}", "csv", str(error)) from error


def _parquet_texts(path: Path, reading: Reading, notes: list[str]) -> Iterator[str]:
    datasets = _import_datasets(online=False)
    with tempfile.TemporaryDirectory() as folder:
        # datasets reads a path as a pattern or a chain of addresses; this one is neither.
        plain_path = Path(folder, "table.parquet")
        try:
            plain_path.symlink_to(path.resolve())
        except OSError:  # Windows lets only some users make links
            shutil.copyfile(path, plain_path)
        try:
            table = datasets.load_dataset(
                "parquet", data_files=str(plain_path), split="train", streaming=True
            )
            yield from _texts(table, str(path), reading.column, notes)
        except CorpusError:
            raise
        except Exception as error:  # errors of pyarrow pass through datasets
            reason = _first_line(error).replace(str(plain_path), str(path))
            raise _unreadable(str(path), "parquet", reason) from error


def hub_rows(
    name: str,
    dataset: str,
    *,
    config: str | None = None,
    column: str | None = None,
    split: str = "train",
    **files: Any,
) -> Iterator[str]:
    """The text of each row of a data set of the Hub, streamed.

    Args:
        name: how messages call it.
        dataset: the name of the data set, or a builder ("text") with `data_files`.
        config: its configuration, if it has several.
        column: the column that holds the text; None finds it.
        split: the part to read.
        files: more arguments of `datasets.load_dataset`.

    Raises:
        NetworkError: the host does not answer and this machine has no copy.
        CorpusError: there is no such data set, configuration, split or column.
    """
    host = files.get("data_files") or os.environ.get("HF_ENDPOINT", _HUB)
    online = _is_reachable(str(host))
    if files and not online:
        raise NetworkError(_describe_unreachable(name, str(host)))
    datasets = _import_datasets(online=online)
    try:
        table = datasets.load_dataset(dataset, config, split=split, streaming=online, **files)
        yield from _texts(table, name, column, [])
    except CorpusError:
        raise
    except Exception as error:
        if not online:
            raise NetworkError(_describe_unreachable(name, str(host))) from error
        raise CorpusError(f"{name}: {_first_line(error)}") from error


def documents(rows: Iterator[str], reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
    """Each row that is not empty as a document of one piece."""
    for row in rows:
        try:
            raw = row.encode("utf-8")
        except UnicodeEncodeError:  # JSON can spell a half of a character; '?' replaces it
            raw = row.encode("utf-8", "replace")
            row = raw.decode("utf-8")
        hasher.update(raw)
        if row:
            yield iter((raw if reading.as_bytes else row,))


def _import_datasets(*, online: bool) -> Any:
    """The library. Offline it answers from its cache at once, instead of retrying the network."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets
    from huggingface_hub import constants

    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = not online
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its errors are raised as well
    return datasets


def _texts(
    rows: Iterable[Row],
    name: str,
    column: str | None,
    notes: list[str],
    *,
    candidates: Sequence[str] | None = None,
    head_rows: int = 1,
) -> Iterator[str]:
    """The text of each row that has one.

    Args:
        rows: the rows of the table.
        name: how messages call the table.
        column: the column of the text; None takes the only one with text, or the one called text.
        notes: is replaced by what a person should know.
        candidates: the columns that hold text; None takes those with text in their first row.
        head_rows: rows in which `column` must appear.
    """
    columns: dict[str, None] = {}
    chosen: str | None = None
    new_notes = []
    count = empty = 0
    for row in rows:
        count += 1
        if chosen is None:
            if len(columns) < _MAX_LISTED_COLUMNS:
                columns.update(dict.fromkeys(list(row)[:_MAX_LISTED_COLUMNS]))
            if column is None:
                chosen = _find_column(row, name, candidates)
            elif column in row:
                chosen = column
            elif count >= head_rows:
                raise _no_column(name, column, columns)
            if chosen is not None and column is None and len(columns) > 1:
                new_notes = [f"{name}: the text is read from column '{chosen}'"]
        text = None if chosen is None else row.get(chosen)
        if text is None:
            empty += 1
            continue
        if not isinstance(text, str):
            raise CorpusError(
                f"{name}: column '{chosen}' holds {type(text).__name__}, not text, "
                f"in row {count}" + ways(("choose another with", option("--column", "NAME")))
            )
        yield text.replace("\r\n", "\n")
    if empty and chosen is not None:
        new_notes.append(f"{name}: {empty:,} of {count:,} rows have no text in column '{chosen}'")
    notes[:] = new_notes
    if chosen is None and columns:
        if column is not None:
            raise _no_column(name, column, columns)
        # In a CSV file all is text, also numbers; elsewhere a column of numbers is refused.
        way = ways("give another file")
        if candidates is not None:
            way = ways(("choose one with", option("--column", "NAME")))
        raise CorpusError(f"{name}: no column holds text{way}; there are: {', '.join(columns)}")


def _find_column(row: Row, name: str, candidates: Sequence[str] | None) -> str | None:
    """The column of the text, or None if this row has text in no column."""
    if candidates is None:
        candidates = [column for column, value in row.items() if isinstance(value, str)]
    if not candidates:
        return None
    called_text = [column for column in candidates if column.lower() == "text"]
    choices = called_text or candidates
    if len(choices) != 1:
        column = option("--column", "NAME")
        way = ways(("name one with", column) if column else "give a file with that column alone")
        raise CorpusError(
            f"{name}: which column holds the text?{way}; "
            f"there are: {', '.join(list(row)[:_MAX_LISTED_COLUMNS])}"
        )
    return choices[0]


def _no_column(name: str, column: str, columns: Iterable[str]) -> CorpusError:
    return CorpusError(f"{name}: no column '{column}'; there are: {', '.join(columns)}")


def _unreadable(where: str, kind: str, reason: str) -> CorpusError:
    return CorpusError(f"{where}: cannot be read as {kind}: {reason}")


def _is_reachable(address: str) -> bool:
    """Whether the host takes connections; `datasets` itself would retry for half a minute."""
    parts = urlsplit(address.rpartition("::")[2])
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _describe_unreachable(name: str, address: str) -> str:
    host = urlsplit(address.rpartition("::")[2]).hostname
    return (
        f"{name}: no network ({host} does not answer) and no copy on this machine; "
        "use a file, or builtin:python-docs, which needs none"
    )


def _first_line(error: BaseException) -> str:
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
