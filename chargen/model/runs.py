"""Runs: the folder of a run, the names of its files, and the model file that MODEL means.

MODEL on the command line is a model file, a run folder, the name of a run below ./checkpoints, or
that of a model in the box (bases.py). Without MODEL, the newest run is meant, and where there is
none, `english`. Only claims.py names a new run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chargen.errors import ModelFileError, UsageError, reason_of, unknown_name
from chargen.files import parse_json
from chargen.hints import spelled, ways
from chargen.model.bases import BASES, base_path, is_base

CHECKPOINTS = Path("checkpoints")
MODEL, METRICS, RUN = "model.safetensors", "metrics.jsonl", "run.json"
TRAINING = "training.safetensors"
COMPARISON = "comparison.json"
"""In the folder of a run that `compare` trains: the names of all runs of the comparison."""
FINISHED = ("done", "early stop")
"""What run.json says of a run that came to the end of its plan."""
TRAINING_NOW, FAILED = "training", "failed"
"""What run.json says of a run that goes on, and of one that an error ended."""
TRAIN_ONE = "; train one with: chargen train corpus.txt"
"""How a person without a run gets one."""


def size_label(model: Mapping[str, Any]) -> str:
    """Layers, units and groups of a configuration in run.json: `2x512`, `1x3840/6`."""
    groups = model.get("groups", 1)
    size = f"{model.get('num_layers', '?')}x{model.get('hidden_size', '?')}"
    return size if groups == 1 else f"{size}/{groups}"


def locate_model(name: str | None, folder: Path = CHECKPOINTS) -> Path:
    """The model file that MODEL means.

    Args:
        name: a file, a run folder, the name of a run or of a model in the box; None is the newest
            run, or `english` where there is none.
        folder: the folder of all runs.

    Raises:
        ModelFileError: there is no such model.
    """
    if name is None:
        newest = [run for run in list_runs(folder) if not is_of_open_comparison(run)]
        english = base_path("english")
        if not newest and not list_runs(folder) and english is not None:
            return english
        if not newest:
            raise ModelFileError(_no_newest(folder, list_runs(folder), f"no run in {folder}/ yet"))
        return newest[0] / MODEL
    if not name:
        raise ModelFileError("'' is not a model: give a file, a run folder or the name of a run")
    without_model = other_file = None
    try:
        for path in (Path(name), folder / name):
            if (path / MODEL).is_file():
                return path / MODEL
            if path.is_dir():
                without_model = path
            elif path.exists():
                if _looks_like_model(path):
                    return path
                other_file = other_file or path  # a run of that name wins over it
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise ModelFileError(f"{name}: cannot be read ({reason})") from error
    boxed = base_path(name)
    if boxed is not None:
        return boxed
    if other_file is not None:
        return other_file  # reading it tells what is wrong with it
    if without_model is not None:
        raise ModelFileError(_no_model_in(without_model))
    if name in BASES:
        raise ModelFileError(
            f"{name}: this model is not in this installation; install chargen again"
        )
    runs = [run.name for run in list_runs(folder)]
    if has_separator(name) or name.endswith(".safetensors") or not runs:
        way = "" if runs else TRAIN_ONE
        raise ModelFileError(
            f"{name}: no such model file, and no run of that name in {folder}/{way}"
        )
    raise ModelFileError(unknown_name("run", name, runs))


def _no_model_in(folder: Path) -> str:
    """Why a folder has no model, and what to do."""
    resume = spelled("chargen", "resume", str(folder))
    if not (folder / TRAINING).is_file() and not (folder / RUN).exists():
        return f"{folder}: a folder without a run{ways('name a run or a model file')}"
    if read_run(folder).get("status") in FINISHED:
        again = f"train it on, which writes it again ({resume} --steps 100)"
        return f"{folder}: its {MODEL} is gone{ways(again, 'name another run')}"
    begun = (folder / TRAINING).is_file()
    return (
        f"{folder}: there is no {MODEL} yet: its run may still be training, or stopped before its "
        f"first score{ways(f'go on with it ({resume})' if begun else None, 'name another run')}"
    )


def _no_newest(folder: Path, parts: Sequence[Path], none: str) -> str:
    """Why no run is the newest: there is none, or all are parts of an open comparison."""
    if not parts:
        return f"{none}{TRAIN_ONE}"
    return (
        f"all runs in {folder}/ belong to a comparison that was interrupted; name one of them: "
        + ", ".join(sorted(part.name for part in parts))
    )


def _looks_like_model(path: Path) -> bool:
    """Whether a file is named or begins like a model file: a length, then JSON."""
    if path.suffix == ".safetensors" or not path.is_file():
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def locate_run(name: str | None, folder: Path = CHECKPOINTS) -> Path:
    """The folder of a run that can be resumed.

    Args:
        name: a run folder or the name of a run; None is the newest run.
        folder: the folder of all runs.

    Raises:
        ModelFileError: there is no such run, or its state was not saved.
    """
    if name is None:
        snapshots = [
            path
            for path in sorted(folder.glob(f"*/{TRAINING}"), key=lambda path: path.stat().st_mtime)
            if not is_of_open_comparison(path.parent)
        ]
        if not snapshots:
            parts = [path.parent for path in folder.glob(f"*/{TRAINING}")]
            raise ModelFileError(_no_newest(folder, parts, f"no run in {folder}/ to go on with"))
        return snapshots[-1].parent
    for path in (Path(name), folder / name):
        if (path / TRAINING).is_file():
            return path
    for path in (Path(name), folder / name):
        if path.is_dir():
            raise ModelFileError(f"{path}: nothing to go on from ({TRAINING} is not there)")
    runs = [snapshot.parent.name for snapshot in folder.glob(f"*/{TRAINING}")]
    raise ModelFileError(f"{unknown_name('run', name, runs)}{'' if runs else TRAIN_ONE}")


def list_runs(folder: Path = CHECKPOINTS) -> list[Path]:
    """Run folders with a model, the newest first; the models in the box are no runs."""
    try:
        runs = [path for path in folder.iterdir() if (path / MODEL).is_file() and not is_base(path)]
    except OSError:
        return []
    return sorted(runs, key=lambda path: ((path / MODEL).stat().st_mtime, path.name), reverse=True)


def list_begun(folder: Path = CHECKPOINTS) -> list[Path]:
    """Run folders with a model, or with a state from before the first score; the newest first."""
    scored = list_runs(folder)
    states = [path for path in folder.glob(f"*/{TRAINING}") if path.parent not in scored]
    times = {path: (path / MODEL).stat().st_mtime for path in scored}
    times |= {path.parent: path.stat().st_mtime for path in states}
    return sorted(times, key=lambda path: (times[path], path.name), reverse=True)


def holds_run(folder: Path) -> bool:
    """Whether a folder has a file of a run.

    Raises:
        OSError: the folder cannot be looked into.
    """
    return any((folder / file).exists() for file in (MODEL, RUN, METRICS, TRAINING))


_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)
"""Devices of Windows: `aux`, `AUX.txt` and `com1 .x` cannot be the names of files there."""


def is_reserved_name(name: str) -> bool:
    """Whether Windows takes a name for a device, or drops a part of it.

    It matters on every system, because folders travel.
    """
    return _RESERVED.fullmatch(name) is not None or name.endswith((".", " "))


def has_separator(name: str) -> bool:
    """Whether a name is a path of several parts on this system."""
    return any(separator in name for separator in (os.sep, os.altsep) if separator)


def check_run_name(name: str) -> str:
    """Returns the name if it can be the name of a folder on every system.

    Raises:
        UsageError: it has characters that a file system or a shell may refuse, or Windows keeps
            the name for itself.
    """
    if not re.fullmatch(r"[^\W_][\w.+-]{0,99}", name):
        raise UsageError(
            f"--run {name!r}: a run's name begins with a letter or digit and goes on with letters, "
            "digits, '.', '_', '+' and '-', 100 at most"
        )
    if is_reserved_name(name):
        raise UsageError(
            f"--run {name!r}: Windows keeps names such as con, aux, nul and com1 for devices, and "
            "drops '.' at the end; choose another name"
        )
    return name


def run_name(path: Path) -> str:
    """The name of a model: that of its run, or else of its file."""
    return path.absolute().parent.name if path.name == MODEL else path.stem


def named_model(path: str) -> str:
    """The name of a model that a file from another machine names, by its name or its path.

    Paths of every system are recognised, so both separators divide.
    """
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")]
    if parts[1:] and parts[-1] == MODEL:
        return parts[-2]
    return parts[-1].removesuffix(".safetensors") if parts else ""


def run_stem(corpus: Sequence[str]) -> str:
    """The name of a run's corpus, as a part of the run's name."""
    name = corpus[0].rpartition(":")[2] if corpus else "python-docs"
    return clean_name("stdin" if name == "-" else Path(name).stem)


def clean_name(text: str) -> str:
    """A text as a part of a run's name, at most 80 characters."""
    cleaned = re.sub(r"[^\w.+-]+", "-", text).strip("-._+")[:80].rstrip(".") or "run"
    return f"run-{cleaned}" if is_reserved_name(cleaned) else cleaned


def is_of_open_comparison(folder: Path) -> bool:
    """Whether a run belongs to a comparison that has not come to its end.

    Such a run is a part of something; `the newest run` does not mean it.
    """
    try:
        value = parse_json((folder / COMPARISON).read_text(encoding="utf-8"))
        # A folder may come from anybody: of what it names, only the last part is taken.
        names = [named_model(str(name)) for name in value["runs"]]
        return not all(read_run(folder.parent / name).get("status") in FINISHED for name in names)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def read_run(folder: Path) -> dict[str, Any]:
    """The content of run.json; empty if it is missing or damaged."""
    path = folder / RUN
    try:
        value = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
