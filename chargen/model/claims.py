"""A run's folder is claimed when its name is chosen: no other process gets it meanwhile.

Reading a corpus takes minutes. A folder that is made and locked at once cannot be chosen twice in
this time, and a name that was free stays free of other runs until this one ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

from chargen.errors import ChargenError, UsageError
from chargen.files import locked, make_folder, parse_json
from chargen.hints import option, ways
from chargen.model.bases import is_base
from chargen.model.checkpoint import read_card
from chargen.model.runs import (
    CHECKPOINTS,
    METRICS,
    MODEL,
    TRAINING,
    check_run_name,
    clean_name,
    holds_run,
    is_reserved_name,
    read_run,
    run_name,
    run_stem,
)


def being_trained() -> str:
    """Why a run's folder is locked, and what to do."""
    another = option("--run", "NAME")
    return f"this run is being trained already{ways('wait for it', ('choose another', another))}"


class Claim:
    """A folder that is locked for a run to come.

    Args:
        folder: the folder.
        lock: holds the lock.
        made: the folders that were made for it, the innermost first.
    """

    def __init__(self, folder: Path, lock: ExitStack, made: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._lock = lock
        self._made = made

    def take_lock(self) -> ExitStack:
        """Hands the lock over: whoever closes the result releases the folder."""
        return self._lock.pop_all()

    def close(self) -> None:
        """Releases the folder; removes what was made for it and is still empty."""
        self._lock.close()
        for folder in self._made:
            with suppress(OSError):  # not empty, or removed already
                folder.rmdir()


def claim_folder(
    corpus: Sequence[str],
    *,
    base: Path | None = None,
    stem: str | None = None,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Claim:
    """Chooses and claims the folder of a new run.

    Without a name and without a folder the run is named after its corpus, and after its base if it
    fine-tunes one: `novel`, `bard-novel`. A number follows if that name is taken: `novel-2`.

    Args:
        corpus: CORPUS arguments.
        base: the model file that is fine-tuned, or learned from.
        stem: what the run is named after instead of its corpus.
        run: the name of the run below `checkpoints`, or below `out`.
        out: a folder instead of `checkpoints`; without `run`, it is the run's own folder.
        overwrite: whether the folder may hold a run already.

    Raises:
        UsageError: the folder holds a run, another process has it, it cannot be made, or the name
            cannot be a folder's.
    """
    if out is not None and not os.fspath(out):
        raise UsageError("--out '': must name a folder")
    if run is not None:
        return _claim(Path(out or CHECKPOINTS) / check_run_name(run), overwrite=overwrite)
    if out is not None:
        if is_reserved_name(Path(out).name) and Path(out).name != "..":
            raise UsageError(f"--out {out}: Windows keeps that name for itself; choose another")
        return _claim(Path(out), overwrite=overwrite)
    stem = stem or run_stem(corpus)
    stem = clean_name(stem if base is None else f"{run_name(base)}-{stem}")
    return claim_first(numbered(stem))


def claim_first(names: Iterator[str]) -> Claim:
    """Claims the first of these names below `checkpoints` that no run and no file has."""
    for name in names:
        folder = CHECKPOINTS / name
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            continue
        with suppress(_TakenError):
            return _claim(folder, overwrite=False)
    raise AssertionError("there is no end of names")


def numbered(stem: str) -> Iterator[str]:
    """`stem`, `stem-2`, `stem-3`, ..."""
    yield stem
    for number in count(2):
        yield f"{stem}-{number}"


class _TakenError(UsageError):
    """The folder holds a run, or another process has it."""


def _claim(folder: Path, *, overwrite: bool) -> Claim:
    if is_base(folder):
        another = option("--run", "NAME")
        raise _TakenError(
            f"{folder}: this is a model in the box{ways(('choose another', another))}"
        )
    try:
        if holds_run(folder):  # before anything is made
            _check_replaceable(folder, overwrite=overwrite)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror})") from error
    make_folder(folder)
    claim = Claim(folder, ExitStack(), made)
    try:
        try:
            claim._lock.enter_context(locked(folder, being_trained()))
        except UsageError as error:
            raise _TakenError(str(error)) from error
        if holds_run(folder):  # another process has just finished it
            _check_replaceable(folder, overwrite=overwrite)
    except BaseException:
        claim.close()
        raise
    return claim


def _check_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Raises an error unless the run in a folder may be replaced: it was asked for, and is ours."""
    if not overwrite:
        raise _taken(folder)
    if not _is_ours(folder):
        another = option("--run", "NAME")
        raise _TakenError(
            f"{folder}: holds files that chargen did not write{ways(('choose another', another))}"
        )


def _is_ours(folder: Path) -> bool:
    """Whether chargen wrote what seems to be a run; one damaged file does not make it foreign."""
    if "chargen" in read_run(folder) or (folder / TRAINING).is_file():
        return True
    try:
        if (folder / MODEL).exists():
            read_card(folder / MODEL)
            return True
        first = parse_json((folder / METRICS).read_text(encoding="utf-8").partition("\n")[0])
    except (ChargenError, OSError, ValueError):
        return False
    return isinstance(first, dict) and "event" in first


def _taken(folder: Path) -> _TakenError:
    return _TakenError(
        f"{folder}: holds a run already"
        + ways(("choose another", option("--run", "NAME")), ("add", option("--overwrite")))
    )
