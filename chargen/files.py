"""How chargen writes files, locks folders, and reads and writes the values of JSON.

A reader of a file finds the old content or the new content, never half of it. The steps follow
`man 2 rename` and `man 2 fsync`: a temporary file in the same folder, fsync, rename, fsync of the
folder. This file does not know what is written.
"""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeGuard

from chargen.errors import ChargenError, UsageError, reason_of

if TYPE_CHECKING:
    from filelock import FileLock

_MAX_PLAIN_NUMBER = 1e12
_UNSUPPORTED = {errno.EINVAL, errno.ENODEV, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that lack a function: VirtualBox's, 9p, CIFS, some of FUSE."""


@contextmanager
def atomic_writer(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside `path` and renames it to `path` when the block ends.

    If the block raises, `path` is unchanged and the temporary file is removed.

    Args:
        path: the file.
        private: only this user may read the file.

    Raises:
        ChargenError: the folder is missing, not writable, or the disk is full. If the disk fails
            after the rename, the message says that the new content may be lost.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            sync_file(handle)
        # mkstemp makes the file private; the result follows the umask of the user. A file system
        # without modes, such as vfat, refuses.
        if not private:
            with suppress(OSError):
                os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ChargenError(
            f"{path}: cannot be written ({error.strerror or error}); what was there is unchanged"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
    try:
        _sync_folder(path.parent)
    except OSError as error:
        raise ChargenError(
            f"{path}: was written, but the disk may lose it ({reason_of(error)}); check the disk, "
            "or write to another"
        ) from error


def sync_file(handle: IO[bytes]) -> None:
    """Flushes an open file to the disk, if its file system can say when that is done.

    Raises:
        OSError: the disk is full, or fails.
    """
    handle.flush()
    try:
        os.fsync(handle.fileno())
    except OSError as error:
        if not is_unsupported(error):
            raise


def is_unsupported(error: OSError) -> bool:
    """Whether an error says that the file system lacks the function, not that the disk fails."""
    number = error.errno
    if number is None:  # libraries in Rust give the number in the text alone
        (number,) = map(int, re.findall(r"\(os error (\d+)\)\Z", str(error))[:1] or [0])
    return number in _UNSUPPORTED


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Removes the temporary files that a killed `atomic_writer` left for these names."""
    for name in names:
        for temporary in folder.glob(f".{glob.escape(name)}.*"):
            with suppress(OSError):
                temporary.unlink()


_HELD: set[Path] = set()
"""The files that this process has locked."""


@contextmanager
def locked(folder: Path, reason: str, *, wait: bool = False) -> Iterator[None]:
    """Keeps a folder for this process while the block runs.

    The operating system releases the lock when the process ends, however it ends. A file system
    without locks gives none: then the block runs without a lock.

    Args:
        folder: the folder, which must exist.
        reason: the end of the error message: which process has the folder, and what to do.
        wait: waits until the other process releases the folder, instead of raising an error.

    Raises:
        UsageError: another process has the folder.
    """
    path, owner = _lock_path(folder), os.getpid()
    if path in _HELD:
        reason = "this process is training it already; close that iterator: events.close()"
    lock = _acquire(path, wait=wait, refusal=f"{folder}: {reason}")
    _HELD.add(path)
    try:
        yield
    finally:
        if os.getpid() == owner:  # a forked process ends with a copy of this block
            _HELD.discard(path)
        if lock is not None and os.getpid() == owner:
            # Removed before the release: a process that waits for the lock sees that the file is
            # missing, and makes a new one. Windows cannot remove an open file; there, filelock
            # removes it afterwards.
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process, this one or another, keeps a folder with `locked`."""
    path = _lock_path(folder)
    if not path.exists():
        return False
    try:
        lock = _acquire(path, wait=False, refusal="")
    except UsageError:
        return True
    if lock is not None:
        with suppress(OSError):
            lock.release()
    return False


def _lock_path(folder: Path) -> Path:
    """The file that is locked for a folder.

    It lies beside the folder, so that an empty folder can be removed while it is locked. If the
    parent cannot be written to, the folder cannot be removed either, and the file lies inside it.
    """
    folder = folder.resolve()
    if os.access(folder.parent, os.W_OK):
        return folder.parent / f".{folder.name}.lock"
    return folder / ".lock"


def _acquire(path: Path, *, wait: bool, refusal: str) -> FileLock | None:
    """Acquires the lock; returns None on a file system without locks."""
    import filelock  # only training and encoding need it

    # The fallback of filelock is a file that outlives a killed process: worse than no lock.
    lock = filelock.FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UsageError(refusal) from error
    except OSError:  # ENOLCK, ENOSYS, EOPNOTSUPP, ...: this file system has no locks
        return None
    return lock


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically.

    Raises:
        ChargenError: the file cannot be written; what was there is unchanged.
    """
    with atomic_writer(path) as handle:
        handle.write(json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """`value` as indented JSON."""
    return json.dumps(value, indent=2).encode("ascii") + b"\n"


def parse_json(text: str) -> Any:
    """Parses JSON from an unknown writer.

    Stricter than `json.loads`: NaN and Infinity are not JSON, and 1e999 is not a finite number.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_number, parse_float=_finite_float)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def finite_or_none(number: float) -> float | None:
    """The number; None (null in JSON) for NaN and infinity, which JSON does not have."""
    return number if math.isfinite(number) else None


def is_plain_number(value: object) -> TypeGuard[float]:
    """Whether a value from a file is a finite number that is small enough to be printed."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_MAX_PLAIN_NUMBER < value < _MAX_PLAIN_NUMBER
    )


def make_folder(path: Path) -> None:
    """Creates a folder and its parents, and checks that files can be written to it.

    Raises:
        UsageError: the folder cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise UsageError(f"{path}: cannot write there ({reason}); choose another folder") from error


def cache_folder() -> Path:
    """The folder for files that can be made again: CHARGEN_CACHE, or the user's cache folder."""
    folder = os.environ.get("CHARGEN_CACHE")
    if folder:
        return Path(folder)
    import platformdirs

    return platformdirs.user_cache_path("chargen")


def state_folder() -> Path:
    """The folder for what cannot be made again: CHARGEN_STATE, or the user's state folder."""
    folder = os.environ.get("CHARGEN_STATE")
    if folder:
        return Path(folder)
    import platformdirs

    return platformdirs.user_state_path("chargen")


def open_state_folder() -> Path:
    """The state folder, which is made if it is missing and which only its user may enter.

    Raises:
        UsageError: it cannot be made or written to.
    """
    folder = state_folder()
    make_folder(folder)
    with suppress(OSError):  # a file system without modes, such as vfat
        folder.chmod(0o700)
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder for fsync, and needs none
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # files can be made in it all the same
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_unsupported(error):
            raise
    finally:
        os.close(descriptor)
