"""The loss of a student: compared with two cross entropies in float64, by torch's functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from chargen.errors import ModelFileError, UsageError
from chargen.model.config import ModelConfig
from chargen.training import network as module
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import GraphedSteps
from chargen.training.distillation import DistillationLoss, SoftTargets, make_teacher
from chargen.training.events import StepDone
from chargen.training.kernels import STOCK, Kernel, candidates
from chargen.training.network import NextTokenLoss, RecurrentLM, head_loss
from chargen.training.optimizer import Optimizer
from chargen.training.planner import Plan
from chargen.training.step import take_step
from chargen.training.trainer import Trainer
from tests.conftest import CELLS, make_model

SHARES = st.floats(0, 1)


def networks(cell="lstm", *, groups=1, seed=0, teacher_cell="gru", kernel=STOCK):
    """A student, and a teacher of three groups and two layers."""
    model = make_model(cell, groups=groups, seed=seed)
    student = RecurrentLM(model.config, kernel=kernel)
    student.load_weights(model.weights)
    wiser = make_model(teacher_cell, 2, hidden_size=15, groups=3, seed=seed + 1)
    teacher = make_teacher(wiser.config, torch.device("cpu"), kernel)
    teacher.load_weights(wiser.weights)
    return student, teacher


def two_losses(logits, teacher_logits, tokens, share):
    """The definition: each cross entropy on its own."""
    truth = functional.cross_entropy(logits, tokens)
    soft = -(functional.softmax(teacher_logits, -1) * functional.log_softmax(logits, -1)).sum(-1)
    return (1 - share) * truth + share * soft.mean()


@settings(max_examples=15)
@given(share=SHARES, seed=st.integers(0, 99), max_logits=st.sampled_from([1, 40, 1 << 24]))
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_gradients_are_those_of_two_cross_entropies(cell, share, seed, max_logits):
    student, teacher = (network.double() for network in networks(cell, seed=seed))
    torch.manual_seed(seed)
    tokens = torch.randint(10, (8, 3))
    inputs, targets = tokens[:-1], tokens[1:]
    logits, after = student(inputs, student.zero_state(3))
    teacher_logits, teacher_after = teacher(inputs, teacher.zero_state(3))
    reference = two_losses(*(x.flatten(0, 1) for x in (logits, teacher_logits)),
                           targets.flatten(), share)  # fmt: skip
    expected = torch.autograd.grad(reference, list(student.parameters()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_LOGITS", max_logits)
        loss = DistillationLoss(student, teacher, share)
        nats, states = loss(inputs, targets, loss.zero_state(3))
    torch.testing.assert_close(nats, reference)
    for gradient, other in zip(
        torch.autograd.grad(nats, list(student.parameters())), expected, strict=True
    ):
        torch.testing.assert_close(gradient, other)
    for state, same in zip(states, (*after, *teacher_after), strict=True):
        torch.testing.assert_close(state, same)


@settings(max_examples=5)
@given(share=SHARES)
def test_the_gradient_equals_the_numeric_gradient(share):
    _, teacher = networks()
    teacher.double()
    torch.manual_seed(0)
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 3), (10, 3), 10)
    ]
    hidden = torch.randn(5, 15, dtype=torch.float64)
    soft = SoftTargets(teacher, hidden, torch.randint(10, (5,)), share)
    for max_logits in (1 << 24, 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MAX_LOGITS", max_logits)
            assert torch.autograd.gradcheck(lambda *tensors: head_loss(*tensors, soft), inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_every_kernel_reads_the_teacher_alike(cell):
    tokens = torch.randint(10, (21, 4))
    losses = []
    for kernel in candidates(cell, "cpu", "auto", "fp32"):
        student, teacher = networks(cell, teacher_cell=cell, kernel=kernel)
        loss = DistillationLoss(student, teacher, 0.5)
        losses.append(loss(tokens[:-1], tokens[1:], loss.zero_state(4))[0].item())
        losses[-1] = pytest.approx(losses[-1], abs=1e-5)
    assert len(losses) >= 2
    assert losses == [losses[0].expected] * len(losses)


def test_each_group_of_a_student_learns_from_the_whole_teacher():
    student, teacher = networks(groups=2)
    tokens = torch.randint(10, (6, 3))
    loss = DistillationLoss(student, teacher, 0.7)
    nats, _ = loss(tokens[:-1], tokens[1:], loss.zero_state(3))
    hidden, _ = student.features(tokens[:-1], student.zero_state(3))
    teacher_logits, _ = teacher(tokens[:-1], teacher.zero_state(3))
    size, expected = student.config.group_size, 0.0
    for group in range(2):
        part = slice(group * size, (group + 1) * size)
        logits = functional.linear(hidden[..., part], student.head.weight[:, part],
                                   student.head.bias)  # fmt: skip
        expected += two_losses(logits.flatten(0, 1), teacher_logits.flatten(0, 1),
                               tokens[1:].flatten(), 0.7) / 2  # fmt: skip
    torch.testing.assert_close(nats, expected)


def test_a_share_of_nothing_is_the_plain_loss_and_the_teacher_never_learns():
    student, teacher = networks()
    tokens = torch.randint(10, (6, 3))
    plain, _ = NextTokenLoss(student)(tokens[:-1], tokens[1:], student.zero_state(3))
    loss = DistillationLoss(student, teacher, 0.0)
    nats, _ = loss(tokens[:-1], tokens[1:], loss.zero_state(3))
    torch.testing.assert_close(nats, plain)
    loss.share = 1.0
    loss(tokens[:-1], tokens[1:], loss.zero_state(3))[0].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_states_of_both_go_from_window_to_window():
    student, teacher = networks()
    tokens = torch.randint(10, (13, 3))
    loss = DistillationLoss(student, teacher, 0.5)
    whole, end = loss(tokens[:-1], tokens[1:], loss.zero_state(3))
    first, middle = loss(tokens[:6], tokens[1:7], loss.zero_state(3))
    second, last = loss(tokens[6:-1], tokens[7:], middle)
    torch.testing.assert_close((first + second) / 2, whole)
    for state, same in zip(last, end, strict=True):
        torch.testing.assert_close(state, same)


def test_a_batch_in_parts_is_the_same_step():
    tokens = torch.randint(10, (13, 5))
    results = []
    for parts in (1, 3):
        student, teacher = networks()
        loss = DistillationLoss(student, teacher, 0.5)
        nats, norm, state = take_step(
            loss, Optimizer(student, TrainConfig(steps=9)), tokens[:-1], tokens[1:],
            loss.zero_state(5), 1e-3, micro_batches=parts,
        )  # fmt: skip
        results.append([nats, norm, *state, *student.parameters()])
    for value, same in zip(*results, strict=True):
        torch.testing.assert_close(value, same, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_several_steps_between_two_looks_are_the_same_steps(seed):
    """As on a GPU, whose steps copy the states of both networks."""
    text = np.random.default_rng(seed).integers(10, size=2_000).astype(np.uint8)
    lengths, results = np.ones((2, 10), np.int64), []
    for graphed in (False, True):
        student, teacher = networks(seed=seed)
        config = TrainConfig(steps=40, batch_size=3, bptt=10, teacher_share=0.6)
        trainer = Trainer(student, config, text, text[:0], lengths, teacher=teacher)
        if graphed:
            trainer._fast = GraphedSteps(trainer, trainer.recovery, capture=False)
        losses = [event.loss for event in trainer.run() if isinstance(event, StepDone)]
        results.append([torch.tensor(losses), *trainer.tensors().values()])
    for value, same in zip(*results, strict=True):
        torch.testing.assert_close(value, same, rtol=1e-3, atol=1e-5)


def test_a_teacher_whose_cell_lacks_the_planned_kernel_gets_another():
    foreign = Kernel("native", bf16=True)
    kernels = candidates("gru", "cpu", "auto", "auto")
    teacher = make_teacher(make_model("gru").config, torch.device("cpu"), foreign)
    assert teacher.kernel == (foreign if foreign in kernels else kernels[0])
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_plan_with_a_teacher_is_the_same_after_its_json():
    student, teacher = (ModelConfig(vocab_size=9, hidden_size=size) for size in (8, 24))
    plan = Plan(model=student, train=TrainConfig(steps=3), reasons=("one",), teacher=teacher)
    assert Plan.from_json(plan.to_json()) == plan
    assert "teacher" not in replace(plan, teacher=None).to_json()
    other = replace(plan, teacher=replace(teacher, vocab_size=8))
    with pytest.raises(ModelFileError, match="its teacher has another vocabulary"):
        Plan.from_json(other.to_json())


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_from_0_to_1(share):
    with pytest.raises(UsageError, match=r"teacher-share .*: must be from 0 to 1"):
        TrainConfig(steps=1, teacher_share=share)
