"""Named corpora: each is a TOML file in corpora/ that says where its text comes from.

The `source` of a recipe names a row of `_SOURCES`. The table of that name in the file holds the
settings of the source.
"""

from __future__ import annotations

import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError, unknown_name
from chargen.text.columns import update_hash
from chargen.text.hub import hub_documents
from chargen.text.reading import Document, Hasher, Reading


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

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
        """The corpus, document by document.

        Raises:
            NetworkError: the corpus must be downloaded and the network does not answer.
            CorpusError: this Python lacks the text, or the text cannot be read.
        """
        name = f"builtin:{self.name}"
        if self.source == "hub":
            settings = dict(self.settings)
            # A recipe knows its table: its notes are for people who do not.
            reading = replace(reading, column=settings.pop("column", None), notes=[])
            yield from hub_documents(name, settings.pop("dataset"), reading, hasher, **settings)
            return
        for text in _SOURCES[self.source](self.settings):
            if text := update_hash(hasher, text):
                yield Document(pieces=iter((text,)))


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
    assert recipe.source in (*_SOURCES, "hub"), f"{path}: unknown source {recipe.source}"
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


_SOURCES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "pydoc-topics": _pydoc_topics,
    "stdlib": _stdlib,
}
