"""RecurrentLM compared with torch.nn, with numeric gradients and with the numpy engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from chargen.inference.engine import Stepper
from chargen.model.config import ModelConfig
from chargen.training.network import RecurrentLM, detach
from tests.conftest import CELLS, SHAPES, make_model


def network_of(model, **dropout) -> RecurrentLM:
    network = RecurrentLM(model.config, **dropout)
    network.load_weights(model.weights)
    return network


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_torch_and_numpy_compute_the_same(cell, layers):
    model = make_model(cell, layers, hidden_size=32)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(10, size=(400, 1)))
    network = network_of(model).eval()
    with torch.no_grad():
        logits, state = network(tokens, network.zero_state(1))
    stepper = Stepper(model.config, model.weights)
    expected, end = stepper.logits_of(tokens[:, 0].numpy(), stepper.zero_state())
    assert np.abs(torch.log_softmax(logits[:, 0], -1).numpy() - _log_softmax(expected)).max() < 1e-4
    assert np.allclose(end, np.stack([part[:, 0].numpy() for part in state], axis=1), atol=1e-4)


def _log_softmax(logits):
    return torch.log_softmax(torch.from_numpy(logits), -1).numpy()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied_head", [False, True])
def test_gradients_equal_numeric_gradients(cell, tied_head):
    model = make_model(cell, 2, hidden_size=5, embedding_size=4, tied_head=tied_head)
    network = network_of(model).double()
    tokens = torch.from_numpy(np.random.default_rng(1).integers(10, size=(7, 3)))
    state = tuple(part.double() + 0.1 for part in network.zero_state(3))

    def loss() -> torch.Tensor:
        logits, _ = network(tokens[:-1], state)
        return functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())

    loss().backward()
    random = np.random.default_rng(2)
    for name, parameter in network.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for index in random.choice(len(flat), min(6, len(flat)), replace=False):
            value, epsilon = float(flat[index]), 1e-6
            values = []
            for shift in (epsilon, -epsilon):
                flat[index] = value + shift
                values.append(float(loss().detach()))
            flat[index] = value
            numeric = (values[0] - values[1]) / (2 * epsilon)
            assert float(gradient[index]) == pytest.approx(numeric, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_windows_with_carried_state_equal_one_long_window(cell, layers):
    network = network_of(make_model(cell, layers)).eval()
    tokens = torch.from_numpy(np.random.default_rng(3).integers(10, size=(60, 4)))
    with torch.no_grad():
        expected, end = network(tokens, network.zero_state(4))
        state, parts = network.zero_state(4), []
        for window in tokens.split(17):
            logits, state = network(window, state)
            parts.append(logits)
    assert torch.allclose(torch.cat(parts), expected, atol=1e-5)
    for tensor, other in zip(state, end, strict=True):
        assert torch.allclose(tensor, other, atol=1e-5)


def test_detached_state_carries_values_but_no_graph():
    network = network_of(make_model("lstm"))
    _, state = network(torch.zeros(3, 2, dtype=torch.long), network.zero_state(2))
    assert all(part.requires_grad for part in state)
    for detached, attached in zip(detach(state), state, strict=True):
        assert not detached.requires_grad
        assert torch.equal(detached, attached)


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_weights_begin_orthogonal_and_forget_gates_open(cell):
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=9, cell=cell, hidden_size=16, num_layers=2)
    network = RecurrentLM(config)
    for layer in network.layers:
        for block in layer.weight_hh.split(16):
            product = block @ block.T
            scale = 0.81 if cell == "rnn-relu" else 1.0
            assert torch.allclose(product, scale * torch.eye(16), atol=1e-5)
        bias = (layer.bias_ih + layer.bias_hh).view(-1, 16)
        for gate, row in zip(config.cell_row.gates, bias, strict=True):
            assert (row == (1 if gate == "forget" else 0)).all()


def test_a_dropout_mask_lasts_a_window_and_is_off_when_scoring():
    network = network_of(make_model("gru", 2), dropout=0.5, dropout_masks=3)
    tokens = torch.randint(10, (8, 6))
    network.train()
    hidden, _ = network.features(tokens, network.zero_state(6))
    assert (hidden != 0).all()
    seen = []
    for masked in network.dropped_out(hidden):
        dropped = masked == 0
        assert dropped.any()
        assert not dropped.all()
        assert (dropped == dropped[:1]).all(), "one mask for all time steps"
        torch.testing.assert_close(masked[~dropped], 2 * hidden[~dropped])
        seen.append(dropped)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    network.eval()
    first, _ = network(tokens, network.zero_state(6))
    second, _ = network(tokens, network.zero_state(6))
    assert torch.equal(first, second)


def test_a_tied_head_shares_the_weights_of_the_embedding():
    network = network_of(make_model(tied_head=True))
    assert network.head.weight is network.embedding.weight
    assert "head.weight" not in network.to_weights()


def test_weights_that_are_loaded_can_be_read_back():
    model = make_model("lstm", 2)
    network = network_of(model)
    weights = network.to_weights()
    for name, tensor in model.weights.items():
        assert np.array_equal(weights[name], tensor)
    before = weights["head.bias"].copy()
    with torch.no_grad():
        network.head.bias.add_(1)
    assert np.array_equal(weights["head.bias"], before), "a copy, not a view"
