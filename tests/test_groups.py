"""Groups: independent networks in one model, each compared with a model that is only it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import chargen
from chargen.errors import UsageError
from chargen.inference.engine import Stepper
from chargen.insight.gradients import measure_gradient_norms
from chargen.insight.step import break_down_step
from chargen.model.checkpoint import save_model
from chargen.model.config import ModelConfig
from chargen.model.runs import size_label
from chargen.training.config import TrainConfig
from chargen.training.evaluate import OnlineLearner
from chargen.training.kernels import candidates
from chargen.training.network import NextTokenLoss, RecurrentLM
from chargen.training.optimizer import Optimizer
from tests.conftest import CELLS, joined_groups, make_model

LAYERS = (1, 2)


def in_groups(cell, layers, groups=3):
    return make_model(cell, layers, groups=groups, hidden_size=12)


def single_group(model, group):
    """A group of a model as a separate network."""
    config = model.config
    size = config.group_size
    weights = {}
    for name, value in model.weights.items():
        if name.startswith("layers."):
            weights[name] = np.split(value, config.groups)[group]
        elif name == "head.weight":
            weights[name] = config.groups * value[:, group * size : (group + 1) * size]
        else:
            weights[name] = value
    network = RecurrentLM(
        ModelConfig(
            vocab_size=config.vocab_size,
            cell=config.cell,
            num_layers=config.num_layers,
            hidden_size=size,
            embedding_size=config.embedding_size,
        )
    )
    network.load_weights(weights)
    return network


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", LAYERS)
def test_a_model_in_groups_computes_like_the_joined_network(cell, layers):
    model = in_groups(cell, layers)
    joined = joined_groups(model)
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=300)
    stepper, other = (Stepper(file.config, file.weights) for file in (model, joined))
    logits_of_groups, end = stepper.logits_of(ids, stepper.zero_state())
    expected, end_of_joined = other.logits_of(ids, other.zero_state())
    np.testing.assert_allclose(logits_of_groups, expected, atol=1e-4)
    np.testing.assert_allclose(end, end_of_joined, atol=1e-5)
    state = stepper.zero_state()
    steps = [stepper.step(int(token), state, state).copy() for token in ids]
    np.testing.assert_allclose(steps, logits_of_groups, atol=1e-5)
    for layer, twin in zip(stepper.layers, other.layers, strict=True):
        np.testing.assert_allclose(np.array(layer.gates), np.array(twin.gates), atol=1e-4)
    batched, rows = stepper.batched(3), ids.reshape(-1, 3)
    state = batched.zero_state()
    for row in rows:
        logits = batched.step(row, state, state)
    last, _ = stepper.logits_of(rows[:, 1], stepper.zero_state())
    np.testing.assert_allclose(logits[1], last[-1], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", LAYERS)
def test_each_group_learns_like_a_separate_network(cell, layers):
    """With every kernel, loss and gradients are the means over the separate networks."""
    model = in_groups(cell, layers)
    tokens = torch.from_numpy(np.random.default_rng(1).integers(10, size=(41, 4)))
    networks = [single_group(model, group) for group in range(3)]
    losses, logits = [], []
    for network in networks:
        loss, _ = NextTokenLoss(network)(tokens[:-1], tokens[1:], network.zero_state(4))
        (loss / 3).backward()
        losses.append(loss.item())
        with torch.no_grad():
            logits.append(network(tokens, network.zero_state(4))[0])
    for kernel in candidates(cell, "cpu", "auto", "fp32"):
        grouped = RecurrentLM(model.config, kernel=kernel)
        grouped.load_weights(model.weights)
        loss, _ = NextTokenLoss(grouped)(tokens[:-1], tokens[1:], grouped.zero_state(4))
        loss.backward()
        assert loss.item() == pytest.approx(np.mean(losses), abs=1e-5)
        for name, parameter in grouped.named_parameters():
            gradients = [dict(network.named_parameters())[name].grad for network in networks]
            if name.startswith("layers."):
                expected = torch.cat(gradients)
            else:
                expected = torch.cat(gradients, 1) if name == "head.weight" else sum(gradients)
            torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-3)
        with torch.no_grad():
            together, _ = grouped(tokens, grouped.zero_state(4))
        torch.testing.assert_close(together, sum(logits) / 3, atol=1e-4, rtol=1e-4)
        for name, value in grouped.to_weights().items():
            np.testing.assert_allclose(value, model.weights[name], rtol=1e-6)


def test_muon_orthogonalizes_each_gate_of_each_group_separately():
    model = in_groups("lstm", 2)
    networks = [single_group(model, group) for group in range(3)]
    grouped = RecurrentLM(model.config)
    grouped.load_weights(model.weights)
    tokens = torch.from_numpy(np.random.default_rng(2).integers(10, size=(9, 4)))
    for network in (grouped, *networks):
        optimizer = Optimizer(network, TrainConfig(steps=9))
        loss, _ = NextTokenLoss(network)(tokens[:-1], tokens[1:], network.zero_state(4))
        loss.backward()
        optimizer.step(0.01)
    for name, matrix in grouped.recurrent_matrices().items():
        expected = torch.cat([network.recurrent_matrices()[name] for network in networks])
        torch.testing.assert_close(matrix, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_step_and_gradients_are_those_of_the_joined_network(cell):
    model = in_groups(cell, 2)
    joined = joined_groups(model)
    ids = np.random.default_rng(3).integers(model.config.vocab_size, size=24)
    stepper, other = (Stepper(file.config, file.weights) for file in (model, joined))
    state = other.read(ids[:-1], other.zero_state())
    breakdown, expected = (
        break_down_step(engine, int(ids[-1]), state) for engine in (stepper, other)
    )
    np.testing.assert_allclose(breakdown.logits, expected.logits, atol=1e-5)
    for layer, twin in zip(breakdown.layers, expected.layers, strict=True):
        for line, same in zip(layer, twin, strict=True):
            np.testing.assert_allclose(line.values, same.values, atol=1e-5)
    norms, same = (
        measure_gradient_norms(
            file.config, file.weights, ids, steps=20, positions=1, dtype=torch.float64
        )
        for file in (model, joined)
    )
    np.testing.assert_allclose(norms.layers, same.layers, rtol=1e-4)
    np.testing.assert_allclose(norms.inputs, same.inputs, rtol=1e-4)


def test_a_trained_model_has_the_same_score_in_both_engines(prose, tmp_path):
    (tmp_path / "text.txt").write_text(prose[:20_000])
    settings = {"hidden_size": 32, "groups": 2, "steps": 30, "batch_size": 4, "threads": 1}
    for _ in chargen.train(str(tmp_path / "text.txt"), out=tmp_path / "run", **settings):
        pass
    model = chargen.load(tmp_path / "run")
    assert model.config.groups == 2
    ids = model.tokenizer.encode(prose[20_000:21_000])
    nats = (
        -Stepper(model.config, model.file.weights)
        .score(ids, np.zeros(model.config.state_shape, np.float32))[0]
        .mean()
    )
    network = RecurrentLM(model.config)
    network.load_weights(model.file.weights)
    tokens = torch.from_numpy(ids.astype(np.int64))[:, None]
    with torch.no_grad():
        logits, _ = network(tokens[:-1], network.zero_state(1))
    assert nats == pytest.approx(
        functional.cross_entropy(logits[:, 0], tokens[1:, 0]).item(), abs=1e-4
    )


def test_a_model_in_groups_can_be_fine_tuned_and_learn_online(prose, tmp_path):
    save_model(tmp_path / "base.safetensors", make_model("gru", 2, groups=2, hidden_size=16))
    (tmp_path / "text.txt").write_text(prose[:5_000])
    events = chargen.finetune(
        tmp_path / "base.safetensors", tmp_path / "text.txt", out=tmp_path / "run", steps=5
    )
    assert list(events)[-1].step == 5
    model = chargen.load(tmp_path / "run")
    assert (model.config.groups, model.config.group_size) == (2, 8)
    learner = OnlineLearner(model.config, model.file.weights)
    ids = model.tokenizer.encode(prose[5_000:6_000])
    first, later = (learner.read(ids) for _ in range(2))
    assert later < first
    with pytest.raises(UsageError, match="--groups 1: the base has 2"):
        next(chargen.finetune(tmp_path / "run", tmp_path / "text.txt", out="x", groups=1))


@pytest.mark.parametrize(
    ("sizes", "label", "short"),
    [
        ({"hidden_size": 448}, "448 units", "1x448"),
        ({"hidden_size": 512, "num_layers": 2}, "2 layers of 512 units", "2x512"),
        ({"hidden_size": 3840, "groups": 6}, "6 groups of 640 units", "1x3840/6"),
        (
            {"hidden_size": 64, "groups": 2, "num_layers": 3},
            "3 layers of 2 groups of 32 units",
            "3x64/2",
        ),
    ],
)
def test_the_size_of_a_model_in_words(sizes, label, short):
    config = ModelConfig(vocab_size=9, **sizes)
    assert config.units_label == label
    assert size_label(config.to_json()) == short


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 32, "groups": 3}, "groups 3: hidden-size 32 cannot be divided by it"),
        ({"groups": 0}, "groups 0: must be a whole number from 1 to 64"),
        (
            {"groups": 2, "tied_head": True, "hidden_size": 8, "embedding_size": 8},
            "groups 2: a tied head serves one network only",
        ),
    ],
)
def test_impossible_sizes_are_an_error_of_one_line(sizes, message):
    with pytest.raises(UsageError, match=message):
        ModelConfig(vocab_size=9, **sizes)
