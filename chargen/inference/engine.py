"""One step of a recurrent model in numpy, and the reading of whole texts with it.

It computes the state and the logits after a token. It knows no text and draws no token; states are
arguments and results.

Five modules compute the cell equations, because each needs its own form of them. A test compares
each of them with the equations in float64, with torch.nn or with numeric gradients:

- here, in numpy, fast for a single state: tests/inference/test_engine.py;
- training/kernels/torch_kernels.py and recurrence.c, forward and backward for training:
  tests/training/test_kernels.py; tests/training/test_network.py compares them with this engine;
- insight/step.py, a line for each equation, for a reader: tests/insight/test_step.py;
- insight/gradients.py, torch's single cells for autograd: tests/insight/test_gradients.py.

Shape letters: V vocabulary, E embedding, H hidden_size, L layers, S states, G gates, T time,
N batch, D groups. One state is (L, S, H); a batch of them is (L, S, N, H).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError
from chargen.model.config import ModelConfig
from chargen.model.stored_weights import Weights

Array = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.integer]
Batch = tuple[()] | tuple[int]
Clamps = Mapping[int, tuple[list[int], list[int], list[float]]]
"""Units set to fixed values. Key: layer; value: the states, the units, their values."""
_MAX_TABLE_NUMBERS = 1 << 24
"""Numbers in the table of the products of all tokens, at most 64 MB. Models with a larger
vocabulary have no table and multiply at every step."""
_HALF = np.array(0.5, np.float32)  # ufuncs take half a microsecond longer with a Python number
_HUGE_PAGE_BYTES = 2 << 20
_BLOCK_TOKENS = 256
"""Tokens of a whole text that are multiplied by the input weights at once."""


class Layer:
    """One recurrent layer: folded weights, and the equations over buffers that are made once.

    `gates` holds the gates of the last step, each (*batch, H), in the order of `CELLS`. The weights
    never change and may be shared; the buffers belong to one reader or writer at a time.
    """

    sigmoids: ClassVar[int]
    """How many gates are sigmoids; they lie before the others and are computed together."""
    order: ClassVar[tuple[int, ...]]
    """Where each block of rows lies in torch's order."""
    adds_products: ClassVar[bool] = True
    """Whether the gates take the sum of the products of x and h, or `z` and `_product` apart."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int, batch: Batch) -> None:
        name, size, groups = f"layers.{layer}.", config.hidden_size, config.groups
        gates = len(self.order)
        # sigmoid(x) is tanh(x / 2) / 2 + 1 / 2: with halved rows one tanh serves all gates.
        scale = np.ones(gates * size, np.float32)
        scale[: self.sigmoids * size] = _HALF
        # By gates first: the units of a gate lie in one piece, also with several groups.
        by_group = np.arange(len(scale)).reshape(groups, gates, -1)
        rows = by_group[:, self.order].swapaxes(0, 1).ravel()
        weight_ih = weights[name + "weight_ih"][rows] * scale[:, None]
        weight_hh = weights[name + "weight_hh"][rows] * scale[:, None]
        self.bias_ih = weights[name + "bias_ih"][rows] * scale
        self.bias_hh = weights[name + "bias_hh"][rows] * scale
        self.input_bias = self.bias_ih + self.bias_hh  # (G·H,), added to the input's product
        self.size, self._batch, self._groups = size, batch, groups
        self._multiply_input = _Product(weight_ih, gates, groups if layer else 1, batch)
        self._multiply_hidden = _Product(weight_hh, gates, groups, batch)
        # Above the first layer, whose input comes from a table, one product serves [x, h] at once.
        if layer and self.adds_products:
            joined_weights = np.hstack([weight_ih, weight_hh])
            self._multiply_joined = _Product(joined_weights, gates, groups, batch)
        self._make_buffers()

    def fresh(self) -> Layer:
        """The same layer with buffers of its own."""
        layer = copy(self)
        layer._make_buffers()
        return layer

    def _make_buffers(self) -> None:
        batch, size = self._batch, self.size
        joined = np.zeros((*batch, self._groups, 2, size // self._groups), np.float32)
        self._joined = joined.reshape(*batch, 2 * size)
        self._joined_input, self._joined_hidden = joined[..., 0, :], joined[..., 1, :]
        self.z = np.zeros((*batch, len(self.input_bias)), np.float32)
        self._product = np.zeros_like(self.z)
        self._scratch = np.empty((*batch, size), np.float32)
        self._sigmoids = self._block(self.z, 0, self.sigmoids)
        self.gates = [
            self._block(self.z, self.order.index(gate)) for gate in range(len(self.order))
        ]

    def _block(self, array: Array, first: int, count: int = 1) -> Array:
        return array[..., first * self.size : (first + count) * self.size]

    def step(self, inputs: Array, state: Array, out: Array) -> None:
        """One time step, given the input's product plus `input_bias`: (*batch, G·H).

        Reads `state` and writes `out`, both (S, *batch, H); they may be the same array.
        """
        self._multiply_hidden(state[0], self._product)
        if self.adds_products:
            np.add(inputs, self._product, self.z)
        else:
            np.copyto(self.z, inputs)
        self._equations(state, out)

    def step_above(self, below: Array, state: Array, out: Array) -> None:
        """One time step on top of another layer, whose h is `below` (*batch, H)."""
        if self.adds_products:
            np.copyto(self._joined_input, below.reshape(self._joined_input.shape))
            np.copyto(self._joined_hidden, state[0].reshape(self._joined_hidden.shape))
            self._multiply_joined(self._joined, self.z)
        else:
            self._multiply_hidden(state[0], self._product)
            self._multiply_input(below, self.z)
        np.add(self.z, self.input_bias, self.z)
        self._equations(state, out)

    def input_products(self, below: Array) -> Array:
        """Products of inputs (..., E), or (..., H) of the layer below: (..., G·H) with biases."""
        products = np.empty((*below.shape[:-1], len(self.input_bias)), np.float32)
        self._multiply_input(below, products)
        products += self.input_bias
        return products

    def read(self, inputs: Array, state: Array) -> Array:
        """Advances the state (S, H) in place over inputs (T, G·H); its h after each, (T, H)."""
        hidden = np.empty((len(inputs), self.size), np.float32)
        for time, inputs_now in enumerate(inputs):
            self.step(inputs_now, state, state)
            hidden[time] = state[0]
        return hidden

    def _equations(self, state: Array, out: Array) -> None:
        """From the gates' sums in `z` to the state after."""
        raise NotImplementedError


