"""The model file: weights, tokenizer and card in one safetensors file.

Float32 tensors under the names of `ModelConfig.tensor_shapes`; the metadata key `chargen` holds
JSON with `format`, `config`, `tokenizer`, `card` and `digest` (SHA-256 over the tensors).
A file is somebody else's until it is checked: sizes before memory, shapes before use, no pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ModelFileError
from chargen.model.config import ModelConfig
from chargen.model.container import (
    complaints_about,
    opened_container,
    read_tensors,
    write_container,
)
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import Tokenizer, TokenizerState

Weights = dict[str, npt.NDArray[np.float32]]
KEY = "chargen"
FORMAT = 1
BLOB = "tokenizer.model"
"""The tensor of bytes that a SentencePiece tokenizer lies in."""
_MAX_BLOB = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What a model file holds."""

    config: ModelConfig
    tokenizer: TokenizerState
    weights: Weights
    card: dict[str, Any] = field(default_factory=dict)

    def build_tokenizer(self) -> Tokenizer:
        """The tokenizer, ready to use.

        Raises:
            ModelFileError: it is damaged, or does not fit the model's vocabulary.
        """
        tokenizer = tokenizer_from_state(self.tokenizer)
        if tokenizer.vocab_size != self.config.vocab_size:
            raise ModelFileError(
                f"its tokenizer has {tokenizer.vocab_size} tokens, its config says "
                f"{self.config.vocab_size}"
            )
        return tokenizer


def save_model(path: Path, model: ModelFile) -> None:
    """Write a model file, atomically; the same content gives the same bytes.

    Raises:
        ChargenError: it cannot be written; what was there is unchanged.
    """
    tensors: dict[str, npt.NDArray[Any]] = {
        name: np.ascontiguousarray(model.weights[name], np.float32)
        for name in model.config.tensor_shapes()
    }
    if model.tokenizer.blob is not None:
        tensors[BLOB] = np.frombuffer(model.tokenizer.blob, np.uint8)
    header = {
        "format": FORMAT,
        "config": model.config.to_json(),
        "tokenizer": model.tokenizer.to_json(),
        "card": model.card,
    }
    write_container(path, KEY, header, tensors)


def load_model(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: it is missing, damaged, of another kind, or of a newer format.
    """
    with complaints_about(path):
        with opened_container(path, KEY, "a chargen model", FORMAT) as (header, handle):
            config = ModelConfig.from_json(header.get("config"))
            tensors = read_tensors(header, handle, _check_tensors(handle, config))
        blob = tensors.pop(BLOB, None)
        tokenizer = tokenizer_state(header.get("tokenizer"), blob)
        card = header.get("card", {})
        if not isinstance(card, dict):
            raise ModelFileError("its card is not an object")
        model = ModelFile(config=config, tokenizer=tokenizer, weights=tensors, card=card)
        model.build_tokenizer()
        return model


def _check_tensors(handle: Any, config: ModelConfig) -> list[str]:
    """The names of the tensors, once all of them have the shapes that the config asks for."""
    wanted = config.tensor_shapes()
    present = set(handle.keys())
    missing = sorted(set(wanted) - present)
    foreign = sorted(present - set(wanted) - {BLOB})
    if missing or foreign:
        what = f"lacks tensor {missing[0]}" if missing else f"has a foreign tensor {foreign[0]!r}"
        raise ModelFileError(f"{what}; its tensors do not fit its config")
    for name, shape in wanted.items():
        part = handle.get_slice(name)
        if part.get_dtype() != "F32" or tuple(part.get_shape()) != shape:
            raise ModelFileError(
                f"tensor {name} is {part.get_dtype()} {tuple(part.get_shape())}, "
                f"its config asks for F32 {shape}"
            )
    if BLOB in present:
        part = handle.get_slice(BLOB)
        shape = tuple(part.get_shape())
        if part.get_dtype() != "U8" or len(shape) != 1 or shape[0] > _MAX_BLOB:
            raise ModelFileError(f"tensor {BLOB} is {part.get_dtype()} {shape}, not bytes")
    return sorted(present)


def tokenizer_state(value: Any, blob: npt.NDArray[np.uint8] | None) -> TokenizerState:
    """A tokenizer's state from a header and the tensor beside it.

    Raises:
        ModelFileError: it names none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ModelFileError("its header names no tokenizer")
    settings = {key: one for key, one in value.items() if key != "kind"}
    return TokenizerState(
        kind=value["kind"], settings=settings, blob=None if blob is None else blob.tobytes()
    )
