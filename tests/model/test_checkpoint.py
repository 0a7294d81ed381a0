"""The model file: an undamaged file is loaded exactly, a damaged file is refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from chargen.errors import ModelFileError
from chargen.model.checkpoint import (
    FORMAT,
    ModelFile,
    load_model,
    save_model,
    tensor_digest,
)
from chargen.text.subword import SubwordBuilder
from tests.conftest import SHAPES, make_model


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
@pytest.mark.parametrize("tied_head", [False, True])
def test_a_saved_model_is_loaded_exactly(tmp_path, cell, layers, tied_head):
    model = make_model(cell, layers, tied_head=tied_head)
    save_model(tmp_path / "m.safetensors", model)
    again = load_model(tmp_path / "m.safetensors")
    assert again.config == model.config
    assert again.tokenizer == model.tokenizer
    assert again.weights.keys() == model.weights.keys()
    for name, tensor in model.weights.items():
        assert np.array_equal(again.weights[name], tensor)
    assert ("head.weight" in again.weights) != tied_head


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save_model(tmp_path / name, make_model())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_sentencepiece_model_is_stored_as_a_tensor(tmp_path, prose):
    builder = SubwordBuilder(400)
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    model = make_model()
    config = type(model.config)(**{**model.config.to_json(), "vocab_size": tokenizer.vocab_size})
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    path = tmp_path / "m.safetensors"
    save_model(path, ModelFile(config=config, tokenizer=tokenizer.to_state(), weights=weights))
    assert load_tensors(path.read_bytes())["tokenizer.model"].dtype == np.uint8
    assert np.array_equal(load_model(path).build_tokenizer().encode(prose), tokenizer.encode(prose))


def parts(path):
    """Tensors and header of a model file, through safetensors' own layout."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return load_tensors(data), json.loads(header["__metadata__"]["chargen"])


def rewrite(path, tensors, header):
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(save_tensors(tensors, {"chargen": text}))


def refuse(path, match=None):
    with pytest.raises(ModelFileError, match=match) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


CHANGES = {
    "newer format": (lambda h: h.update(format=FORMAT + 1), "install a newer"),
    "format of no number": (lambda h: h.update(format="one"), "format version"),
    "no config": (lambda h: h.pop("config"), "config is not an object"),
    "no vocab_size": (lambda h: h["config"].pop("vocab_size"), "lacks vocab_size"),
    "other vocab_size": (lambda h: h["config"].update(vocab_size=11), "its config asks for"),
    "negative size": (lambda h: h["config"].update(hidden_size=-4), "hidden-size -4"),
    "boolean size": (lambda h: h["config"].update(hidden_size=True), "hidden-size True"),
    "huge size": (lambda h: h["config"].update(hidden_size=10**9), "hidden-size 1000000000"),
    "huge depth": (lambda h: h["config"].update(num_layers=10**6), "layers 1000000"),
    "unknown cell": (lambda h: h["config"].update(cell="lsmt"), "did you mean 'lstm'"),
    "list as cell": (lambda h: h["config"].update(cell=["lstm"]), "unknown cell"),
    "foreign field": (lambda h: h["config"].update(wings=2), "unknown fields: wings"),
    "no tokenizer": (lambda h: h.pop("tokenizer"), "no tokenizer"),
    "other tokenizer": (lambda h: h["tokenizer"].update(characters="ab"), "has 2 tokens"),
    "card of no object": (lambda h: h.update(card=[1]), "card is not an object"),
    "other digest": (lambda h: h.update(digest="0" * 64), "damaged"),
    "digest of no text": (lambda h: h.update(digest=3), "damaged"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=list(CHANGES))
def test_headers_with_wrong_values_are_refused(model_path, change, message):
    tensors, header = parts(model_path)
    change(header)
    rewrite(model_path, tensors, header)
    refuse(model_path, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "not a JSON object"), ("[" * 10**6, "nested too deeply")],
)
def test_headers_that_are_not_json_objects_are_refused(model_path, text, message):
    rewrite(model_path, parts(model_path)[0], text)
    refuse(model_path, message)


def test_tensors_that_do_not_fit_are_refused(model_path):
    tensors, header = parts(model_path)
    cases = {
        "lacks tensor head.bias": {k: v for k, v in tensors.items() if k != "head.bias"},
        "foreign tensor 'wings'": {**tensors, "wings": np.zeros(3, np.float32)},
        "tensor head.bias is F32": {**tensors, "head.bias": np.zeros(3, np.float32)},
        "tensor head.bias is F16": {**tensors, "head.bias": tensors["head.bias"].astype("f2")},
        "not finite": {**tensors, "head.bias": np.full_like(tensors["head.bias"], np.nan)},
    }
    for message, changed in cases.items():
        rewrite(model_path, changed, header)
        refuse(model_path, message)


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    for protocol in range(6):
        path.write_bytes(pickle.dumps({"a": np.arange(50)}, protocol=protocol))
        refuse(path, "pickle or zip archive" if protocol >= 2 else "old pickle|not a safetensors")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("archive/data.pkl", "x" * 100)
    path.write_bytes(archive.getvalue())
    refuse(path, "pickle or zip archive")
    path.write_bytes(save_tensors({"a": np.zeros(3, np.float32)}))
    refuse(path, "not a chargen model")
    path.write_bytes(struct.pack("<Q", 8 << 30) + b"{}")
    refuse(path, "header of 8,589,934,592 announced")
    path.write_bytes(b"")
    refuse(path, "truncated")
    refuse(tmp_path, "folder")
    refuse(tmp_path / "missing", "no such model file")


def test_a_sparse_file_with_a_header_of_gigabytes_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    with path.open("wb") as out:
        out.write(struct.pack("<Q", 3 << 30) + b"{")
        out.truncate(4 << 30)
    refuse(path, "over the limit")


def test_a_truncated_file_is_refused(model_path):
    data = model_path.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 60)):
        model_path.write_bytes(data[:length])
        refuse(model_path)


@given(st.data())
def test_a_changed_byte_is_refused_or_has_no_effect(tmp_path, data):
    path = tmp_path / "m.safetensors"
    save_model(path, make_model())
    original, raw = load_model(path), bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with suppress(ModelFileError):
        changed = load_model(path)
        # What is not refused left the tensors and their shapes as they were.
        assert changed.config.state_shape == original.config.state_shape
        for name, tensor in original.weights.items():
            assert np.array_equal(changed.weights[name], tensor)


def test_a_file_without_a_digest_is_loaded(model_path):
    tensors, header = parts(model_path)
    del header["digest"]
    rewrite(model_path, tensors, header)
    assert load_model(model_path).config == make_model().config


def test_digests_depend_on_names_and_values():
    tensors = {"b": np.arange(3, dtype=np.float32), "a": np.ones((1, 2), np.float32)}
    plain = hashlib.sha256(b"a" + tensors["a"].tobytes() + b"b" + tensors["b"].tobytes())
    assert tensor_digest(tensors, separator=b"") == plain.hexdigest()
    marked = hashlib.sha256(b"a\0" + tensors["a"].tobytes() + b"b\0" + tensors["b"].tobytes())
    assert tensor_digest(tensors) == marked.hexdigest()
    assert tensor_digest({"a": tensors["b"], "b": tensors["a"]}) != tensor_digest(tensors)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(path, make_model())
    before = path.read_bytes()
    model = make_model(seed=1)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Exception, match=r"No space left.*unchanged"):
        save_model(path, model)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["m.safetensors"]
