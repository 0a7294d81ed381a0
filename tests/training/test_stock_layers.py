"""Layers in one call of torch's own function equal layers one after another."""

from __future__ import annotations

import pytest
import torch

from chargen.model.config import ModelConfig
from chargen.training.kernels import STOCK, stock_layers, stock_recurrence
from chargen.training.network import RecurrentLM


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnn-relu"])
def test_layers_in_one_call_equal_layers_one_after_another(cell):
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=9, cell=cell, hidden_size=6, num_layers=3, embedding_size=4)
    network = RecurrentLM(config, kernel=STOCK)
    layers = [weights for layer in network._recurrent_layers() for weights in layer.weights]
    tokens = torch.randint(9, (7, 2))
    state = tuple(torch.randn_like(part) for part in network.zero_state(2))
    output, after = stock_layers(cell, False, network.embedding.weight, tokens, layers, state)
    hidden, ids = network.embedding.weight, tokens
    for number, weights in enumerate(layers):
        before = tuple(part[number : number + 1] for part in state)
        hidden, last = stock_recurrence(cell, False, hidden, ids, weights, before)
        ids = None
        for part, of_layer in zip(after, last, strict=True):
            torch.testing.assert_close(part[number : number + 1], of_layer)
    torch.testing.assert_close(output, hidden)
    torch.testing.assert_close(network.features(tokens, state)[0], hidden)
