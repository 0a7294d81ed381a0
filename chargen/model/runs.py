"""Runs: where they lie, what their files are called, which one a name means.

MODEL on the command line is a model file, a run folder, or the name of a run below ./checkpoints;
left out, it is the newest run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chargen.errors import ModelFileError, UsageError, unknown_name
from chargen.files import parse_json

CHECKPOINTS = Path("checkpoints")
MODEL, METRICS, RUN = "model.safetensors", "metrics.jsonl", "run.json"
TRAINING = "training.safetensors"


def size_of(model: Mapping[str, Any]) -> str:
    """Layers, units and groups of a config as in a run's record: `2x512`, `1x3840/6`."""
    groups = model.get("groups", 1)
    size = f"{model.get('num_layers', '?')}x{model.get('hidden_size', '?')}"
    return size if groups == 1 else f"{size}/{groups}"


def locate_model(name: str | None, folder: Path = CHECKPOINTS) -> Path:
    """The model file that MODEL means.

    Args:
        name: a file, a run folder or a run's name; None is the newest run.
        folder: where runs lie.

    Raises:
        ModelFileError: there is no such model.
    """
    if name is None:
        newest = list_runs(folder)
        if not newest:
            raise ModelFileError(
                f"no run in {folder}/ yet; train one with: chargen train corpus.txt"
            )
        return newest[0] / MODEL
    if not name:
        raise ModelFileError("'' is no model: give a file, a run folder or a run's name")
    empty = None
    try:
        for path in (Path(name), folder / name):
            if (path / MODEL).is_file():
                return path / MODEL
            if path.is_dir():
                empty = path
            elif path.exists():
                return path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{name}: cannot be read ({reason})") from error
    if empty is not None:
        raise ModelFileError(f"{empty}: a folder without {MODEL}; was the run ever saved?")
    known = [one.name for one in list_runs(folder)]
    if "/" in name or name.endswith(".safetensors") or not known:
        raise ModelFileError(f"{name}: no such model file, and no run of that name in {folder}/")
    raise ModelFileError(unknown_name("run", name, known))


def locate_run(name: str | None, folder: Path = CHECKPOINTS) -> Path:
    """The folder of a run that can be taken up again: a path, a run's name, or None: the newest.

    Raises:
        ModelFileError: there is none, or nothing was saved of it.
    """
    if name is None:
        states = sorted(folder.glob(f"*/{TRAINING}"), key=lambda one: one.stat().st_mtime)
        if not states:
            raise ModelFileError(f"no run in {folder}/ to go on with; see chargen train --help")
        return states[-1].parent
    for path in (Path(name), folder / name):
        if (path / TRAINING).is_file():
            return path
    for path in (Path(name), folder / name):
        if path.is_dir():
            raise ModelFileError(f"{path}: nothing to go on from ({TRAINING} is not there)")
    known = [one.parent.name for one in folder.glob(f"*/{TRAINING}")]
    raise ModelFileError(unknown_name("run", name, known))


def list_runs(folder: Path = CHECKPOINTS) -> list[Path]:
    """Run folders with a model in them, the newest first."""
    try:
        found = [one for one in folder.iterdir() if (one / MODEL).is_file()]
    except OSError:
        return []
    return sorted(found, key=lambda one: ((one / MODEL).stat().st_mtime, one.name), reverse=True)


def check_run_name(name: str) -> str:
    """The name itself, when it can be a folder's name everywhere.

    Raises:
        UsageError: it has characters that a file system or a shell would take amiss.
    """
    if not re.fullmatch(r"[^\W_][\w.+-]{0,99}", name):
        raise UsageError(
            f"--run {name!r}: a run's name begins with a letter or digit and goes on with letters, "
            "digits, '.', '_', '+' and '-', 100 at most"
        )
    return name


def plain(stem: str) -> str:
    """A text as a part of a run's name."""
    return re.sub(r"[^\w.+-]+", "-", stem).strip("-._+")[:80] or "run"


def run_stem(corpus: Sequence[str]) -> str:
    """What a run is named after: its corpus."""
    stem = corpus[0].rpartition(":")[2] if corpus else "python-docs"
    return plain("stdin" if stem == "-" else Path(stem).stem)


def free_run_name(stem: str, folder: Path = CHECKPOINTS) -> str:
    """A name for a run that was given none: the corpus's, numbered when it is taken."""
    base = plain(stem)
    number, name = 1, base
    while (folder / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


def choose_folder(
    corpus: Sequence[str],
    *,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """The folder that a new run goes to.

    Args:
        corpus: what it is named after when it is given no name.
        run: its name below `checkpoints`, or below `out`.
        out: a folder instead of `checkpoints`; without a name, the run's own folder.
        overwrite: whether it may hold a run already.

    Raises:
        UsageError: there is a run of that name, or the name cannot be a folder's.
    """
    if run is not None:
        folder = Path(out or CHECKPOINTS) / check_run_name(run)
    elif out is not None:
        folder = Path(out)
    else:
        folder = CHECKPOINTS / free_run_name(run_stem(corpus))
    if out is not None and not os.fspath(out):
        raise UsageError("--out '': must name a folder")
    try:
        taken = any((folder / one).exists() for one in (MODEL, RUN, METRICS, TRAINING))
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror})") from error
    if taken and not overwrite:
        raise UsageError(
            f"{folder}: holds a run already; choose another --run NAME, or add --overwrite"
        )
    return folder


def run_name(path: Path) -> str:
    """What a model file is called: by its run, or by itself."""
    return path.parent.name if path.name == MODEL else path.stem


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json says; empty when it is missing or damaged."""
    path = folder / RUN
    try:
        value = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
