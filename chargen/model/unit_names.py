"""Single units of a model and how people write them: `L2:41`, `L2:41.cell`, or a name.

Layers are numbered from 1, units from 0. The names of units are in a file beside the model; the
file has the digest of the weights that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chargen.errors import ModelFileError, UsageError, unknown_name
from chargen.files import is_plain_number, json_bytes, parse_json
from chargen.model.checkpoint import tensor_digest
from chargen.model.config import ModelConfig
from chargen.model.runs import MODEL
from chargen.model.stored_weights import Weights
from chargen.own_files import write_own

_FORMAT = 1
_NAME = re.compile(r"[^\W_][\w.+-]{0,39}")
_MAX_NAMES = 1000
_SPELLING = re.compile(r"[Ll](\d{1,6}):(\d{1,9})(?:\.(\w+))?")


@dataclass(frozen=True, order=True)
class Unit:
    """One number of the recurrent state."""

    layer: int
    """From 0."""
    index: int
    """From 0 to hidden_size - 1."""
    state: int = 0
    """An index of the cell's states; 0 is the output, `hidden`."""

    def spelled(self, config: ModelConfig) -> str:
        """The spelling that `parse_unit` reads, such as `L2:41.cell`."""
        state = f".{config.cell_row.states[self.state]}" if self.state else ""
        return f"L{self.layer + 1}:{self.index}{state}"


def is_unit_spelling(text: str) -> bool:
    """Whether a text is written like `L1:41`, and so is not the name of a unit."""
    return _SPELLING.fullmatch(text.strip()) is not None


def parse_unit(text: str, config: ModelConfig, names: Mapping[str, Unit] | None = None) -> Unit:
    """The unit that a text means.

    Args:
        text: a spelling, or one of `names`.
        config: the configuration of the model.
        names: the units that have names.

    Raises:
        UsageError: the text is neither, or the model has no such unit.
    """
    word = text.strip()
    if names and word in names:
        return names[word]
    spelling = _SPELLING.fullmatch(word)
    if spelling is None:
        if names:
            raise UsageError(f"{unknown_name('unit', text, names)}; or write it as L1:41")
        raise UsageError(f"unit '{text}': write it as L1:41 (layer 1, unit 41), or L1:41.cell")
    layer, index, name = int(spelling[1]), int(spelling[2]), spelling[3] or "hidden"
    states = config.cell_row.states
    if not 1 <= layer <= config.num_layers:
        raise UsageError(f"unit '{text}': {describe_layers(config.num_layers)}")
    if index >= config.hidden_size:
        raise UsageError(
            f"unit '{text}': the layers of this model have units 0 to {config.hidden_size - 1}"
        )
    if name not in states:
        raise UsageError(f"unit '{text}': its states are {', '.join(states)}")
    return Unit(layer - 1, index, states.index(name))


def describe_layers(count: int) -> str:
    """Which layers a model has, for an error about a layer that it lacks."""
    return "the model has one layer" if count == 1 else f"the model has layers 1 to {count}"


@dataclass(frozen=True, kw_only=True)
class NamedUnit:
    """A unit that gets a name."""

    unit: Unit
    says: str
    """How well it tracks the property, in words."""
    score: float
    """The same as a number, on text that the unit was not chosen by: 1 is always."""
    own: bool = False
    """Whether a person gave the name, with labels of their own."""

    def replaces(self, entry: Mapping[str, Any]) -> bool:
        """Whether it takes the name from an entry of the file."""
        if self.own or entry.get("own") is True:
            return self.own
        before = entry.get("score")
        return not is_plain_number(before) or self.score >= before


def names_path(model: Path) -> Path:
    """The file with the names of a model's units."""
    return model.with_name("units.json" if model.name == MODEL else f"{model.stem}.units.json")


def save_names(
    path: Path,
    weights: Weights,
    config: ModelConfig,
    named: Mapping[str, NamedUnit],
    *,
    overwrite: bool = False,
) -> None:
    """Adds names of units to those that the file has.

    A name that a person gave stays, unless a person gives it again. A name that was found is
    replaced only by a unit that tracks its property at least as well: a poorer text erases nothing.

    Args:
        path: the file, from `names_path`.
        weights: the weights of the model.
        config: the configuration of the model.
        named: the unit of each name.
        overwrite: whether a file that names no units may be replaced.

    Raises:
        UsageError: a file that names no units is there.
        ChargenError: the file cannot be written.
    """
    merged = _entries(path, weights)
    for name, unit in named.items():
        before = merged.get(name)
        if before is None or unit.replaces(before):
            merged[name] = {
                "name": name,
                "unit": unit.unit.spelled(config),
                "says": unit.says,
                "score": unit.score,
                "own": unit.own,
            }
    units = list(merged.values())[:_MAX_NAMES]
    value = {"format": _FORMAT, "digest": tensor_digest(weights), "units": units}
    write_own(path, json_bytes(value), _is_names, overwrite=overwrite)


def _entries(path: Path, weights: Weights) -> dict[str, dict[str, Any]]:
    """The entries of a file that names units of these weights, by name; none if it does not."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict) or value.get("digest") != tensor_digest(weights):
        return {}
    units = value.get("units")
    if not isinstance(units, list):
        return {}
    entries = [entry for entry in units or () if isinstance(entry, dict)]
    return {entry["name"]: entry for entry in entries if isinstance(entry.get("name"), str)}


def _is_names(path: Path) -> bool:
    """Whether a file names units."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and {"format", "digest", "units"} <= value.keys()


def load_names(path: Path, weights: Weights, config: ModelConfig) -> dict[str, Unit]:
    """Reads the names of a model's units; none if there is no file.

    Raises:
        ModelFileError: the file is damaged, or belongs to other weights.
    """
    if not path.is_file():
        return {}
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: cannot be read; move it away, and chargen units makes it anew"
        ) from error
    units = value.get("units") if isinstance(value, dict) else None
    if not isinstance(units, list) or value.get("format") != _FORMAT or len(units) > _MAX_NAMES:
        raise ModelFileError(
            f"{path}: does not name units; move it away, and chargen units makes it anew"
        )
    if value.get("digest") != tensor_digest(weights):
        raise ModelFileError(f"{path}: names units of other weights; chargen units makes it anew")
    return dict(_parse_entry(path, entry, config) for entry in units)


def _parse_entry(path: Path, value: Any, config: ModelConfig) -> tuple[str, Unit]:
    name, spelled = (
        (value.get("name"), value.get("unit")) if isinstance(value, dict) else (None, None)
    )
    if isinstance(name, str) and isinstance(spelled, str) and _NAME.fullmatch(name):
        try:
            return name, parse_unit(spelled, config)
        except UsageError as error:
            raise ModelFileError(f"{path}: {error}; chargen units makes it anew") from error
    raise ModelFileError(f"{path}: does not name units; chargen units makes it anew")