class _Product:
    """The product with a matrix in which every group of units has its own inputs and outputs."""

    def __init__(self, matrix: Array, gates: int, groups: int, batch: Batch) -> None:
        # The matrix is (G·H, columns of a group), its rows sorted by gates, then by groups.
        self._gates, columns = gates, matrix.shape[1]
        by_group = matrix.reshape(gates, groups, -1, columns).swapaxes(0, 1)
        blocks = [group.reshape(-1, columns) for group in by_group]
        # For one state, rows in a piece are fastest; for a batch, columns in a piece.
        self._blocks = [_aligned(block.T) if batch else _aligned(block).T for block in blocks]

    def __call__(self, inputs: Array, out: Array) -> None:
        """Inputs (..., D·columns) to `out` (..., G·H)."""
        if len(self._blocks) == 1:
            np.dot(inputs, self._blocks[0], out)
            return
        lead = inputs.shape[:-1]
        by_group = inputs.reshape(*lead, len(self._blocks), -1)
        by_gate = out.reshape(*lead, self._gates, len(self._blocks), -1)
        for group, block in enumerate(self._blocks):
            product = np.dot(by_group[..., group, :], block)
            by_gate[..., group, :] = product.reshape(*lead, self._gates, -1)


def _aligned(matrix: Array) -> Array:
    """A copy that begins on a huge page: fewer page look-ups, a tenth faster."""
    memory = np.empty(matrix.nbytes + _HUGE_PAGE_BYTES, np.uint8)
    start = -memory.ctypes.data % _HUGE_PAGE_BYTES
    copy = memory[start : start + matrix.nbytes].view(np.float32).reshape(matrix.shape)
    np.copyto(copy, matrix)
    return copy


