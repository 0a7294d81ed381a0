"""Finds the text of a run that was moved: by its name near the run, and by its hash.

A run that is copied to another folder or machine names paths that do not exist there. Files and
folders of the same name are looked for beside the run and in the working folder. Whoever opens them
compares their hashes with those that the run recorded, so that another text is never taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from chargen.text.dataset import TextOptions

_LEVELS = 3
"""The run's folder and so many folders above it are looked into."""


def find_moved(options: TextOptions, run: Path) -> TextOptions:
    """The options, with files that are gone replaced by files of the same name nearby.

    Args:
        options: how the run read its text.
        run: the run's folder.
    """
    folder = run.absolute()
    places = [folder, *list(folder.parents)[:_LEVELS], Path.cwd()]

    def found(name: str) -> str:
        if not name or name == "-" or name.startswith(("builtin:", "hf:")) or Path(name).exists():
            return name
        last = PureWindowsPath(name).name if "\\" in name else PurePosixPath(name).name
        near = [place / last for place in places if last and (place / last).exists()]
        return str(near[0]) if near else name

    return replace(
        options,
        corpus=tuple(map(found, options.corpus)),
        valid=None if options.valid is None else found(options.valid),
    )


def with_corpus(
    options: TextOptions, corpus: Sequence[str], valid: str | None = None
) -> TextOptions:
    """The options with the CORPUS and the validation text that a person names; none keeps them."""
    if corpus:
        options = replace(options, corpus=tuple(corpus))
    return options if valid is None else replace(options, valid=valid)
