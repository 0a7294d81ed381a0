"""Finds the text of a run that was moved: by its name near the run, and by its hash.

A run that is copied to another folder or machine names paths that do not exist there, or that hold
another text. Files and folders of the same name are looked for beside the run and in the working
folder. Of several, the one with the hashes that the run recorded is meant. Whoever opens it
compares them again, so that another text is never taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from chargen.errors import CorpusError
from chargen.text.text_options import TextOptions

_LEVELS = 3
"""The run's folder and so many folders above it are looked into."""


def find_moved(options: TextOptions, run: Path, card: Mapping[str, Any]) -> TextOptions:
    """The options, with files that are gone or changed replaced by files of that name nearby.

    Args:
        options: how the run read its text.
        run: the run's folder.
        card: the card of the run, which says what the text was.
    """
    folder = run.absolute()
    places = [folder, *list(folder.parents)[:_LEVELS], Path.cwd()]

    def found(name: str, digests: set[str]) -> str:
        if not name or name == "-" or name.startswith(("builtin:", "hf:")):
            return name
        last = PureWindowsPath(name).name if "\\" in name else PurePosixPath(name).name
        near = [place / last for place in places if last]
        there = {path.resolve(): path for path in (Path(name), *near) if path.exists()}
        candidates = [str(path) for path in there.values()] or [name]
        if len(candidates) == 1:
            return candidates[0]
        same = (path for path in candidates if _digests_of(options, path) <= digests)
        return next(same, candidates[0])

    split = card.get("split")
    valid = _recorded_digests(split.get("valid") if isinstance(split, dict) else None)
    corpus = _recorded_digests(card.get("corpus"))
    return replace(
        options,
        corpus=tuple(found(name, corpus) for name in options.corpus),
        valid=None if options.valid is None else found(options.valid, valid),
    )


def _digests_of(options: TextOptions, name: str) -> set[str]:
    """The SHA-256 of what a file or folder holds; that of nothing if it cannot be read."""
    try:
        return {entry.sha256 for entry in options.open([name]).fingerprints()}
    except (CorpusError, OSError):
        return {""}


def _recorded_digests(value: Any) -> set[str]:
    """The SHA-256 that a card names; its entries may be anything."""
    entries = value if isinstance(value, list | tuple) else ()
    return {str(entry.get("sha256")) for entry in entries if isinstance(entry, dict)}


def with_corpus(
    options: TextOptions, corpus: Sequence[str], valid: str | None = None
) -> TextOptions:
    """The options with the CORPUS and the validation text that a person names; none keeps them."""
    if corpus:
        options = replace(options, corpus=tuple(corpus))
    return options if valid is None else replace(options, valid=valid)
