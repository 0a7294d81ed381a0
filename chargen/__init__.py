"""chargen: train small recurrent language models on your own text, and write with them.

    import chargen

    for event in chargen.train("corpus.txt", run="bard", minutes=2):
        ...
    model = chargen.load("bard")
    print("".join(step.text for step in model.generate("ROMEO:", length=300)))

Importing it is quick: torch is imported by what trains alone, numpy when a name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chargen._version import __version__
from chargen.errors import ChargenError

if TYPE_CHECKING:
    from chargen.api import Model, load
    from chargen.train_api import finetune, resume, train

__all__ = ["ChargenError", "Model", "__version__", "finetune", "load", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name in ("finetune", "resume", "train"):
        import chargen.train_api

        return getattr(chargen.train_api, name)
    if name in __all__:
        import chargen.api

        return getattr(chargen.api, name)
    raise AttributeError(f"module 'chargen' has no attribute {name!r}")
