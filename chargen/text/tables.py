"""Rows of tables as documents, through the `datasets` library.

The only place that imports `datasets`, and only when a table is asked for: it takes two seconds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chargen.errors import CorpusError, NetworkError
from chargen.text.reading import Hasher, Pieces, Reading

TABLE_SUFFIXES = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
_HUB = "https://huggingface.co"
_CONNECT_TIMEOUT = 3.0


def local_rows(path: Path, column: str | None, notes: list[str]) -> Iterator[str]:
    """The text of each row of a .jsonl, .csv or .parquet file.

    Args:
        path: the file.
        column: the column that holds the text; None finds it, and says so in `notes`.
        notes: what a person should know is added.

    Raises:
        CorpusError: the file is damaged, empty, or has no such column.
    """
    if path.stat().st_size == 0:
        raise CorpusError(f"{path}: the file is empty")
    datasets = _datasets(online=False)
    try:
        table = datasets.load_dataset(
            TABLE_SUFFIXES[path.suffix.lower()],
            data_files=str(path),
            split="train",
            streaming=True,
        )
        yield from _texts(table, str(path), column, notes)
    except CorpusError:
        raise
    except Exception as error:  # datasets lets errors of pandas, pyarrow and json through
        raise CorpusError(f"{path}: cannot be read as {path.suffix[1:]}: {_line(error)}") from error


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
    for number, row in enumerate(table):
        columns = columns or list(row)
        if chosen is None:
            chosen = _column(row, name, column)
            if chosen is not None and column is None and len(columns) > 1:
                notes[:] = [f"{name}: the text is read from column '{chosen}'"]
        text = None if chosen is None else row[chosen]
        if text is None:
            continue
        if not isinstance(text, str):
            raise CorpusError(
                f"{name}: column '{chosen}' holds {type(text).__name__}, not text, "
                f"in row {number + 1}; choose another with --column"
            )
        yield text.replace("\r\n", "\n")
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
