"""The models in the box: they come with chargen, so that nobody begins with nothing.

Each is a folder with a model file, as a run has one. In a checkout they lie in `checkpoints/`, in
an installation inside the package. benchmarks/base.py trains them.
"""

from __future__ import annotations

from pathlib import Path

BASES = {
    "english": "English novels, tales and essays",
    "python": "Python's standard library",
    "tiny": "the text of english, in a thirteenth of the weights",
}
"""Name, and what it has read."""
STARTING_BASES = ("english", "python")
"""Those that fine-tuning may choose by itself."""
_FILE = "model.safetensors"


def bases_folder() -> Path:
    """Where the models in the box are."""
    packaged = Path(__file__).parents[1] / "bases"  # in a wheel
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "checkpoints"


def base_path(name: str) -> Path | None:
    """The file of a model in the box; None where there is no such model, or it is not installed."""
    path = bases_folder() / name / _FILE
    return path if name in BASES and path.is_file() else None


def is_base(path: Path) -> bool:
    """Whether a folder or a model file is one of the models in the box."""
    folder = path.parent if path.name == _FILE else path
    if folder.name not in BASES:
        return False
    try:
        return folder.resolve().parent == bases_folder().resolve()
    except OSError:
        return False
