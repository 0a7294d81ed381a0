"""The model file: weights, tokenizer and card in one safetensors file.

A file has tensors under the names of `ModelConfig.tensor_shapes`. Its metadata key `chargen` holds
a JSON header with `format`, `config`, `tokenizer`, `card`, `digest` (SHA-256 over the tensors) and,
where weights lie there in fewer than 32 bits, `dtype` (stored_weights.py). The snapshot of a run
(training/snapshot.py) is a file of the same kind with another key; the functions for both come
first.

A file is checked before it is trusted: sizes before memory is taken, shapes before tensors are
read. No pickle is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save

from chargen.errors import ModelFileError, UsageError, reason_of
from chargen.files import atomic_writer, is_unsupported, parse_json
from chargen.model.config import ModelConfig
from chargen.model.stored_weights import Tensors, Weights, pack, stored_shapes, unpack
from chargen.text.registry import tokenizer_from_state
from chargen.text.tokenizer import Tokenizer, TokenizerState

KEY = "chargen"
FORMAT = 2
"""The newest. Files of format 1 have no `dtype`; they are written where it is float32."""
TOKENIZER_TENSOR = "tokenizer.model"
"""The uint8 tensor that holds the model of a SentencePiece tokenizer."""
_MAX_HEADER_BYTES = 64 << 20
_MAX_BLOB_BYTES = 64 << 20


def write_safetensors(path: Path, key: str, header: Mapping[str, Any], tensors: Tensors) -> None:
    """Writes a header and tensors atomically; the same content gives the same bytes.

    Args:
        path: the file.
        key: the metadata key of the header.
        header: plain values; `digest` is added.
        tensors: the tensors, by name.

    Raises:
        ChargenError: the file cannot be written; what was there is unchanged.
    """
    text = json.dumps({**header, "digest": tensor_digest(tensors)}, sort_keys=True)
    with atomic_writer(path) as handle:
        handle.write(save(tensors, {key: text}))


@contextmanager
def open_safetensors(
    path: Path, key: str, kind: str, newest: int
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Opens a file and checks its header; no tensor is read yet.

    Args:
        path: the file.
        key: the metadata key of the header.
        kind: what the file should be, for the message.
        newest: the newest format that can be read.

    Yields:
        The header, and the handle of safetensors.

    Raises:
        ModelFileError: the file is of another kind. `errors_about` adds the path to the message.
    """
    _check_header_length(path)
    with _mapped(path) as handle:
        yield _parse_header(handle.metadata(), key, kind, newest), handle


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    """The handle of safetensors, which maps the file into memory.

    Where the file system cannot do that, a copy in the folder for temporary files is mapped.
    """
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(safetensors.safe_open(path, framework="numpy"))
        except OSError as error:
            if not is_unsupported(error):
                raise
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chargen-"))
            copy = shutil.copyfile(path, Path(folder) / "copy.safetensors")
            handle = stack.enter_context(safetensors.safe_open(copy, framework="numpy"))
        yield handle


def read_tensors(header: Mapping[str, Any], handle: Any, names: Iterable[str]) -> Tensors:
    """Reads all tensors of a file.

    Args:
        header: the header, whose digest the tensors must match.
        handle: the handle of safetensors.
        names: the names of all tensors of the file.

    Raises:
        ModelFileError: a value is not finite, or the tensors do not match the digest.
    """
    tensors = {name: handle.get_tensor(name) for name in names}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFileError(f"tensor {name} has values that are not finite numbers")
    if header.get("digest", "") not in ("", tensor_digest(tensors)):
        raise ModelFileError("its tensors do not match its digest: the file is damaged")
    return tensors


def tensor_digest(tensors: Mapping[str, npt.NDArray[Any]], *, separator: bytes = b"\0") -> str:
    """SHA-256 over names and bytes of the tensors, in the order of their names.

    Args:
        tensors: the tensors, by name.
        separator: follows each name. Session files were always written with an empty one.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + separator)
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


@contextmanager
def errors_about(path: Path) -> Iterator[None]:
    """Turns every failure in the block into a ModelFileError that begins with the path."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except UsageError as error:
        raise ModelFileError(f"{path}: not a usable model: {error}") from error
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such model file") from error
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise ModelFileError(f"{path}: cannot be read ({reason})") from error
    except safetensors.SafetensorError as error:
        raise ModelFileError(
            f"{path}: not a safetensors file, or truncated ({_without_class(error)})"
        ) from error


def _without_class(error: BaseException) -> str:
    """The message of a safetensors error without the name in front of it."""
    return str(error).partition(": ")[2] or str(error)


def _check_header_length(path: Path) -> None:
    """Checks the length in the first eight bytes; the library would allocate it unchecked."""
    if path.is_dir():
        raise ModelFileError("is a folder without a model in it")
    if path.exists() and not path.is_file():
        raise ModelFileError("not an ordinary file")
    with path.open("rb") as stream:
        start = stream.read(9)
        size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or length > size - 8:
        # Read as a length, the first bytes of other files are far larger than the file.
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
    if length > _MAX_HEADER_BYTES:
        raise ModelFileError(
            f"its header of {length:,} bytes is over the limit of {_MAX_HEADER_BYTES:,}"
        )