def _finish_sigmoid(array: Array) -> None:
    """Makes sigmoid(x) of tanh(x / 2), in place."""
    np.multiply(array, _HALF, array)
    np.add(array, _HALF, array)


class LSTM(Layer):
    """Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000).

    i, f, o = sigmoid(W x + U h + b); g = tanh(W x + U h + b); c' = f c + i g; h' = o tanh(c').
    """

    sigmoids, order = 3, (0, 1, 3, 2)

    def _equations(self, state: Array, out: Array) -> None:
        np.tanh(self.z, self.z)
        _finish_sigmoid(self._sigmoids)
        i, f, g, o = self.gates
        h, c = out
        np.multiply(f, state[1], c)
        np.multiply(i, g, self._scratch)
        np.add(c, self._scratch, c)
        np.tanh(c, h)
        np.multiply(h, o, h)


class GRU(Layer):
    """Cho et al. (2014), in torch's form: the reset gate acts on the recurrent product.

    r, z = sigmoid(W x + U h + b); n = tanh(W x + b + r (U h + d)); h' = (1 - z) n + z h.
    """

    sigmoids, order = 2, (0, 1, 2)
    adds_products = False

    def __init__(self, config: ModelConfig, weights: Weights, layer: int, batch: Batch) -> None:
        super().__init__(config, weights, layer, batch)
        # The candidate's recurrent bias belongs inside the reset gate, not to the input.
        self._block(self.input_bias, 2)[...] = self._block(self.bias_ih, 2)
        self._candidate_bias = self._block(self.bias_hh, 2)

    def _make_buffers(self) -> None:
        super()._make_buffers()
        self._product_gates = self._block(self._product, 0, 2)
        self._product_candidate = self._block(self._product, 2)

    def _equations(self, state: Array, out: Array) -> None:
        before, h = state[0], out[0]
        r, z, n = self.gates
        np.add(self._sigmoids, self._product_gates, self._sigmoids)
        np.tanh(self._sigmoids, self._sigmoids)
        _finish_sigmoid(self._sigmoids)
        np.add(self._product_candidate, self._candidate_bias, self._product_candidate)
        np.multiply(self._product_candidate, r, self._product_candidate)
        np.add(n, self._product_candidate, n)
        np.tanh(n, n)
        np.subtract(before, n, h)  # h' = n + z (h - n)
        np.multiply(h, z, h)
        np.add(h, n, h)


class RNN(Layer):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    sigmoids, order = 0, (0,)

    def _equations(self, state: Array, out: Array) -> None:
        np.tanh(self.z, self.z)
        np.copyto(out[0], self.z)


class ReluRNN(RNN):
    """As RNN, with a rectifier: h' = max(0, W x + U h + b)."""

    def _equations(self, state: Array, out: Array) -> None:
        np.maximum(self.z, 0.0, out=self.z)
        np.copyto(out[0], self.z)


