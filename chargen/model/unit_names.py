"""Single units of a model, and how people write them: `L2:41`, `L2:41.cell`, or by name.

Layers count from 1, as people count them; units from 0, as arrays do. Names stand in a file beside
the model, which says to which weights they belong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chargen.errors import ModelFileError, UsageError, unknown_name
from chargen.files import parse_json, write_json
from chargen.model.checkpoint import Weights, tensor_digest
from chargen.model.config import ModelConfig
from chargen.model.runs import MODEL

_SPELLED = re.compile(r"[Ll](\d{1,6}):(\d{1,9})(?:\.(\w+))?")


@dataclass(frozen=True, order=True)
class Unit:
    """One number of a state."""

    layer: int
    """From 0."""
    index: int
    """From 0 to hidden_size - 1."""
    state: int = 0
    """Which of the cell's states; 0 is the output, `hidden`."""

    def spelled(self, config: ModelConfig) -> str:
        """As `parse_unit` reads it."""
        state = f".{config.cell_row.states[self.state]}" if self.state else ""
        return f"L{self.layer + 1}:{self.index}{state}"


def is_spelled(text: str) -> bool:
    """Whether it is written by number, and so cannot be a name."""
    return _SPELLED.fullmatch(text.strip()) is not None


def parse_unit(text: str, config: ModelConfig, names: Mapping[str, Unit] | None = None) -> Unit:
    """The unit that a person wrote.

    Args:
        text: what was written.
        config: of the model.
        names: units that have names.

    Raises:
        UsageError: it is not spelled so, or the model has no such unit.
    """
    word = text.strip()
    if names and word in names:
        return names[word]
    found = _SPELLED.fullmatch(word)
    if found is None:
        if names:
            raise UsageError(f"{unknown_name('unit', text, names)}; or write it as L1:41")
        raise UsageError(f"unit '{text}': write it as L1:41 (layer 1, unit 41), or L1:41.cell")
    layer, index, name = int(found[1]), int(found[2]), found[3] or "hidden"
    states = config.cell_row.states
    if not 1 <= layer <= config.num_layers:
        raise UsageError(f"unit '{text}': the model has layers 1 to {config.num_layers}")
    if index >= config.hidden_size:
        raise UsageError(f"unit '{text}': its layers have units 0 to {config.hidden_size - 1}")
    if name not in states:
        raise UsageError(f"unit '{text}': its states are {', '.join(states)}")
    return Unit(layer - 1, index, states.index(name))


_FORMAT = 1
_NAME = re.compile(r"[^\W_][\w.+-]{0,39}")
_MOST = 1000


def names_path(model: Path) -> Path:
    """Where the names of a model file's units stand."""
    return model.with_name("units.json" if model.name == MODEL else f"{model.stem}.units.json")


def save_names(
    path: Path, weights: Weights, config: ModelConfig, named: Mapping[str, tuple[Unit, str]]
) -> None:
    """Write which units track what.

    Args:
        path: of `names_path`.
        weights: of the model that they were found in.
        config: of the model.
        named: by name, the unit and in words how well it does.

    Raises:
        ChargenError: the file cannot be written.
    """
    units = [
        {"name": name, "unit": unit.spelled(config), "says": says}
        for name, (unit, says) in named.items()
    ]
    write_json(path, {"format": _FORMAT, "digest": tensor_digest(weights), "units": units})


def load_names(path: Path, weights: Weights, config: ModelConfig) -> dict[str, Unit]:
    """The named units of a model; none where there is no file.

    Raises:
        ModelFileError: the file is damaged, or belongs to other weights.
    """
    if not path.is_file():
        return {}
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read; chargen units makes it anew") from error
    units = value.get("units") if isinstance(value, dict) else None
    if not isinstance(units, list) or value.get("format") != _FORMAT or len(units) > _MOST:
        raise ModelFileError(f"{path}: does not name units; chargen units makes it anew")
    if value.get("digest") != tensor_digest(weights):
        raise ModelFileError(f"{path}: names units of other weights; chargen units makes it anew")
    return dict(_entry(path, one, config) for one in units)


def _entry(path: Path, value: Any, config: ModelConfig) -> tuple[str, Unit]:
    name, spelled = (
        (value.get("name"), value.get("unit")) if isinstance(value, dict) else (None, None)
    )
    if isinstance(name, str) and isinstance(spelled, str) and _NAME.fullmatch(name):
        try:
            return name, parse_unit(spelled, config)
        except UsageError as error:
            raise ModelFileError(f"{path}: {error}; chargen units makes it anew") from error
    raise ModelFileError(f"{path}: does not name units; chargen units makes it anew")
