"""The texts of earlier sessions: kept while a session runs, so that nothing can lose them.

They are session files in the state folder, which only its user can read. The number of files and
their size are bounded; the newest one is always kept.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chargen.api import load
from chargen.errors import ChargenError, ModelFileError, UsageError, reason_of
from chargen.files import (
    atomic_writer,
    cache_folder,
    json_bytes,
    open_state_folder,
    parse_json,
    state_folder,
)
from chargen.repl.record import KIND, read_session, session_record
from chargen.repl.session import Session

MAX_FILES = 20
MAX_BYTES = 64 << 20
_FOLDER = "kept"
_OLD_FILE = "before-load.json"
"""The session that `/load` replaced, where it was before: in the cache, readable for everybody."""
_ENDING_TOKENS = 60


@dataclass(frozen=True)
class Kept:
    """A session that was kept."""

    path: Path
    model: str
    """The name of its model; like the next one, not yet safe to show."""
    ending: str
    """The end of its text."""


def keep(session: Session, *, spare: Path | None = None) -> Path | None:
    """Keeps the texts of a session, in one file from its first text to its end.

    Returns:
        The file; None when the session has no text.

    Args:
        session: the session.
        spare: a file that stays, however old it is, because it is going to be read.

    Raises:
        ChargenError: the state folder cannot be written to.
    """
    if len(session.tree.branches) == 1 and not session.position:
        return None
    model = session.model
    record = {
        **session_record(session),
        "path": None if model.path is None else os.fspath(model.path.absolute()),
        "ending": session.text(_ENDING_TOKENS),
    }
    data = json_bytes(record)
    folder = open_state_folder() / _FOLDER
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    newest = next(iter(kept_paths()), None)
    if newest is not None and _holds(newest, data):  # brought back, and left as it was
        return newest
    path = session.kept_as or folder / f"{time.time_ns():020d}.json"
    with atomic_writer(path, private=True) as handle:
        handle.write(data)
    session.kept_as = path
    _prune({path, spare})
    return path


def continued(model: str | None, seed: int | None) -> Session:
    """The session that was kept last, ready to go on.

    Args:
        model: what writes from here on; None is the session's own model.
        seed: of the draws; None goes on with the session's own.

    Raises:
        UsageError: none is kept, or it is damaged.
        ModelFileError: its model is not here any more.
    """
    path = next(iter(kept_paths()), None)
    if path is None:
        raise UsageError("--continue: no session is kept yet; leave it out to begin one")
    try:
        value = parse_json(path.read_text(encoding="ascii"))
        place, name = value["path"], str(value["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--continue: {path} is damaged; /sessions in the REPL lists the others"
        ) from error
    try:
        session = Session(load(place if isinstance(place, str) else name), seed)
    except ModelFileError as error:
        raise ModelFileError(
            f"--continue: the model of the last session is not here: {error}; without --continue, "
            "another model writes"
        ) from error
    read_session(path, session, own=True)
    if model is not None:
        session.change_model(load(model))
    if seed is not None:
        session.reseed(seed)
    return session


def kept_paths() -> list[Path]:
    """Returns the files that were kept, the newest first."""
    _take_over(cache_folder() / _OLD_FILE)
    return sorted((state_folder() / _FOLDER).glob("*.json"), reverse=True)


def describe_kept() -> list[Kept]:
    """Returns what was kept, the newest first; a damaged file has empty words."""
    return [_describe(path) for path in kept_paths()]


def forget_kept() -> int:
    """Removes all that was kept; returns how many files.

    Raises:
        ChargenError: a file cannot be removed.
    """
    paths = kept_paths()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ChargenError(f"{path}: cannot be removed ({reason_of(error)})") from error
    return len(paths)


def _describe(path: Path) -> Kept:
    try:
        value = parse_json(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict) or value.get("kind") != KIND:
        return Kept(path, "", "")
    return Kept(path, str(value.get("model", "")), str(value.get("ending", "")))


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _prune(spared: set[Path | None]) -> None:
    """Removes the oldest files beyond the bounds, but none of those that are spared."""
    total = 0
    for number, path in enumerate(kept_paths()):
        with suppress(OSError):
            total += path.stat().st_size
            if path not in spared and (number >= MAX_FILES or total > MAX_BYTES):
                path.unlink()


def _take_over(old: Path) -> None:
    """Moves the session that an older version kept in the cache, as the oldest one."""
    if not old.is_file():
        return
    with suppress(ChargenError, OSError):
        folder = open_state_folder() / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        old.chmod(0o600)
        shutil.move(old, folder / f"{0:020d}.json")
