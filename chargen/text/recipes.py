"""Named corpora: each is a TOML file in corpora/ that says where its text comes from.

The `source` of a recipe names a row of `_SOURCES`. The table of that name in the file holds the
settings of the source.
"""

from __future__ import annotations

import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError, unknown_name
from chargen.text import tables
from chargen.text.reader import Hasher, Pieces, Reading


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file of corpora/."""

    name: str
    description: str
    size: str
    license: str
    needs_network: bool
    source: str
    settings: dict[str, Any]
    sha256: str | None = None
    """Of its text in UTF-8, where that is known and the same everywhere."""

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """The corpus, document by document.

        Raises:
            NetworkError: the corpus must be downloaded and the network does not answer.
            CorpusError: this Python lacks the text, or the text cannot be read.
        """
        settings = {"name": f"builtin:{self.name}", **self.settings}
        return tables.documents(_SOURCES[self.source](settings), reading, hasher)


def recipes() -> list[Recipe]:
    """All recipes, by name."""
    return [_read(path) for path in sorted(_folder().glob("*.toml"))]


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        CorpusError: there is no such recipe.
    """
    by_name = {recipe.name: recipe for recipe in recipes()}
    if name not in by_name:
        raise CorpusError(unknown_name("corpus", name, by_name))
    return by_name[name]


def _folder() -> Path:
    packaged = Path(__file__).parents[1] / "corpora"  # in a wheel
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "corpora"


def _read(path: Path) -> Recipe:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    recipe = Recipe(
        name=path.stem,
        description=table["description"],
        size=table["size"],
        license=table["license"],
        needs_network=table.get("needs_network", False),
        source=table["source"],
        settings=table.get(table["source"], {}),
        sha256=table.get("sha256"),
    )
    assert recipe.source in _SOURCES, f"{path}: unknown source {recipe.source}"
    return recipe


def _pydoc_topics(settings: dict[str, Any]) -> Iterator[str]:
    """Python's language reference, as the interactive `help()` shows it."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError(
            "builtin:python-docs: this Python lacks pydoc_data; install its full standard library"
        ) from error
    for _, text in sorted(topics.items()):
        yield text.strip("\n") + "\n\n\n"


def _stdlib(settings: dict[str, Any]) -> Iterator[str]:
    """The .py files of the standard library, except the folders the recipe leaves out."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = set(settings.get("skip", ()))
    for path in sorted(root.rglob("*.py")):
        if skipped.isdisjoint(path.relative_to(root).parts):
            try:
                yield path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, OSError):
                continue  # a few old modules declare another encoding


def _hub(settings: dict[str, Any]) -> Iterator[str]:
    """Rows of a data set of the Hub, or of files at any address, read by `datasets`."""
    yield from tables.hub_rows(**settings)


_SOURCES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "pydoc-topics": _pydoc_topics,
    "stdlib": _stdlib,
    "hub": _hub,
}
