"""What the model file and the snapshot share: tensors and a JSON header, in one safetensors file.

A file is somebody else's until it is checked: sizes before memory, a digest over all tensors, no
pickle. Which tensors it must hold is for the callers to say, before any is read.

The model file: weights, tokenizer and card in one safetensors file.

Float32 tensors under the names of `ModelConfig.tensor_shapes`; the metadata key `chargen` holds
JSON with `format`, `config`, `tokenizer`, `card` and `digest` (SHA-256 over the tensors).
A file is somebody else's until it is checked: sizes before memory, shapes before use, no pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save

from chargen.errors import ModelFileError, UsageError
from chargen.files import atomic_writer, parse_json
from chargen.model.config import ModelConfig
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import Tokenizer, TokenizerState

Tensors = dict[str, npt.NDArray[Any]]
_MAX_HEADER = 64 << 20


def write_safetensors(path: Path, key: str, header: Mapping[str, Any], tensors: Tensors) -> None:
    """Write header and tensors, atomically; the same content gives the same bytes.

    Raises:
        ChargenError: it cannot be written; what was there is unchanged.
    """
    text = json.dumps({**header, "digest": tensor_digest(tensors)}, sort_keys=True)
    with atomic_writer(path) as handle:
        handle.write(save(tensors, {key: text}))


@contextmanager
def open_safetensors(
    path: Path, key: str, kind: str, newest: int
) -> Iterator[tuple[dict[str, Any], Any]]:
    """The header, checked, and safetensors' handle, with which nothing was read yet.

    Args:
        path: of the file.
        key: of the metadata that holds the header.
        kind: what it ought to be, for the message.
        newest: the newest format that can be read.

    Raises:
        ModelFileError: it is not such a file; the message lacks the file's name.
    """
    _check_length(path)
    with safetensors.safe_open(path, framework="numpy") as handle:
        yield _header(handle.metadata(), key, kind, newest), handle


def read_tensors(header: Mapping[str, Any], handle: Any, names: Iterable[str]) -> Tensors:
    """These tensors of a file, which must be all: finite, and as the header's digest says.

    Raises:
        ModelFileError: they are not what was written.
    """
    tensors = {name: handle.get_tensor(name) for name in names}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFileError(f"tensor {name} has values that are not finite numbers")
    if header.get("digest", "") not in ("", tensor_digest(tensors)):
        raise ModelFileError("its tensors do not match its digest: the file is damaged")
    return tensors


def tensor_digest(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 over names and bytes of the tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


@contextmanager
def complaints_about(path: Path) -> Iterator[None]:
    """Every failure in the block becomes one line that begins with the file's name."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except UsageError as error:
        raise ModelFileError(f"{path}: not a usable model: {error}") from error
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such model file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path}: cannot be read ({reason})") from error
    except safetensors.SafetensorError as error:
        raise ModelFileError(
            f"{path}: not a safetensors file, or truncated ({_plain(error)})"
        ) from error


def _plain(error: BaseException) -> str:
    return str(error).partition(": ")[2] or str(error)


def _check_length(path: Path) -> None:
    """Refuse by the first eight bytes what the library would read into memory first."""
    if path.is_dir():
        raise ModelFileError("is a folder without a model in it")
    if path.exists() and not path.is_file():
        raise ModelFileError("not an ordinary file")
    with path.open("rb") as stream:
        start = stream.read(9)
        size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or length > size - 8:
        # Their first bytes, read as a length, announce far more than the file holds.
        if start.startswith((b"PK\3\4", b"\x80")):
            raise ModelFileError(
                "a pickle or zip archive (a torch checkpoint?), which chargen never opens; "
                "it reads .safetensors files written by chargen"
            )
        if start and start.isascii() and min(start) >= 9:
            raise ModelFileError(
                "a text or an old pickle, not a model; MODEL comes before any FILE"
            )
        raise ModelFileError(
            f"not a safetensors file, or truncated ({size:,} bytes, header of {length:,} announced)"
        )
    if length > _MAX_HEADER:
        raise ModelFileError(f"its header of {length:,} bytes is over the limit of {_MAX_HEADER:,}")


def _header(metadata: Mapping[str, str] | None, key: str, kind: str, newest: int) -> dict[str, Any]:
    text = (metadata or {}).get(key)
    if text is None:
        raise ModelFileError(f"a safetensors file, but not {kind} (no key {key!r})")
    try:
        header = parse_json(text)
    except ValueError as error:
        raise ModelFileError(f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise ModelFileError("its header is not a JSON object")
    version = header.get("format")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"its format version is {version!r}, not a number")
    if version > newest:
        raise ModelFileError(
            f"written in format {version}; this chargen reads up to {newest}: install a newer one"
        )
    return header


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
    write_safetensors(path, KEY, header, tensors)


def load_model(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: it is missing, damaged, of another kind, or of a newer format.
    """
    with complaints_about(path):
        with open_safetensors(path, KEY, "a chargen model", FORMAT) as (header, handle):
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
