"""chargen: train small recurrent language models on your own text, and write with them.

    import chargen

    for event in chargen.train("corpus.txt", run="bard", minutes=2):
        ...
    model = chargen.load("bard")
    print("".join(step.text for step in model.generate("ROMEO:", length=300)))

Importing chargen is quick: numpy is imported when a name is first used, torch when training begins.
Nothing of the host changes: its random numbers, threads, warnings and environment stay its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chargen._version import __version__
from chargen.errors import (
    ChargenError,
    CorpusError,
    ModelFileError,
    NetworkError,
    UnseenWarning,
    UsageError,
)

if TYPE_CHECKING:
    from chargen.api import Model, load
    from chargen.distil_api import distil
    from chargen.finetune_api import finetune
    from chargen.inference.filters import SampleConfig
    from chargen.inference.many import WrittenText
    from chargen.inference.writer import Step
    from chargen.insight.trace import Trace
    from chargen.iterator import TrainEvents
    from chargen.model.config import ModelConfig
    from chargen.model.score import Score
    from chargen.train_api import resume, train
    from chargen.training.config import TrainConfig
    from chargen.training.events import (
        Evaluated,
        Finished,
        Planned,
        Recovered,
        Saved,
        StepDone,
        TrainEvent,
    )

__all__ = [
    "ChargenError",
    "CorpusError",
    "Evaluated",
    "Finished",
    "Model",
    "ModelConfig",
    "ModelFileError",
    "NetworkError",
    "Planned",
    "Recovered",
    "SampleConfig",
    "Saved",
    "Score",
    "Step",
    "StepDone",
    "Trace",
    "TrainConfig",
    "TrainEvent",
    "TrainEvents",
    "UnseenWarning",
    "UsageError",
    "WrittenText",
    "__version__",
    "distil",
    "finetune",
    "load",
    "resume",
    "train",
]
_HOMES = {
    "api": ("Model", "load"),
    "inference.filters": ("SampleConfig",),
    "inference.generate": ("Step",),
    "inference.many": ("WrittenText",),
    "insight.trace": ("Trace",),
    "model.config": ("ModelConfig",),
    "model.score": ("Score",),
    "distil_api": ("distil",),
    "finetune_api": ("finetune",),
    "iterator": ("TrainEvents",),
    "train_api": ("resume", "train"),
    "training.config": ("TrainConfig",),
    "training.events": (
        *("Evaluated", "Finished", "Planned", "Recovered", "Saved", "StepDone", "TrainEvent"),
    ),
}
"""The modules whose names are imported when they are first used."""
_MODULES = {name: f"chargen.{module}" for module, names in _HOMES.items() for name in names}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'chargen' has no attribute {name!r}")
