"""Runs: where they lie, what their files are called, which one a name means.

MODEL on the command line is a model file, a run folder, or the name of a run below ./checkpoints;
left out, it is the newest run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from chargen.errors import ModelFileError, UsageError, unknown_name

CHECKPOINTS = Path("checkpoints")
MODEL, METRICS, RUN = "model.safetensors", "metrics.jsonl", "run.json"


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
    for path in (Path(name), folder / name):
        try:
            if path.is_dir():
                if (path / MODEL).is_file():
                    return path / MODEL
                raise ModelFileError(f"{path}: a folder without {MODEL}; was the run ever saved?")
            if path.exists():
                return path
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelFileError(f"{name}: cannot be read ({reason})") from error
    known = [one.name for one in list_runs(folder)]
    if "/" in name or name.endswith(".safetensors") or not known:
        raise ModelFileError(f"{name}: no such model file, and no run of that name in {folder}/")
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


def free_run_name(stem: str, folder: Path = CHECKPOINTS) -> str:
    """A name for a run that was given none: the corpus's, numbered when it is taken."""
    base = re.sub(r"[^\w.+-]+", "-", stem).strip("-._+")[:80] or "run"
    number, name = 1, base
    while (folder / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json says; empty when it is missing or damaged."""
    try:
        value = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
