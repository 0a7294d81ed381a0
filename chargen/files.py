"""Writing files so that a reader finds the old one or the new one, never half of one.

Knows nothing of what is written. The order is the one of `man 2 rename` and `man 2 fsync`:
a temporary file in the same folder, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import glob
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from chargen.errors import ChargenError, UsageError


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; it takes the place of `path` when the block ends.

    If the block raises, `path` is as it was and the temporary file is gone.

    Raises:
        ChargenError: the folder is missing, not writable, or the disk is full.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        # mkstemp makes the file private; the result should follow the person's umask.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise ChargenError(
            f"{path}: cannot be written ({error.strerror or error}); what was there is unchanged"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Remove what `atomic_writer` leaves beside these files when it is killed in the middle."""
    for name in names:
        for left in folder.glob(f".{glob.escape(name)}.*"):
            with suppress(OSError):
                left.unlink()


@contextmanager
def locked(folder: Path, reason: str, *, wait: bool = False) -> Iterator[None]:
    """Keep a folder to this process; the lock dies with it, however it dies.

    Args:
        folder: which.
        reason: what is said where it is another's: who that would be, and what to do.
        wait: until the other is done.

    Raises:
        UsageError: another process has it.
    """
    if os.name == "nt":
        path, flags = folder / ".lock", os.O_RDWR | os.O_CREAT
    else:
        path, flags = folder, os.O_RDONLY  # the folder itself: no file to leave behind
    descriptor = os.open(path, flags)
    try:
        try:
            if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
                raise OSError("the folder was replaced meanwhile")
            if os.name == "nt":
                import msvcrt

                how = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined]
                msvcrt.locking(descriptor, how, 1)  # type: ignore[attr-defined]
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise UsageError(f"{folder}: {reason}") from error
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_writer(path) as handle:
        handle.write(json.dumps(value, indent=2).encode("ascii") + b"\n")


def parse_json(text: str) -> Any:
    """JSON of anybody's: as `json.loads`, but for what is no JSON (NaN) or no number (1e999).

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, and prove that it can be written to.

    Raises:
        UsageError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot write there ({reason}); choose another folder") from error


def cache_folder() -> Path:
    """Where chargen keeps what it can make again: CHARGEN_CACHE, or the user's cache folder."""
    chosen = os.environ.get("CHARGEN_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs  # a machine without it can say where

    return platformdirs.user_cache_path("chargen")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder for fsync, and does not need to
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
