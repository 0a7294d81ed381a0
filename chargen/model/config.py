"""The architecture of a model: the table of cells, and the configuration that fixes all shapes.

This file has names and shapes. The equations of the cells are in inference/engine.py (numpy) and
in torch. Shape letters: V vocabulary, E embedding_size, H hidden_size, L layers, G gates, S states.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from chargen.errors import UsageError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of `CELLS`."""

    name: str
    label: str
    gates: tuple[str, ...]
    """Names of the G blocks of H rows in weight_ih (G·H, in) and weight_hh (G·H, H), in order."""
    states: tuple[str, ...]
    """Names of the S vectors (H,) that go from step to step; the first is the output."""


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell(
            name="lstm",
            label="LSTM",
            gates=("input", "forget", "candidate", "output"),
            states=("hidden", "cell"),
        ),
        Cell(name="gru", label="GRU", gates=("reset", "update", "candidate"), states=("hidden",)),
        Cell(name="rnn", label="RNN (tanh)", gates=("candidate",), states=("hidden",)),
        Cell(name="rnn-relu", label="RNN (ReLU)", gates=("candidate",), states=("hidden",)),
    )
}


_MAX_SIZE = 65_536
_MAX_LAYERS = 64
_MAX_GROUPS = 64
_MAX_VOCAB = 2_000_000


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture of a recurrent language model.

    Raises:
        UsageError: on construction, naming every field that is wrong, its value and the range.
    """

    vocab_size: int
    """Tokens in the vocabulary (V); at least 2."""
    cell: str = "lstm"
    """A row of `chargen.model.config.CELLS`."""
    hidden_size: int = 256
    """Units of each layer (H)."""
    num_layers: int = 1
    """Recurrent layers (L)."""
    groups: int = 1
    """Networks side by side. The units of every layer are divided among them: no network sees the
    units of another, each is trained on its own loss, and the logits are averaged."""
    embedding_size: int = 64
    """Width of the token embedding (E)."""
    tied_head: bool = False
    """The head's weight is the embedding's; needs embedding_size == hidden_size."""

    def __post_init__(self) -> None:
        """Checks every field and reports all problems at once."""
        ranges = {
            "vocab_size": (2, _MAX_VOCAB),
            "hidden_size": (1, _MAX_SIZE),
            "num_layers": (1, _MAX_LAYERS),
            "groups": (1, _MAX_GROUPS),
            "embedding_size": (1, _MAX_SIZE),
        }
        problems: list[str] = []
        for name, (low, high) in ranges.items():
            value: object = getattr(self, name)
            label = name.removeprefix("num_").replace("_", "-")  # as on the command line
            if type(value) is not int or not low <= value <= high:
                problems.append(f"{label} {value!r}: must be a whole number from {low} to {high:,}")
        if str(self.cell) not in CELLS:
            problems.append(unknown_name("cell", str(self.cell), CELLS))
        if type(self.tied_head) is not bool:
            problems.append(f"tied_head {self.tied_head!r}: must be true or false")
        elif self.tied_head and self.embedding_size != self.hidden_size:
            problems.append(
                f"embedding-size {self.embedding_size}: a tied head needs it equal to "
                f"hidden-size ({self.hidden_size})"
            )
        if not problems and self.groups > 1 and self.tied_head:
            problems.append(f"groups {self.groups}: a tied head serves one network only")
        if not problems and self.hidden_size % self.groups:
            problems.append(
                f"groups {self.groups}: hidden-size {self.hidden_size} cannot be divided by it"
            )
        if problems:
            raise UsageError("; ".join(problems))

    @property
    def cell_row(self) -> Cell:
        """The row of the table of cells."""
        return CELLS[self.cell]

    @property
    def group_size(self) -> int:
        """Units of one group in each layer."""
        return self.hidden_size // self.groups

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(L, S, H): the shape of the whole recurrent state."""
        return (self.num_layers, len(self.cell_row.states), self.hidden_size)

    @property
    def units_label(self) -> str:
        """The size in words: `448 units`, `2 layers of 512 units`, `6 groups of 640 units`."""
        layers = "" if self.num_layers == 1 else f"{self.num_layers} layers of "
        groups = "" if self.groups == 1 else f"{self.groups} groups of "
        return f"{layers}{groups}{self.group_size} units"

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, with the names, the order and the layout of torch.

        The rows of several groups follow one another: all gates of the first group, then all gates
        of the second. The state and the head have the units in the same order.
        """
        rows = len(self.cell_row.gates) * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocab_size, self.embedding_size)
        }
        for layer in range(self.num_layers):
            inputs = self.embedding_size if layer == 0 else self.group_size
            shapes[f"layers.{layer}.weight_ih"] = (rows, inputs)
            shapes[f"layers.{layer}.weight_hh"] = (rows, self.group_size)
            shapes[f"layers.{layer}.bias_ih"] = (rows,)
            shapes[f"layers.{layer}.bias_hh"] = (rows,)
        if not self.tied_head:
            shapes["head.weight"] = (self.vocab_size, self.hidden_size)
        shapes["head.bias"] = (self.vocab_size,)
        return shapes

    @property
    def num_parameters(self) -> int:
        """The number of weights in all tensors."""
        total = 0
        for shape in self.tensor_shapes().values():
            size = 1
            for length in shape:
                size *= length
            total += size
        return total

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values, for the model file."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> ModelConfig:
        """Rebuilds a configuration from plain values.

        Raises:
            UsageError: a field is missing, unknown or out of range.
        """
        if not isinstance(value, dict):
            raise UsageError("the model config is not an object")
        names = {field.name for field in fields(cls)}
        foreign = sorted(str(key) for key in value if key not in names)
        if foreign:
            raise UsageError(f"the model config has unknown fields: {', '.join(foreign[:5])}")
        if "vocab_size" not in value:
            raise UsageError("the model config lacks vocab_size")
        return cls(**value)
