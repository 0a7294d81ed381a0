"""How weights lie in a model file: in 32, 16 or 8 bits each. In memory they are float32 always.

With 8 bits, every row of a matrix has a scale of its own: the row's largest weight is 127 times it
(symmetric quantization by rows, as Jacob et al., 2018, arXiv:1712.05877, describe it by channels).
Biases stay in float32: they are few.

Shape letters: R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ModelFileError, unknown_name
from chargen.model.config import ModelConfig

Tensors = dict[str, npt.NDArray[Any]]
Weights = dict[str, npt.NDArray[np.float32]]
DTYPES = ("float32", "float16", "int8")
"""What `dtype` in a model file may be."""
_SCALE = ".scale"
_LARGEST = 127


def pack(weights: Mapping[str, npt.NDArray[np.float32]], dtype: str) -> Tensors:
    """The tensors of a file that hold these weights.

    Args:
        weights: float32, by name.
        dtype: one of `DTYPES`.
    """
    tensors: Tensors = {}
    for name, weight in weights.items():
        values = np.ascontiguousarray(weight, np.float32)
        if values.ndim < 2 or dtype == "float32":
            tensors[name] = values
        elif dtype == "float16":
            tensors[name] = values.astype(np.float16)
        else:
            scales = np.abs(values).max(axis=1) / np.float32(_LARGEST)
            # A row of zeros has no largest weight; any scale gives zeros again.
            scales[scales == 0] = 1
            tensors[name] = np.rint(values / scales[:, None]).astype(np.int8)
            tensors[name + _SCALE] = scales
    return tensors


def unpack(tensors: Tensors, dtype: str) -> Weights:
    """The weights that `pack` was given, as near as the type allows.

    Args:
        tensors: what the file holds.
        dtype: one of `DTYPES`.
    """
    weights: Weights = {}
    for name, tensor in tensors.items():
        if dtype == "int8" and name.endswith(_SCALE):
            continue
        if tensor.dtype == np.int8:
            weights[name] = tensor * tensors[name + _SCALE][:, None]
        else:
            weights[name] = tensor.astype(np.float32, copy=False)
    return weights


def stored_shapes(config: ModelConfig, dtype: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type, as safetensors names it, and shape of each tensor of weights in a file.

    Raises:
        ModelFileError: the header names another type.
    """
    if dtype not in DTYPES:
        raise ModelFileError(unknown_name("dtype", str(dtype), DTYPES))
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in config.tensor_shapes().items():
        if len(shape) < 2 or dtype == "float32":
            expected[name] = "F32", shape
        elif dtype == "float16":
            expected[name] = "F16", shape
        else:
            expected[name] = "I8", shape
            expected[name + _SCALE] = "F32", shape[:1]
    return expected
