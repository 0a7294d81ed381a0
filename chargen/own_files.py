"""Files at places that a person names: what chargen wrote may be replaced, nothing else.

A picture carries a seal: the SHA-256 of its own bytes, in a comment of .svg and .html and in a
text chunk of .png. So a picture that somebody changed is somebody's own. A plain text can carry
nothing; the digests of those that were written are kept in the state folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chargen.errors import ChargenError, UsageError, reason_of
from chargen.files import atomic_writer, open_state_folder, state_folder

OVERWRITE = "--overwrite"
"""The word that a person adds to replace a file of somebody else."""
_SEAL = b"<!-- written by chargen, SHA-256 %s -->\n"
_SEAL_LENGTH = len(_SEAL % bytes(64))
_PNG_END = 12
"""Bytes of the last chunk of a .png, IEND."""
_PNG_KEY = b"tEXtchargen\0"
_PNG_SEAL_LENGTH = 4 + len(_PNG_KEY) + 64 + 4
_MAX_OWN_BYTES = 1 << 30
_LEDGER = "exports"
_LEDGER_LINES = 1000
_written: set[str] = set()
"""The texts that this process wrote; also where the state folder cannot be used."""


def seal(data: bytes, ending: str) -> bytes:
    """Returns a picture with its own digest; other files are returned as they are.

    Args:
        data: the bytes of the picture.
        ending: the ending of its name, such as `.svg`.
    """
    digest = hashlib.sha256(data).hexdigest().encode("ascii")
    if ending in (".svg", ".html"):
        return data + _SEAL % digest
    if ending == ".png":
        chunk = _PNG_KEY + digest
        whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:-_PNG_END] + whole + data[-_PNG_END:]
    return data


def is_sealed(path: Path) -> bool:
    """Whether a file is a picture that chargen wrote and nobody changed since."""
    data = _read(path)
    ending = path.suffix
    if ending == ".png":
        bare = data[: -_PNG_END - _PNG_SEAL_LENGTH] + data[-_PNG_END:]
    else:
        bare = data[:-_SEAL_LENGTH]
    return bool(bare) and bare != data and seal(bare, ending) == data


def is_noted(path: Path) -> bool:
    """Whether a file is a text that chargen wrote and nobody changed since."""
    mark = _mark(_read(path))
    return mark in _written or mark in _ledger_lines()


def note_text(data: bytes) -> None:
    """Remembers a text that was written, so that it may be replaced."""
    mark = _mark(data)
    _written.add(mark)
    lines = [line for line in _ledger_lines() if line != mark][1 - _LEDGER_LINES :]
    with suppress(ChargenError, OSError):
        path = open_state_folder() / _LEDGER
        with atomic_writer(path, private=True) as handle:
            handle.write("".join(f"{line}\n" for line in [*lines, mark]).encode("ascii"))


def check_own(path: Path, is_own: Callable[[Path], bool], *, overwrite: bool = False) -> Path:
    """Checks that a file may be written, and returns where: the file that a link leads to.

    Args:
        path: the place that a person named.
        is_own: whether chargen wrote what is there.
        overwrite: the person said that anything may be replaced.

    Raises:
        UsageError: a folder, a write-protected file or somebody else's file is there.
        ChargenError: there is no such folder, or it cannot be written to.
    """
    try:
        target = path.resolve()
        mode = target.stat().st_mode if target.exists() else None
    except (OSError, ValueError, RuntimeError) as error:  # a circle of links is a RuntimeError
        raise ChargenError(f"{path}: cannot be written ({reason_of(error)})") from error
    if mode is None or stat.S_ISREG(mode):
        folder = target.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ChargenError(f"{path}: cannot be written ({folder} is no folder for it)")
    if mode is None:
        return target
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path}: is a folder; name a file")
    if not os.access(target, os.W_OK):
        raise UsageError(f"{path}: is write-protected; choose another name")
    # Nothing is lost with an empty file, and a device keeps nothing.
    if overwrite or not stat.S_ISREG(mode) or not target.stat().st_size or is_own(target):
        return target
    raise UsageError(
        f"{path}: exists, and chargen did not write what it holds; choose another name, or add "
        f"{OVERWRITE}"
    )


def write_own(
    path: Path, data: bytes, is_own: Callable[[Path], bool], *, overwrite: bool = False
) -> None:
    """Writes a file, whole or not at all; replaces only what chargen wrote.

    Args:
        path: the place that a person named; a link is followed, a device gets the bytes.
        data: the content.
        is_own: whether chargen wrote what is there.
        overwrite: the person said that anything may be replaced.

    Raises:
        UsageError: a folder, a write-protected file or somebody else's file is there.
        ChargenError: the file cannot be written; what was there is unchanged.
    """
    target = check_own(path, is_own, overwrite=overwrite)
    if target.exists() and not target.is_file():  # a device or a pipe is written to, not replaced
        try:
            target.write_bytes(data)
        except OSError as error:
            raise ChargenError(f"{path}: cannot be written ({reason_of(error)})") from error
        return
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    with atomic_writer(target, private=mode is not None) as handle:
        handle.write(data)
    if mode is not None:  # a file that its owner made private stays private
        with suppress(OSError):
            target.chmod(mode)


def _read(path: Path) -> bytes:
    """The content of a file; nothing if it cannot be read or is too large to be an export."""
    try:
        return path.read_bytes() if path.stat().st_size <= _MAX_OWN_BYTES else b""
    except OSError:
        return b""


def _mark(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _ledger_lines() -> list[str]:
    try:
        return (state_folder() / _LEDGER).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
