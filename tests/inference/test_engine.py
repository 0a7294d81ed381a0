"""The numpy engine compared with the equations in float64, with torch.nn, and with itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from chargen.inference.engine import Stepper, log_softmax
from chargen.text.char import CharBuilder
from tests.conftest import SHAPES, make_model


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def reference(model, ids):
    """Log-probabilities after each token by the textbook equations, one float64 at a time."""
    weights = {name: value.astype(np.float64) for name, value in model.weights.items()}
    cell, size = model.config.cell, model.config.hidden_size
    hidden = [np.zeros(size) for _ in range(model.config.num_layers)]
    memory = [np.zeros(size) for _ in range(model.config.num_layers)]
    rows = []
    for token in ids:
        x = weights["embedding.weight"][token]
        for layer in range(model.config.num_layers):
            part = {p: weights[f"layers.{layer}.{p}"] for p in ("weight_ih", "weight_hh")}
            a = part["weight_ih"] @ x + weights[f"layers.{layer}.bias_ih"]
            b = part["weight_hh"] @ hidden[layer] + weights[f"layers.{layer}.bias_hh"]
            new = np.empty(size)
            for k in range(size):
                if cell == "lstm":
                    i, f, o = (sigmoid(a[k + n * size] + b[k + n * size]) for n in (0, 1, 3))
                    g = math.tanh(a[k + 2 * size] + b[k + 2 * size])
                    memory[layer][k] = f * memory[layer][k] + i * g
                    new[k] = o * math.tanh(memory[layer][k])
                elif cell == "gru":
                    r, z = (sigmoid(a[k + n * size] + b[k + n * size]) for n in (0, 1))
                    n = math.tanh(a[k + 2 * size] + r * b[k + 2 * size])
                    new[k] = (1 - z) * n + z * hidden[layer][k]
                elif cell == "rnn":
                    new[k] = math.tanh(a[k] + b[k])
                else:
                    new[k] = max(0.0, a[k] + b[k])
            hidden[layer] = x = new
        head = weights.get("head.weight", weights["embedding.weight"])
        logits = head @ x + weights["head.bias"]
        rows.append(logits - logits.max() - math.log(np.exp(logits - logits.max()).sum()))
    return np.array(rows), hidden, memory


@pytest.fixture(scope="module")
def real(prose):
    builder = CharBuilder()
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    return tokenizer, tokenizer.encode(prose[:1500])


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
@pytest.mark.parametrize("tied_head", [False, True])
def test_the_engine_equals_the_equations_in_float64(cell, layers, tied_head, real):
    tokenizer, ids = real
    model = make_model(cell, layers, characters=tokenizer.characters, tied_head=tied_head)
    stepper = Stepper(model.config, model.weights)
    logits, state = stepper.logits_of(ids[:200], stepper.zero_state())
    expected, hidden, memory = reference(model, ids[:200])
    assert np.abs(log_softmax(logits) - expected).max() < 1e-4
    assert np.allclose(state[:, 0], hidden, atol=1e-4)
    if cell == "lstm":
        assert np.allclose(state[:, 1], memory, atol=1e-4)


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_the_engine_equals_torch_nn_on_real_text(cell, layers, real):
    tokenizer, ids = real
    model = make_model(
        cell, layers, hidden_size=48, embedding_size=16, characters=tokenizer.characters
    )
    expected = torch_logprobs(model, ids)
    stepper = Stepper(model.config, model.weights)
    assert (
        np.abs(log_softmax(stepper.logits_of(ids, stepper.zero_state())[0]) - expected).max() < 1e-4
    )
    scored, _ = stepper.score(ids, stepper.zero_state())
    assert np.abs(scored - expected[np.arange(len(ids) - 1), ids[1:]]).max() < 1e-4


def torch_logprobs(model, ids):
    """(T, V) by torch.nn alone."""
    config, weights = model.config, {k: torch.from_numpy(v) for k, v in model.weights.items()}
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    extra = {"nonlinearity": "relu"} if config.cell == "rnn-relu" else {}
    network = kinds.get(config.cell, torch.nn.RNN)(
        config.embedding_size, config.hidden_size, config.num_layers, **extra
    )
    with torch.no_grad():
        for layer in range(config.num_layers):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(network, f"{part}_l{layer}").copy_(weights[f"layers.{layer}.{part}"])
        output, _ = network(weights["embedding.weight"][torch.from_numpy(ids).long()][:, None])
        logits = output[:, 0] @ weights["head.weight"].T + weights["head.bias"]
        return torch.log_softmax(logits, -1).numpy()


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_one_reading_equals_windows_and_single_steps(cell, layers, real):
    tokenizer, ids = real
    ids = ids[:600]
    model = make_model(cell, layers, characters=tokenizer.characters)
    stepper = Stepper(model.config, model.weights)
    whole, end = stepper.logits_of(ids, stepper.zero_state())
    state, windows = stepper.zero_state(), []
    for start in range(0, len(ids), 77):
        logits, state = stepper.logits_of(ids[start : start + 77], state)
        windows.append(logits)
    assert np.allclose(np.concatenate(windows), whole, atol=1e-5)
    assert np.allclose(state, end, atol=1e-5)
    state = stepper.zero_state()
    steps = [stepper.step(int(token), state, state).copy() for token in ids]
    assert np.allclose(np.array(steps), whole, atol=1e-5)
    assert np.allclose(stepper.read(ids, stepper.zero_state()), end, atol=1e-6)


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_the_rows_of_a_batch_are_independent(cell, layers):
    model = make_model(cell, layers)
    single, batched = Stepper(model.config, model.weights), Stepper(model.config, model.weights, 3)
    random = np.random.default_rng(1)
    tokens = random.integers(model.config.vocab_size, size=(40, 3))
    state = batched.zero_state()
    for step in tokens:
        logits = batched.step(step, state, state)
    for row in range(3):
        alone = single.zero_state()
        for step in tokens:
            expected = single.step(int(step[row]), alone, alone)
        assert np.allclose(logits[row], expected, atol=1e-5)
        assert np.allclose(state[:, :, row], alone, atol=1e-5)


def test_a_step_does_not_change_its_input_state(real):
    model = make_model("lstm", 2)
    stepper = Stepper(model.config, model.weights)
    before = np.random.default_rng(0).standard_normal((2, 2, 12)).astype(np.float32)
    kept, after = before.copy(), stepper.zero_state()
    first = stepper.step(3, before, after).copy()
    assert np.array_equal(before, kept)
    assert np.array_equal(stepper.step(3, before, before), first)
    assert np.array_equal(before, after)


def test_models_with_large_vocabularies_have_no_table(monkeypatch):
    model = make_model("gru", 2)
    folded = Stepper(model.config, model.weights)
    monkeypatch.setattr("chargen.inference.engine._MAX_TABLE_NUMBERS", 0)
    looked_up = Stepper(model.config, model.weights)
    ids = np.arange(10)
    with_table, _ = folded.logits_of(ids, folded.zero_state())
    without_table, _ = looked_up.logits_of(ids, looked_up.zero_state())
    assert np.allclose(with_table, without_table, atol=1e-5)


def test_an_empty_text_does_not_change_the_state():
    model = make_model()
    stepper = Stepper(model.config, model.weights)
    logits, state = stepper.logits_of(np.array([], np.int64), stepper.zero_state())
    assert logits.shape == (0, 10)
    assert not state.any()
