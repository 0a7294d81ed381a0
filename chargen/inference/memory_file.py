"""The memory of a model: counts of its training text and the gates, in a file beside the model.

It is a file of safetensors like the model, with a key of its own. It holds pieces of the training
text. A model without it works as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ModelFileError
from chargen.inference.count_memory import CountMemory, OrderCounts
from chargen.inference.mixer import FEATURES, UNITS, Gate
from chargen.model.checkpoint import (
    ModelFile,
    errors_about,
    open_safetensors,
    read_tensors,
    write_safetensors,
)
from chargen.model.stored_weights import Tensors
from chargen.text.store import tokenizer_digest

KEY = "chargen-memory"
FORMAT = 1
SUFFIX = ".memory.safetensors"
_GATES = ("static", "growing")
_PARTS = ("contexts", "kinds", "tokens", "counts")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Counts, and how much they are believed beside the network."""

    counts: CountMemory
    static: Gate
    """Where the counts are those of the training text."""
    growing: Gate
    """Where they grow with what is read or written."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """The figures, and which text fitted the gates."""

    def gate(self, *, grows: bool) -> Gate:
        """The gate for counts that grow, or do not."""
        return self.growing if grows else self.static


def memory_path(model: Path) -> Path:
    """Where the memory of a model file lies."""
    return model.with_name(f"{model.stem}{SUFFIX}")


def model_mark(file: ModelFile) -> str:
    """What a memory knows its model by: its tokenizer, and a part of its weights."""
    digest = hashlib.sha256(tokenizer_digest(file.tokenizer).encode())
    digest.update(np.ascontiguousarray(file.weights["head.bias"]).tobytes())
    return digest.hexdigest()


def save_memory(path: Path, memory: Memory, file: ModelFile) -> None:
    """Writes a memory beside its model.

    Raises:
        ChargenError: it cannot be written; what was there is unchanged.
    """
    tensors: Tensors = {}
    for number, order in enumerate(memory.counts.orders):
        for part in _PARTS:
            tensors[f"orders.{number}.{part}"] = getattr(order, part)
        tensors[f"orders.{number}.discounts"] = order.discounts
    for name in _GATES:
        gate = getattr(memory, name)
        for part in ("mean", "scale", "hidden", "output"):
            tensors[f"{name}.{part}"] = np.ascontiguousarray(getattr(gate, part), np.float32)
    header = {
        "format": FORMAT,
        "model": model_mark(file),
        "vocab_size": memory.counts.vocab_size,
        "orders": len(memory.counts.orders),
        "card": dict(memory.card),
    }
    write_safetensors(path, KEY, header, tensors)


def load_memory(path: Path, file: ModelFile) -> Memory:
    """Reads the memory of a model.

    Raises:
        ModelFileError: it is damaged, or belongs to another model.
    """
    with errors_about(path), open_safetensors(path, KEY, "memory", FORMAT) as (header, handle):
        orders, card = header.get("orders"), header.get("card")
        if header.get("model") != model_mark(file):
            raise ModelFileError("it is the memory of another model")
        if not isinstance(orders, int) or not 1 <= orders <= 64 or not isinstance(card, dict):
            raise ModelFileError("its header is damaged")
        names = [f"orders.{n}.{part}" for n in range(orders) for part in (*_PARTS, "discounts")]
        gates = [f"{gate}.{part}" for gate in _GATES for part in _GATE_SHAPES]
        if set(handle.keys()) != {*names, *gates}:
            raise ModelFileError("it lacks a part")
        tensors = read_tensors(header, handle, [*names, *gates])
        vocab_size = file.config.vocab_size
        counts = CountMemory(
            vocab_size=vocab_size,
            orders=tuple(_order(tensors, number, vocab_size) for number in range(orders)),
        )
        static, growing = (_gate(tensors, name) for name in _GATES)
        return Memory(counts=counts, static=static, growing=growing, card=card)


_GATE_SHAPES = {
    "mean": (FEATURES,),
    "scale": (FEATURES,),
    "hidden": (UNITS, FEATURES + 1),
    "output": (2, UNITS + 1),
}


def _gate(tensors: Tensors, name: str) -> Gate:
    parts = {part: tensors[f"{name}.{part}"] for part in _GATE_SHAPES}
    for part, shape in _GATE_SHAPES.items():
        if parts[part].shape != shape or not np.isfinite(parts[part]).all():
            raise ModelFileError(f"its {name} gate is damaged")
    return Gate(**parts)


def _order(tensors: Tensors, number: int, vocab_size: int) -> OrderCounts:
    parts: dict[str, npt.NDArray[Any]] = {
        part: tensors[f"orders.{number}.{part}"] for part in (*_PARTS, "discounts")
    }
    contexts, kinds, tokens, counts = (parts[part] for part in _PARTS)
    is_whole = (
        contexts.dtype == np.uint32
        and all(part.dtype.kind == "u" and part.ndim == 1 for part in (kinds, tokens, counts))
        and parts["discounts"].shape == (4,)
        and len(kinds) == len(contexts)
        and len(tokens) == len(counts) == int(kinds.sum(dtype=np.int64))
        and (len(tokens) == 0 or (int(tokens.max()) < vocab_size and int(counts.min()) > 0))
        and bool((contexts[1:] > contexts[:-1]).all())
    )
    if not is_whole:
        raise ModelFileError(f"its counts of {number} tokens are damaged")
    return OrderCounts(**parts)
