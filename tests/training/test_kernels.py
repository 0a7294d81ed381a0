"""Every kernel compared with torch.nn and with numeric gradients, forward and backward."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from chargen.training.kernels import STOCK, Kernel, candidates, native
from chargen.training.kernels.torch_kernels import _FUNCTIONS
from tests.conftest import CELLS

GATES = {"lstm": 4, "gru": 3, "rnn": 1, "rnn-relu": 1}
MODULES = {
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
    "rnn": torch.nn.RNN,
    "rnn-relu": torch.nn.RNN,
}
EXACT = [Kernel("torch", bf16=False)]
BF16 = [Kernel("torch", bf16=True)]
if native.library() is not None:
    EXACT.append(Kernel("native", bf16=False))
    if native.has_bf16():
        BF16.append(Kernel("native", bf16=True))


def label(kernel):
    return kernel.label


class Case:
    """Random weights, inputs, states and gradients of one layer, the same for every kernel."""

    def __init__(self, cell, steps, batch, inputs, size, *, scale=0.3, vocab=None, seed=0):
        random = torch.Generator().manual_seed(seed)
        rows = GATES[cell] * size

        def make(*shape):
            return torch.randn(*shape, generator=random) * scale

        self.cell = cell
        self.leaves = {
            "inputs": make(vocab, inputs) if vocab else make(steps, batch, inputs),
            "weight_ih": make(rows, inputs),
            "weight_hh": make(rows, size),
            "bias_ih": make(rows),
            "bias_hh": make(rows),
            "h": make(1, batch, size),
        }
        if cell == "lstm":
            self.leaves["c"] = make(1, batch, size)
        self.tokens = torch.randint(vocab, (steps, batch), generator=random) if vocab else None
        self.d_output = make(steps, batch, size)
        self.d_state = [make(1, batch, size) for _ in range(2 if cell == "lstm" else 1)]

    def run(self, compute):
        """Outputs, last states and the gradients of every leaf, by name."""
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in self.leaves.items()}
        output, after = compute(leaves)
        loss = (output * self.d_output).sum()
        loss = loss + sum((a * d).sum() for a, d in zip(after, self.d_state, strict=True))
        loss.backward()
        results = {"output": output.detach()}
        results |= {f"after {n}": state.detach() for n, state in enumerate(after)}
        return results | {f"d {name}": leaf.grad for name, leaf in leaves.items()}

    def by_kernel(self, kernel):
        def compute(leaves):
            weights = tuple(leaves[n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            state = tuple(leaves[name] for name in ("h", "c") if name in leaves)
            return kernel.recurrence(
                self.cell, kernel.bf16, leaves["inputs"], self.tokens, weights, state
            )

        return self.run(compute)

    def by_torch(self):
        def compute(leaves):
            options = {"nonlinearity": "relu"} if self.cell == "rnn-relu" else {}
            kind = MODULES.get(self.cell, torch.nn.RNN)
            size = leaves["weight_hh"].shape[1]
            module = kind(leaves["weight_ih"].shape[1], size, **options)
            inputs = leaves["inputs"]
            if self.tokens is not None:
                inputs = functional.embedding(self.tokens, inputs)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            state = (leaves["h"], leaves["c"]) if "c" in leaves else leaves["h"]
            output, after = torch.func.functional_call(
                module, {f"{name}_l0": leaves[name] for name in names}, (inputs, state)
            )
            return output, after if isinstance(after, tuple) else (after,)

        return self.run(compute)


def difference(results, reference):
    """The largest relative error of the outputs and gradients, and the name of that tensor."""
    assert results.keys() == reference.keys()
    return max(
        (float((results[name] - tensor).norm() / tensor.norm().clamp(min=1e-6)), name)
        for name, tensor in reference.items()
    )


@pytest.mark.parametrize("kernel", EXACT, ids=label)
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_float32_kernels_equal_torch_nn_at_any_shape(kernel, cell, data):
    steps, batch = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 19))
    inputs, size = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    vocab = data.draw(st.none() | st.integers(1, 30))
    case = Case(cell, steps, batch, inputs, size, scale=0.5 / size**0.5, vocab=vocab)
    error, name = difference(case.by_kernel(kernel), case.by_torch())
    assert error < 1e-4, name


@pytest.mark.parametrize("kernel", BF16, ids=label)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("vocab", [None, 11])
@pytest.mark.parametrize("size", [21, 64])
def test_bfloat16_kernels_differ_from_torch_nn_only_by_rounding(kernel, cell, vocab, size):
    # bfloat16 keeps 8 bits: single products are off by up to 2^-8, their sums by less. A
    # rectifier may switch units near zero, so its gradients differ more.
    case = Case(cell, 9, 10, 16, size, scale=0.5 / size**0.5, vocab=vocab)
    error, name = difference(case.by_kernel(kernel), case.by_torch())
    assert error < (0.15 if cell == "rnn-relu" else 0.02), name


@pytest.mark.skipif(not native.has_bf16(), reason="no bfloat16 products in C")
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 1, 1), (37, 33, 65), (64, 96, 64), (9, 40, 31), (8, 7, 100)]
)
def test_a_linear_layer_in_bfloat16_rounds_only_its_factors(rows, inputs, outputs):
    torch.manual_seed(0)
    shapes = (rows, inputs), (outputs, inputs), (outputs,)
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    slope = torch.randn(rows, outputs)
    output = native.linear(*leaves)
    gradients = torch.autograd.grad(output, leaves, slope)
    x, weight = (leaf.detach().bfloat16().double() for leaf in leaves[:2])
    d = slope.bfloat16().double()
    torch.testing.assert_close(
        output.double(), x @ weight.T + leaves[2].double(), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(gradients[0].double(), d @ weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[1].double(), d.T @ x, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(gradients[2], slope.sum(0))
    with torch.no_grad():
        assert torch.equal(native.linear(*leaves), output)


@pytest.fixture
def threads():
    """Sets torch's number of threads, and puts it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("vocab", [None, 11])
