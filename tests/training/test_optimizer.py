"""Muon and AdamW compared with their definitions."""

from __future__ import annotations

import copy

import pytest
import torch

from chargen.training.config import TrainConfig
from chargen.training.kernels import Kernel
from chargen.training.network import RecurrentLM
from chargen.training.optimizer import MUON_RATE, Optimizer, newton_schulz
from tests.conftest import make_model


def network_and_gradients(layers=2, *, bf16=False):
    torch.manual_seed(0)
    network = RecurrentLM(
        make_model("lstm", layers, hidden_size=12).config, kernel=Kernel("torch", bf16=bf16)
    )
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    return network


def test_newton_schulz_equalizes_singular_values_and_keeps_singular_vectors():
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(3, 20, 20, dtype=torch.float64))[0] for _ in range(2))
    values = torch.cat([torch.full((10,), 3.0), torch.full((10,), 1.0)]).double()
    matrices = u @ torch.diag_embed(values.expand(3, -1)) @ v.mT
    inside = u.mT @ newton_schulz(matrices, bf16=False) @ v
    diagonal = torch.diagonal(inside, dim1=1, dim2=2)
    assert torch.allclose(inside, torch.diag_embed(diagonal), atol=1e-9)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.25


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_newton_schulz_ignores_the_scale_and_keeps_zeros(scale):
    torch.manual_seed(0)
    matrices = torch.randn(2, 8, 8)
    expected = newton_schulz(matrices, bf16=False)
    assert torch.allclose(newton_schulz(matrices * scale, bf16=False), expected, atol=1e-4)
    assert not newton_schulz(torch.zeros(2, 8, 8), bf16=False).any()


def test_newton_schulz_in_bfloat16_is_nearly_exact():
    torch.manual_seed(0)
    exact = newton_schulz(torch.randn(4, 32, 32), bf16=False)
    torch.manual_seed(0)
    rounded = newton_schulz(torch.randn(4, 32, 32), bf16=True)
    assert rounded.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), 0) > 0.999


def test_the_first_step_of_muon_is_the_orthogonalized_gradient_of_each_gate():
    network = network_and_gradients()
    before = copy.deepcopy(network)
    gradient = network.layers[1].weight_ih.grad.clone()
    Optimizer(network, TrainConfig(steps=1)).step(0.01)
    gates = newton_schulz(gradient.view(4, 12, 12), bf16=False).view(48, 12)
    moved = before.layers[1].weight_ih - network.layers[1].weight_ih
    assert torch.allclose(moved, 0.01 * MUON_RATE * gates, atol=1e-6)


def test_adamw_decays_only_matrices_outside_of_the_embedding():
    network = network_and_gradients()
    reference = copy.deepcopy(network)
    config = TrainConfig(steps=1, weight_decay=0.5, clip=1e5, optimizer="adamw")
    optimizer, references = Optimizer(network, config), {}
    for name, twin in reference.named_parameters():
        decay = 0.5 if twin.ndim > 1 and not name.startswith("embedding") else 0.0
        references[name] = torch.optim.AdamW([twin], lr=0.01, betas=(0.9, 0.99), weight_decay=decay)
    for rate in (0.01, 0.02, 0.003):
        for parameter, twin in zip(network.parameters(), reference.parameters(), strict=True):
            parameter.grad = torch.randn_like(parameter)
            twin.grad = parameter.grad.clone()
        optimizer.step(rate)
        for adamw in references.values():
            adamw.param_groups[0]["lr"] = rate
            adamw.step()
    for (name, parameter), twin in zip(
        network.named_parameters(), reference.parameters(), strict=True
    ):
        assert torch.allclose(parameter, twin, atol=1e-7), name


def test_clipping_returns_the_norm_of_all_gradients_and_does_not_clip_for_muon():
    network = network_and_gradients()
    gradients = [parameter.grad.flatten() for parameter in network.parameters()]
    norm = torch.cat(gradients).norm()
    matrices = network.recurrent_matrices()
    before = {name: matrix.grad.clone() for name, matrix in matrices.items()}
    assert torch.allclose(Optimizer(network, TrainConfig(steps=1, clip=0.5)).clip(), norm)
    assert all(torch.equal(matrix.grad, before[name]) for name, matrix in matrices.items())
    clipped = [
        parameter.grad.flatten()
        for name, parameter in network.named_parameters()
        if name not in matrices
    ]
    assert torch.cat(clipped).norm() == pytest.approx(0.5, abs=1e-4)


def test_after_twenty_steps_directions_are_renewed_every_eight_steps():
    network = network_and_gradients(1)
    optimizer = Optimizer(network, TrainConfig(steps=1))
    changed = []
    for _ in range(32):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        before = optimizer.muon.directions[0].clone()
        optimizer.step(1e-3)
        changed.append(not torch.equal(before, optimizer.muon.directions[0]))
    assert changed == [True] * 20 + [False] * 4 + [True] + [False] * 7


def test_recurrent_matrices_connect_hidden_units_only():
    network = network_and_gradients(2)
    assert set(network.recurrent_matrices()) == {
        "layers.0.weight_hh", "layers.1.weight_hh", "layers.1.weight_ih",
    }  # fmt: skip