LAYERS: dict[str, type[Layer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN, "rnn-relu": ReluRNN}


class Stepper:
    """A model laid out to step one state, or `batch` states at once. It stores no state.

    Its buffers hold what one step computes: two threads, or two texts that are written in turn,
    need a stepper each (`fresh`), which share the weights.
    """

    def __init__(self, config: ModelConfig, weights: Weights, batch: int | None = None) -> None:
        self.config, self.weights = config, weights
        self._batch: Batch = () if batch is None else (batch,)
        layer_type = LAYERS[config.cell]
        self.layers = [
            layer_type(config, weights, layer, self._batch) for layer in range(config.num_layers)
        ]
        self._embedding = weights["embedding.weight"]
        folds = config.vocab_size * len(self.layers[0].input_bias) <= _MAX_TABLE_NUMBERS
        self._table = self.layers[0].input_products(self._embedding) if folds else None
        self._head = self._embedding if config.tied_head else weights["head.weight"]
        self._head_bias = weights["head.bias"]
        self._logits = np.empty((*self._batch, config.vocab_size), np.float32)

    def fresh(self) -> Stepper:
        """A stepper of the same weights with buffers of its own."""
        stepper = object.__new__(Stepper)  # copy() would fold the weights again
        stepper.__dict__.update(self.__dict__)
        stepper.layers = [layer.fresh() for layer in self.layers]
        stepper._logits = np.empty_like(self._logits)
        return stepper

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew: copied buffers would not be views of each other."""
        return Stepper, (self.config, self.weights, *self._batch)

    def batched(self, batch: int) -> Stepper:
        """A stepper of the same model for a batch of states."""
        return Stepper(self.config, self.weights, batch)

    def zero_state(self) -> Array:
        """The state before any text: zeros (L, S, H), or (L, S, N, H) for a batch."""
        layers, states, size = self.config.state_shape
        return np.zeros((layers, states, *self._batch, size), np.float32)

    def step(
        self, token: int | TokenIds, state: Array, out: Array, clamps: Clamps | None = None
    ) -> Array:
        """Reads one token; returns logits (V,) or (N, V) in a buffer that the next step overwrites.

        Args:
            token: an id, or (N,) ids for a batch.
            state: before the token, (L, S, H), or (L, S, N, H) for a batch.
            out: the state after it is written here; may be `state`.
            clamps: units set to a value after the step; layers above see that value.
        """
        for number, layer in enumerate(self.layers):
            if number == 0:
                layer.step(self._first_products(token), state[0], out[0])
            else:
                layer.step_above(out[number - 1, 0], state[number], out[number])
            if clamps and number in clamps:
                states, units, values = clamps[number]
                column = np.array(values, np.float32).reshape(-1, *(1,) * len(self._batch))
                out[number, states, ..., units] = column
        np.dot(out[-1, 0], self._head.T, self._logits)
        np.add(self._logits, self._head_bias, self._logits)
        return self._logits

    def logits_of(self, ids: TokenIds, state: Array) -> tuple[Array, Array]:
        """Reads a text: logits (T, V) after each of its tokens, and the state at its end."""
        state = state.copy()
        blocks = [np.empty((0, self.config.vocab_size), np.float32)]
        blocks += [hidden @ self._head.T + self._head_bias for hidden in self._blocks(ids, state)]
        return np.concatenate(blocks), state

    def read(self, ids: TokenIds, state: Array) -> Array:
        """The state after reading a text from `state`, without its logits."""
        state = state.copy()
        deque(self._blocks(ids, state), maxlen=0)
        return state

    def score(self, ids: TokenIds, state: Array) -> tuple[Array, Array]:
        """Log-probability of each token but the first given those before it: (T - 1,) in nats.

        Also returns the state after the last token but one. Memory does not grow with T·V.
        """
        state = state.copy()
        blocks, start = [np.empty(0, np.float32)], 1
        for hidden in self._blocks(ids[:-1], state):
            logprobs = log_softmax(hidden @ self._head.T + self._head_bias)
            targets = ids[start : start + len(hidden)]
            blocks.append(logprobs[np.arange(len(hidden)), targets])
            start += len(hidden)
        return np.concatenate(blocks), state

    def _first_products(self, ids: int | TokenIds) -> Array:
        if self._table is not None:
            return cast(Array, self._table[ids])
        return self.layers[0].input_products(self._embedding[ids])

    def _blocks(self, ids: TokenIds, state: Array) -> Iterator[Array]:
        """Advances `state` in place, layer by layer in blocks; the top layer's h, (T, H) each."""
        assert self._batch == ()
        for start in range(0, len(ids), _BLOCK_TOKENS):
            products = self._first_products(ids[start : start + _BLOCK_TOKENS])
            hidden = self.layers[0].read(products, state[0])
            for number, layer in enumerate(self.layers[1:], 1):
                hidden = layer.read(layer.input_products(hidden), state[number])
            yield hidden


def check_finite(values: npt.NDArray[np.floating]) -> None:
    """Raises ChargenError where a model's numbers overflowed: one is infinite or NaN."""
    if not np.isfinite(values).all():
        raise ChargenError("the model's numbers overflowed: its weights are too large")


def log_softmax(logits: Array) -> Array:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return cast(Array, shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
