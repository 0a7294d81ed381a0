"""Fixtures of all tests: an empty folder and cache for each test, real text, small models."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

# Set before numpy and torch are loaded, and inherited by the processes that tests start. Models of
# tests are so small that a second thread only waits, and two tests run side by side.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
os.environ["OPENBLAS_NUM_THREADS"] = os.environ.get("OPENBLAS_NUM_THREADS", "1")
# A GPU of this machine must not decide what a test sees; `make gpu` shows it to those that ask.
if not os.environ.get("CHARGEN_GPU_TESTS"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from chargen.model.checkpoint import ModelFile, save_model
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer

settings.register_profile(
    "house",
    deadline=None,  # no test depends on time
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("house")


def pytest_configure():
    """Gives signals their usual meaning: what nohup or `&` ignores, the tests send on purpose."""
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows lacks two of them
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(number, usual)


CELLS = ("lstm", "gru", "rnn", "rnn-relu")
SHAPES = list(itertools.product(CELLS, (1, 2, 3)))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, tmp_path_factory, monkeypatch):
    """Run each test in an empty folder, with its own cache and without a network."""
    # The compiled kernels are shared by all tests: they are compiled once.
    kernels = tmp_path_factory.getbasetemp() / "kernels"
    kernels.mkdir(exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CHARGEN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for variable in ("NO_COLOR", "COLUMNS", "LINES"):  # pytest-xdist sets the last two
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    if "torch" in sys.modules:  # training flushes subnormal numbers to zero; other tests need them
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def prose() -> str:
    """Real text: the first topics of Python's language reference."""
    from pydoc_data.topics import topics

    return "\n".join(text for _, text in sorted(topics.items()))[:60_000]


def make_model(
    cell: str = "lstm",
    layers: int = 1,
    *,
    hidden_size: int = 12,
    embedding_size: int = 7,
    characters: str = "\n abcdefgh",
    documents: bool = False,
    tied_head: bool = False,
    groups: int = 1,
    seed: int = 0,
) -> ModelFile:
    """A small model with random weights, large enough that its predictions differ."""
    tokenizer = CharTokenizer(characters, documents=documents)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        cell=cell,
        hidden_size=hidden_size,
        num_layers=layers,
        embedding_size=hidden_size if tied_head else embedding_size,
        tied_head=tied_head,
        groups=groups,
    )
    random = np.random.default_rng(seed)
    # The spectral radius of the recurrences is below 1: a larger one could magnify rounding.
    inner, outer = 0.6 / np.sqrt(hidden_size), 0.4
    weights = {
        name: random.normal(0, inner if "weight_hh" in name else outer, shape).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    return ModelFile(config=config, tokenizer=tokenizer.to_state(), weights=weights)


def joined_groups(model: ModelFile) -> ModelFile:
    """The same model as one group, with zero weights between units of different groups."""
    config = model.config
    gates, size, count = len(config.cell_row.gates), config.group_size, config.groups
    weights = dict(model.weights)
    for name, rows in model.weights.items():
        if not name.startswith("layers."):
            continue
        blocks = rows.reshape(count, gates, size, *rows.shape[1:])
        if "weight" in name and name != "layers.0.weight_ih":
            joined = np.zeros((gates, count, size, count, size), np.float32)
            for group in range(count):
                joined[:, group, :, group] = blocks[group]
            weights[name] = joined.reshape(gates * config.hidden_size, config.hidden_size)
        else:
            weights[name] = np.ascontiguousarray(blocks.swapaxes(0, 1).reshape(rows.shape))
    return replace(model, config=replace(config, groups=1), weights=weights)


@pytest.fixture
def model_path(tmp_path) -> Path:
    """A model file of `make_model`."""
    path = tmp_path / "small.safetensors"
    save_model(path, make_model())
    return path


CYCLE = "\n abcdefghijklmnopqrstuvwxyz"


def make_cycle_model(sharpness: float = 16.0) -> ModelFile:
    """An LSTM that writes its characters in order and has a unit for each of them.

    The unit of the last character is on, all others are off. The next character in the order is
    by far the most likely, the character after it the second.
    """
    tokenizer = CharTokenizer(CYCLE)
    size = len(CYCLE)
    config = ModelConfig(
        vocab_size=size, cell="lstm", hidden_size=size, num_layers=1, embedding_size=size
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    identity = np.eye(size, dtype=np.float32)
    weights["embedding.weight"] = identity * 9
    weights["layers.0.weight_ih"][2 * size : 3 * size] = identity
    bias = weights["layers.0.bias_ih"].reshape(4, size)
    bias[[0, 1, 3]] = [[9.0], [-9.0], [9.0]]
    weights["head.weight"] = sharpness * (
        np.roll(identity, 1, axis=0) + 0.9 * np.roll(identity, 2, axis=0)
    )
    return ModelFile(config=config, tokenizer=tokenizer.to_state(), weights=weights)
