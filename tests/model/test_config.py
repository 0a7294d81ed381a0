"""ModelConfig: its shapes are those of torch.nn, and its errors name every problem."""

from __future__ import annotations

import pytest
import torch

from chargen.errors import UsageError
from chargen.model.config import ModelConfig
from tests.conftest import SHAPES


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_shapes_equal_those_of_torch(cell, layers):
    kinds = {
        "lstm": torch.nn.LSTM,
        "gru": torch.nn.GRU,
        "rnn": torch.nn.RNN,
        "rnn-relu": torch.nn.RNN,
    }
    module = kinds[cell](5, 7, layers)
    config = ModelConfig(
        vocab_size=11, cell=cell, hidden_size=7, num_layers=layers, embedding_size=5
    )
    shapes = config.tensor_shapes()
    for layer in range(layers):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            assert shapes[f"layers.{layer}.{part}"] == getattr(module, f"{part}_l{layer}").shape
    assert shapes["embedding.weight"] == (11, 5)
    assert shapes["head.weight"] == (11, 7)
    assert config.num_parameters == sum(p.numel() for p in module.parameters()) + 11 * (5 + 7 + 1)
    assert config.state_shape == (layers, 2 if cell == "lstm" else 1, 7)


def test_all_problems_are_reported_at_once():
    with pytest.raises(UsageError) as error:
        ModelConfig(vocab_size=1, cell="gur", hidden_size=0, embedding_size=2, tied_head=True)
    for part in ("vocab-size 1", "hidden-size 0", "did you mean 'gru'", "tied head"):
        assert part in str(error.value)


def test_a_configuration_survives_json():
    config = ModelConfig(vocab_size=9, cell="gru", hidden_size=4, num_layers=2, embedding_size=3)
    assert ModelConfig.from_json(config.to_json()) == config