@pytest.mark.parametrize(
    ("batch", "size"),
    [(5, 96), (17, 32), (40, 160), (70, 96), (9, 33), (3, 64)],
    ids=["five", "one-panel", "uneven", "many", "no-panels", "few"],
)
def test_results_do_not_depend_on_the_number_of_threads(threads, cell, vocab, batch, size):
    """The C code adds in the same order with 1, 2 and 3 threads, so its results are equal.

    The products of torch may add in another order, for example on a CPU without bfloat16. Their
    results are compared within rounding.
    """
    case = Case(cell, 7, batch, 12, size, scale=0.5 / size**0.5, vocab=vocab)
    reference = case.by_torch()
    for kernel in (EXACT[-1], BF16[-1]):
        results = {}
        for count in (1, 2, 3):
            threads(count)
            results[count] = case.by_kernel(kernel)
        for count in (2, 3):
            # With tokens, a product of torch comes first, which may round differently.
            exact = kernel.name == "native" and not vocab
            for name in ("output", "after 0", "d h") if exact else ():
                assert torch.equal(results[count][name], results[1][name]), name
            error, name = difference(results[count], results[1])
            # Weight gradients are sums over the threads.
            assert error < (1e-2 if kernel.bf16 else 1e-5), name
        if not kernel.bf16:
            error, name = difference(results[3], reference)
            assert error < 1e-4, name


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_in_float64_equal_numeric_gradients(cell):
    torch.manual_seed(0)
    size, rows = 4, GATES[cell] * 4

    def leaf(*shape):
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    states = [leaf(3, size) for _ in range(2 if cell == "lstm" else 1)]
    arguments = (leaf(5, 3, rows), leaf(rows, size), leaf(rows), *states)
    if cell != "gru":  # the bias of the other cells is part of the first argument
        arguments[2].requires_grad_(False)
    assert torch.autograd.gradcheck(lambda *a: _FUNCTIONS[cell].apply(False, *a), arguments)


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_in_float64_equal_the_equations_of_the_cell(cell):
    case = Case(cell, 6, 3, 5, 7)
    case.leaves = {name: leaf.double() for name, leaf in case.leaves.items()}
    wi, wh, bi, bh = (case.leaves[n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, c = case.leaves["h"][0], case.leaves.get("c", torch.zeros(1))[0]
    outputs = []
    for x in case.leaves["inputs"]:
        a, b = x @ wi.T + bi, h @ wh.T + bh
        if cell == "lstm":
            i, f, g, o = (a + b).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        elif cell == "gru":
            (ar, az, an), (br, bz, bn) = a.chunk(3, -1), b.chunk(3, -1)
            z = torch.sigmoid(az + bz)
            h = (1 - z) * torch.tanh(an + torch.sigmoid(ar + br) * bn) + z * h
        else:
            h = torch.tanh(a + b) if cell == "rnn" else torch.relu(a + b)
        outputs.append(h)
    output = case.by_kernel(Kernel("torch", bf16=False))["output"]
    assert torch.allclose(output, torch.stack(outputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [*EXACT, *BF16], ids=label)
@pytest.mark.parametrize("cell", CELLS)
def test_a_kernel_gives_the_same_bits_twice(kernel, cell):
    case = Case(cell, 7, 6, 8, 33, vocab=9)
    first, second = case.by_kernel(kernel), case.by_kernel(kernel)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kernel", [*EXACT, *BF16], ids=label)
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_does_not_overwrite_the_memory_of_another(kernel, cell):
    # As in training with evaluations between forward and backward: kernels reuse their buffers.
    first, second = Case(cell, 7, 6, 8, 32, vocab=9), Case(cell, 7, 6, 8, 32, vocab=9, seed=1)
    alone = first.by_kernel(kernel)

    def interrupted(leaves):
        weights = tuple(leaves[n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state = tuple(leaves[name] for name in ("h", "c") if name in leaves)
        output, after = kernel.recurrence(
            cell, kernel.bf16, leaves["inputs"], first.tokens, weights, state
        )
        with torch.no_grad():
            without_gradients, _ = kernel.recurrence(
                cell, kernel.bf16, leaves["inputs"], first.tokens, weights, state
            )
        assert torch.equal(without_gradients, output)
        second.by_kernel(kernel)
        return output, after

    again = first.run(interrupted)
    assert all(torch.equal(alone[name], again[name]) for name in alone)


@pytest.mark.skipif(native.library() is None, reason="no C compiler here")
def test_tokens_outside_of_the_vocabulary_are_refused():
    case = Case("lstm", 3, 2, 4, 5, vocab=6)
    case.tokens[1, 1] = 6
    with pytest.raises(IndexError, match="outside of the vocabulary of 6"):
        case.by_kernel(Kernel("native", bf16=False))


def test_candidates_have_the_requested_kernel_and_precision():
    assert candidates("lstm", "cuda", "auto", "auto") == [STOCK]
    assert candidates("gru", "cuda", "auto", "bf16") == []
    assert candidates("gru", "cpu", "stock", "auto") == [STOCK]
    assert candidates("gru", "cpu", "torch", "fp32") == [Kernel("torch", bf16=False)]
    assert all(not kernel.bf16 for kernel in candidates("lstm", "cpu", "auto", "fp32"))
    assert all(kernel.bf16 for kernel in candidates("lstm", "cpu", "auto", "bf16"))


def test_without_a_compiler_the_kernels_of_torch_are_used(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    native.library.cache_clear()
    try:
        assert native.library() is None
        assert candidates("lstm", "cpu", "auto", "fp32")[0] == STOCK
        assert not native.has_bf16()
        assert candidates("gru", "cpu", "auto", "fp32")[0] == Kernel("torch", bf16=False)
        assert candidates("gru", "cpu", "native", "auto") == []
    finally:
        native.library.cache_clear()


@pytest.mark.skipif(native.library() is None, reason="no C compiler here")
def test_a_failed_build_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARGEN_CACHE", str(tmp_path))

    def fail(command, **options):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    native.library.cache_clear()
    try:
        assert native.library() is None
        assert [path for path in Path(tmp_path).rglob("*") if path.is_file()] == []
    finally:
        native.library.cache_clear()
