"""Rows that the library `datasets` reads: .parquet files, and data sets of the Hub.

It is imported only when it is needed, because the import takes seconds. The rows are streamed.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chargen.errors import CorpusError, NetworkError
from chargen.text.columns import Located, Row, TextColumn, row_documents
from chargen.text.reading import Document, Hasher, Place, Reading, unreadable

_HUB = "https://huggingface.co"
_CONNECT_SECONDS = 3.0


def parquet_rows(path: Path, shown: str) -> Iterator[Located]:
    """The rows of a .parquet file.

    Args:
        path: the file.
        shown: how places call it.

    Raises:
        CorpusError: it is damaged.
    """
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
            yield from located_rows(table, shown)
        except CorpusError:
            raise
        except Exception as error:  # errors of pyarrow pass through datasets
            reason = _first_line(error).replace(str(plain_path), str(path))
            raise unreadable(str(path), "parquet", reason) from error


def hub_documents(
    name: str,
    dataset: str,
    reading: Reading,
    hasher: Hasher,
    *,
    config: str | None = None,
    split: str = "train",
    **files: Any,
) -> Iterator[Document]:
    """The text of each row of a data set of the Hub, streamed.

    Args:
        name: how messages call it.
        dataset: the name of the data set, or a builder ("text") with `data_files`.
        reading: names the column of the text.
        hasher: is updated with the texts.
        config: its configuration, if it has several.
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
        column = TextColumn(name=name, reading=reading)
        yield from row_documents(located_rows(table, name), column, hasher)
    except CorpusError:
        raise
    except Exception as error:
        if not online:
            raise NetworkError(_describe_unreachable(name, str(host))) from error
        raise CorpusError(f"{name}: {_first_line(error)}") from error


def located_rows(table: Iterable[Row], shown: str) -> Iterator[Located]:
    """The rows of a table with their numbers."""
    for number, row in enumerate(table, 1):
        yield Place(name=shown, row=number), row


def _import_datasets(*, online: bool) -> Any:
    """The library. Offline it answers from its cache at once, instead of retrying the network."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets
    from huggingface_hub import constants

    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = not online
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its errors are raised as well
    return datasets


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