def _parse_header(
    metadata: Mapping[str, str] | None, key: str, kind: str, newest: int
) -> dict[str, Any]:
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
            f"written in format {version}; this chargen reads up to {newest}: "
            "install a newer chargen"
        )
    return header


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The content of a model file."""

    config: ModelConfig
    tokenizer: TokenizerState
    weights: Weights
    card: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    """How the weights lie in the file: one of `DTYPES`. In memory they are float32."""

    def build_tokenizer(self) -> Tokenizer:
        """Builds the tokenizer from its state.

        Raises:
            ModelFileError: the tokenizer is damaged, or has another vocabulary size than the model.
        """
        tokenizer = tokenizer_from_state(self.tokenizer)
        if tokenizer.vocab_size != self.config.vocab_size:
            raise ModelFileError(
                f"its tokenizer has {tokenizer.vocab_size} tokens, its config says "
                f"{self.config.vocab_size}"
            )
        return tokenizer


def save_model(path: Path, model: ModelFile) -> None:
    """Writes a model file atomically; the same content gives the same bytes.

    Raises:
        ChargenError: the file cannot be written; what was there is unchanged.
    """
    weights = {name: model.weights[name] for name in model.config.tensor_shapes()}
    tensors = pack(weights, model.dtype)
    if model.tokenizer.blob is not None:
        tensors[TOKENIZER_TENSOR] = np.frombuffer(model.tokenizer.blob, np.uint8)
    header: dict[str, Any] = {"format": 1}
    if model.dtype != "float32":
        header = {"format": 2, "dtype": model.dtype}
    header |= {
        "config": model.config.to_json(),
        "tokenizer": model.tokenizer.to_json(),
        "card": without_paths(model.card),
    }
    write_safetensors(path, KEY, header, tensors)


def without_paths(card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a card, and the cards of its bases in it, without the paths of a machine.

    A model file is given to others; 0.1 wrote where the base of a fine-tuned model lay.
    """
    kept = level = _without_path(card)
    # A loop, because a card from elsewhere may be nested as deeply as JSON may.
    while isinstance(base := level.get("base"), dict):
        inner = base.get("card")
        if not isinstance(inner, dict):
            break
        level["base"] = {**base, "card": _without_path(inner)}
        level = level["base"]["card"]
    return kept


def _without_path(card: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key != "base_path"}


def load_model(path: Path) -> ModelFile:
    """Reads and checks a model file.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind, or of a newer format.
    """
    with errors_about(path):
        with open_safetensors(path, KEY, "a chargen model", FORMAT) as (header, handle):
            config = ModelConfig.from_json(header.get("config"))
            dtype = header.get("dtype", "float32")
            tensors = read_tensors(header, handle, _check_tensors(handle, config, dtype))
        blob = tensors.pop(TOKENIZER_TENSOR, None)
        tokenizer = tokenizer_state(header.get("tokenizer"), blob)
        card = header.get("card", {})
        if not isinstance(card, dict):
            raise ModelFileError("its card is not an object")
        card = without_paths(card)
        weights = unpack(tensors, dtype)
        model = ModelFile(
            config=config, tokenizer=tokenizer, weights=weights, card=card, dtype=dtype
        )
        model.build_tokenizer()
        return model


def read_card(path: Path) -> dict[str, Any]:
    """The card of a model file, without its weights.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind, or of a newer format.
    """
    with errors_about(path), open_safetensors(path, KEY, "a chargen model", FORMAT) as (header, _):
        card = header.get("card", {})
        if not isinstance(card, dict):
            raise ModelFileError("its card is not an object")
        return card


def _check_tensors(handle: Any, config: ModelConfig, dtype: Any) -> list[str]:
    """Checks types and shapes against the config; returns the names of all tensors."""
    expected = stored_shapes(config, dtype)
    present = set(handle.keys())
    missing = sorted(set(expected) - present)
    foreign = sorted(present - set(expected) - {TOKENIZER_TENSOR})
    if missing or foreign:
        fault = f"lacks tensor {missing[0]}" if missing else f"has a foreign tensor {foreign[0]!r}"
        raise ModelFileError(f"{fault}; its tensors do not fit its config")
    for name, (kind, expected_shape) in expected.items():
        found, shape = _dtype_and_shape(handle, name)
        if (found, shape) != (kind, expected_shape):
            raise ModelFileError(
                f"tensor {name} is {found} {shape}, its config asks for {kind} {expected_shape}"
            )
    if TOKENIZER_TENSOR in present:
        found, shape = _dtype_and_shape(handle, TOKENIZER_TENSOR)
        if found != "U8" or len(shape) != 1 or shape[0] > _MAX_BLOB_BYTES:
            raise ModelFileError(f"tensor {TOKENIZER_TENSOR} is {found} {shape}, not bytes")
    return sorted(present)


def _dtype_and_shape(handle: Any, name: str) -> tuple[str, tuple[int, ...]]:
    tensor = handle.get_slice(name)
    return tensor.get_dtype(), tuple(tensor.get_shape())


def tokenizer_state(value: Any, blob: npt.NDArray[np.uint8] | None) -> TokenizerState:
    """The state of a tokenizer, from the header of a file and its tensor `TOKENIZER_TENSOR`.

    Args:
        value: `tokenizer` of the header.
        blob: the tensor; None if the file has none.

    Raises:
        ModelFileError: the header names no tokenizer.
    """
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ModelFileError("its header names no tokenizer")
    settings = {key: setting for key, setting in value.items() if key != "kind"}
    return TokenizerState(
        kind=value["kind"], settings=settings, blob=None if blob is None else blob.tobytes()
    )
