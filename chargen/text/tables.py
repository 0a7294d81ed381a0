"""Rows of tables as documents, through the `datasets` library.

The only place that imports `datasets`, and only when a table is asked for: it takes two seconds.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chargen.errors import CorpusError, NetworkError
from chargen.text.reader import Hasher, Pieces, Reading, marked_encoding

TABLE_SUFFIXES = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
_HUB = "https://huggingface.co"
_CONNECT_TIMEOUT = 3.0
_DEEPEST = 500


def local_rows(path: Path, reading: Reading, notes: list[str]) -> Iterator[str]:
    """The text of each row of a .jsonl, .csv or .parquet file.

    Args:
        path: the file.
        reading: its `column` holds the text; None finds it, and says so in `notes`.
        notes: becomes what a person should know.

    Raises:
        CorpusError: the file is damaged, empty, or has no such column.
    """
    if path.stat().st_size == 0:
        raise CorpusError(f"{path}: the file is empty")
    kind = TABLE_SUFFIXES[path.suffix.lower()]
    options: dict[str, Any] = {}
    if kind == "csv":
        # "NA" and "null" are words before they are missing values.
        options = {"encoding": reading.encoding or marked_encoding(path), "keep_default_na": False}
    elif reading.encoding is not None:
        raise CorpusError(
            f"{path}: --encoding has no effect on {path.suffix} files, which are UTF-8"
        )
    if kind == "json" and _too_deep(path):
        raise CorpusError(f"{path}: cannot be read as jsonl: nested too deeply")
    datasets = _datasets(online=False)
    with tempfile.TemporaryDirectory() as folder:
        # datasets takes a path for a pattern or a chain of addresses; this one is neither.
        plain = Path(folder, f"table{path.suffix.lower()}")
        try:
            plain.symlink_to(path.resolve())
        except OSError:  # Windows lets not everybody make links
            shutil.copyfile(path, plain)
        try:
            table = datasets.load_dataset(
                kind, data_files=str(plain), split="train", streaming=True, **options
            )
            yield from _texts(table, str(path), reading.column, notes)
        except CorpusError:
            raise
        except Exception as error:  # datasets lets errors of pandas, pyarrow and json through
            reason = _line(error).replace(str(plain), str(path))
            raise CorpusError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from error


def _too_deep(path: Path) -> bool:
    """Whether a line nests deeper than the parser's own stack can bear."""
    with path.open("rb") as stream:
        for line in stream:
            if line.count(b"[") + line.count(b"{") > _DEEPEST:
                depth = deepest = 0
                for byte in line:
                    depth += (byte in b"[{") - (byte in b"]}")
                    deepest = max(deepest, depth)
                if deepest > _DEEPEST:
                    return True
    return False


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
        name: what the person called it.
        dataset: the data set's name, or a builder ("text") with `data_files`.
        config: its configuration, if it has several.
        column: the column that holds the text; None finds it.
        split: the part to read.
        files: passed on to `datasets.load_dataset`.

    Raises:
        NetworkError: the host does not answer and no copy is on this machine.
        CorpusError: there is no such data set, configuration, split or column.
    """
    host = files.get("data_files") or os.environ.get("HF_ENDPOINT", _HUB)
    online = _reachable(str(host))
    if files and not online:
        raise NetworkError(_unreachable(name, str(host)))
    datasets = _datasets(online=online)
    try:
        table = datasets.load_dataset(dataset, config, split=split, streaming=online, **files)
        yield from _texts(table, name, column, [])
    except CorpusError:
        raise
    except Exception as error:
        if not online:
            raise NetworkError(_unreachable(name, str(host))) from error
        raise CorpusError(f"{name}: {_line(error)}") from error


def documents(rows: Iterator[str], reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
    """Each row as a document of one piece."""
    for row in rows:
        raw = row.encode("utf-8", "replace")
        hasher.update(raw)
        if row:
            yield iter((raw if reading.as_bytes else row,))


def _datasets(*, online: bool) -> Any:
    """The library; offline it answers from its cache at once instead of trying again and again."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets
    from huggingface_hub import constants

    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = not online
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it raises is told once
    return datasets


def _texts(table: Any, name: str, column: str | None, notes: list[str]) -> Iterator[str]:
    columns: list[str] = []
    chosen: str | None = None
    found, rows, empty = [], 0, 0
    for number, row in enumerate(table):
        columns = columns or list(row)
        if chosen is None:
            chosen = _column(row, name, column)
            if chosen is not None and column is None and len(columns) > 1:
                found = [f"{name}: the text is read from column '{chosen}'"]
        text = None if chosen is None else row.get(chosen)
        rows += 1
        if text is None:
            empty += 1
            continue
        if not isinstance(text, str):
            raise CorpusError(
                f"{name}: column '{chosen}' holds {type(text).__name__}, not text, "
                f"in row {number + 1}; choose another with --column"
            )
        yield text.replace("\r\n", "\n")
    if empty and chosen is not None:
        found.append(f"{name}: {empty:,} of {rows:,} rows have no text in column '{chosen}'")
    notes[:] = found
    if chosen is None and columns:
        raise CorpusError(f"{name}: no column holds text; there are: {', '.join(columns)}")


def _column(row: dict[str, Any], name: str, column: str | None) -> str | None:
    """The column of the text, or None when this row has text in no column."""
    if column is not None:
        if column not in row:
            raise CorpusError(f"{name}: no column '{column}'; there are: {', '.join(row)}")
        return column
    texts = [one for one, value in row.items() if isinstance(value, str)]
    chosen = [one for one in texts if one.lower() == "text"] or texts
    if not texts:
        return None
    if len(chosen) != 1:
        raise CorpusError(
            f"{name}: which column holds the text? Name one with --column; "
            f"there are: {', '.join(row)}"
        )
    return chosen[0]


def _reachable(address: str) -> bool:
    """Whether the host takes connections; `datasets` itself would retry for half a minute."""
    parts = urlsplit(address.rpartition("::")[2])
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def _unreachable(name: str, address: str) -> str:
    host = urlsplit(address.rpartition("::")[2]).hostname
    return (
        f"{name}: no network ({host} does not answer) and no copy on this machine; "
        "use a file, or builtin:python-docs, which needs none"
    )


def _line(error: BaseException) -> str:
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
