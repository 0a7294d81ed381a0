"""The loss computed in blocks equals cross-entropy, and needs less memory than all logits."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from chargen.training import network as module
from chargen.training.network import NextTokenLoss, RecurrentLM, head_loss
from tests.conftest import make_model


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_the_loss_in_blocks_equals_cross_entropy(monkeypatch, size):
    torch.manual_seed(0)
    hidden = torch.randn(23, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (23,))
    reference = functional.cross_entropy(functional.linear(hidden, weight, bias), targets)
    expected = torch.autograd.grad(3 * reference, [hidden, weight, bias])
    monkeypatch.setattr(module, "MAX_LOGITS", size)
    loss = head_loss(hidden, weight, bias, targets)
    torch.testing.assert_close(loss, reference)
    gradients = torch.autograd.grad(3 * loss, [hidden, weight, bias])
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)


def test_the_gradient_of_the_loss_equals_the_numeric_gradient(monkeypatch):
    monkeypatch.setattr(module, "MAX_LOGITS", 8)
    torch.manual_seed(0)
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (4, 3), 4)
    ]
    targets = torch.randint(4, (5,))
    assert torch.autograd.gradcheck(lambda *tensors: head_loss(*tensors, targets), inputs)


@pytest.mark.parametrize("tied_head", [False, True])
def test_the_gradients_of_a_network_do_not_depend_on_the_block_size(monkeypatch, tied_head):
    model = make_model("lstm", 2, tied_head=tied_head)
    network = RecurrentLM(model.config)
    network.load_weights(model.weights)
    tokens = torch.randint(9, (6, 3))
    gradients = []
    for size in (1 << 24, 20):
        monkeypatch.setattr(module, "MAX_LOGITS", size)
        nats, _ = NextTokenLoss(network)(tokens[:-1], tokens[1:], network.zero_state(3))
        network.zero_grad()
        nats.backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for gradient, other in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, other)


MEMORY = """
import resource, torch
from chargen.training.network import head_loss
hidden = torch.randn(64 * 256, 16, requires_grad=True)
weight = torch.randn(32_000, 16, requires_grad=True)
bias = torch.zeros(32_000, requires_grad=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
head_loss(hidden, weight, bias, torch.randint(32_000, (64 * 256,))).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_the_loss_over_32_thousand_subwords_needs_less_than_a_gigabyte():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1000  # MB; the logits alone would be 2,000
