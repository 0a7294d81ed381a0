"""Weights in 16 and 8 bits: near the weights, checked when read, and as small as promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chargen.errors import ModelFileError
from chargen.model.checkpoint import load_model, save_model, write_safetensors
from chargen.model.stored_weights import DTYPES, pack, unpack
from tests.conftest import make_model


@given(
    weights=arrays(np.float32, (5, 7), elements=st.floats(-8, 8, width=32)),
    dtype=st.sampled_from(DTYPES),
)
def test_weights_come_back_within_half_a_step(weights, dtype):
    back = unpack(pack({"w": weights, "b": weights[0]}, dtype), dtype)
    np.testing.assert_array_equal(back["b"], weights[0])
    largest = np.abs(weights).max(axis=1, keepdims=True)
    step = {"float32": 0 * largest, "float16": largest / 1024 + 6e-8, "int8": largest / 127}[dtype]
    assert (np.abs(back["w"] - weights) <= 0.5001 * step + 1e-30).all()
    # What is stored again is the same: a model may be saved as often as one likes.
    again = unpack(pack(back, dtype), dtype)
    np.testing.assert_allclose(again["w"], back["w"], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_is_read_as_it_was_stored(tmp_path, dtype):
    model = replace(make_model(), dtype=dtype)
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    read = load_model(path)
    assert read.dtype == dtype
    for name, weight in read.weights.items():
        assert weight.dtype == np.float32
        np.testing.assert_allclose(weight, model.weights[name], atol=0.02)
    save_model(tmp_path / "again.safetensors", read)
    again = load_model(tmp_path / "again.safetensors")
    for name, weight in again.weights.items():
        np.testing.assert_allclose(weight, read.weights[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ("int4", "unknown dtype 'int4'"),
        ("int8", "lacks tensor embedding.weight.scale"),
        (3, "dtype"),
    ],
)
def test_a_header_that_does_not_fit_its_tensors_is_refused(tmp_path, dtype, words):
    model = make_model()
    path = tmp_path / "model.safetensors"
    header = {
        "format": 2,
        "dtype": dtype,
        "config": model.config.to_json(),
        "tokenizer": model.tokenizer.to_json(),
    }
    tensors = pack(model.weights, "float16")
    write_safetensors(path, "chargen", header, tensors)
    with pytest.raises(ModelFileError, match=words):
        load_model(path)
