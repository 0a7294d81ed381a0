"""One step of a recurrent model, in numpy, written as its equations; and whole texts.

The weights are laid out once: embedding, input weights and biases of the first layer are folded
into one table (a row a token), and the halves of the sigmoids into the weights. The equations are
those of torch.nn.LSTM, GRU and RNN, and the results agree with them within rounding. The stepper
knows neither text nor chance; state comes in as an argument and goes out as a result.

Shape letters: V vocabulary, E embedding, H hidden_size, L layers, S states, G gates, T time,
N batch, D groups. One state is (L, S, H); a batch of them is (L, S, N, H).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError
from chargen.model.checkpoint import Weights
from chargen.model.config import ModelConfig

Array = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.integer]
Batch = tuple[()] | tuple[int]
Clamps = Mapping[int, tuple[list[int], list[int], list[float]]]
"""Units that are held: for a layer, which states, which units, at which values."""
_MAX_TABLE = 1 << 24
"""Largest folded table in numbers (64 MB); a larger vocabulary looks up, then multiplies."""
_HALF = np.array(0.5, np.float32)  # ufuncs take half a microsecond longer with a Python number
_PAGE = 2 << 20
_BLOCK = 256
"""Time steps of a whole text that are multiplied by the input weights at once."""


class Layer:
    """One recurrent layer: folded weights, and the equations over buffers made once.

    `gates` holds the gates of the last step, each (*batch, H), in the order of `CELLS`.
    """

    sigmoids: ClassVar[int]
    """How many gates are sigmoids; they lie before the others, to be computed together."""
    order: ClassVar[tuple[int, ...]]
    """Where each block of rows lies in torch's order."""
    joins: ClassVar[bool] = True
    """Whether the products of x and h are simply added."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int, batch: Batch) -> None:
        name, size, groups = f"layers.{layer}.", config.hidden_size, config.groups
        gates = len(self.order)
        # sigmoid(x) is tanh(x / 2) / 2 + 1 / 2: with halved rows one tanh serves all gates.
        scale = np.ones(gates * size, np.float32)
        scale[: self.sigmoids * size] = _HALF
        # By gates first: each gate of all units lies in one piece, whatever their groups.
        by_group = np.arange(len(scale)).reshape(groups, gates, -1)
        rows = by_group[:, self.order].swapaxes(0, 1).ravel()
        weight_ih, weight_hh = (
            weights[name + part][rows] * scale[:, None] for part in ("weight_ih", "weight_hh")
        )
        self.bias_ih, self.bias_hh = (
            weights[name + part][rows] * scale for part in ("bias_ih", "bias_hh")
        )
        self.input_bias = self.bias_ih + self.bias_hh
        """What is added to the input's product: (G·H,)."""
        self.size = size
        self._from_inputs = _Products(weight_ih, gates, groups if layer else 1, batch)
        self._from_own = _Products(weight_hh, gates, groups, batch)
        # Above the first layer, whose input comes from a table, one product serves [x, h] at once.
        if layer and self.joins:
            both = np.hstack([weight_ih, weight_hh])
            self._from_both = _Products(both, gates, groups, batch)
        both = np.zeros((*batch, groups, 2, size // groups), np.float32)
        self._both, self._below, self._own = (
            both.reshape(*batch, 2 * size), both[..., 0, :], both[..., 1, :]
        )  # fmt: skip
        self.z = np.zeros((*batch, len(scale)), np.float32)
        self._product = np.zeros_like(self.z)
        self._sigmoids = self._block(self.z, 0, self.sigmoids)
        self.gates = [
            self._block(self.z, self.order.index(gate)) for gate in range(len(self.order))
        ]

    def _block(self, array: Array, first: int, count: int = 1) -> Array:
        return array[..., first * self.size : (first + count) * self.size]

    def advance(self, inputs: Array, state: Array, out: Array) -> None:
        """One time step, the input's part already made.

        Args:
            inputs: the input's product with weight_ih, plus `input_bias`: (*batch, G·H).
            state: before, (S, *batch, H).
            out: after; may be `state`.
        """
        self._from_own(state[0], self._product)
        np.add(inputs, self._product, self.z)
        self._equations(state, out)

    def climb(self, below: Array, state: Array, out: Array) -> None:
        """One time step on top of another layer, whose h is `below` (*batch, H)."""
        np.copyto(self._below, below.reshape(self._below.shape))
        np.copyto(self._own, state[0].reshape(self._own.shape))
        self._from_both(self._both, self.z)
        np.add(self.z, self.input_bias, self.z)
        self._equations(state, out)

    def shares(self, below: Array) -> Array:
        """What inputs (..., E), or (..., H) of the layer below, bring to the gates: (..., G·H)."""
        found = np.empty((*below.shape[:-1], len(self.input_bias)), np.float32)
        self._from_inputs(below, found)
        found += self.input_bias
        return found

    def _equations(self, state: Array, out: Array) -> None:
        """From the gates' sums in `z` to the state after."""
        raise NotImplementedError


class _Products:
    """Products with a matrix in which every group of units has inputs and outputs of its own."""

    def __init__(self, matrix: Array, gates: int, groups: int, batch: Batch) -> None:
        """Take a matrix whose rows are sorted by gates, then by groups: (G·H, inputs of one)."""
        self._gates, columns = gates, matrix.shape[1]
        by_group = matrix.reshape(gates, groups, -1, columns).swapaxes(0, 1)
        blocks = [one.reshape(-1, columns) for one in by_group]
        # One state reads each row once; many multiply faster by what lies the other way round.
        self._blocks = [_aligned(one.T) if batch else _aligned(one).T for one in blocks]

    def __call__(self, inputs: Array, out: Array) -> None:
        """Inputs (..., D·columns) to `out` (..., G·H)."""
        if len(self._blocks) == 1:
            np.dot(inputs, self._blocks[0], out)
            return
        lead = inputs.shape[:-1]
        own = inputs.reshape(*lead, len(self._blocks), -1)
        by_gate = out.reshape(*lead, self._gates, len(self._blocks), -1)
        for group, block in enumerate(self._blocks):
            found = np.dot(own[..., group, :], block)
            by_gate[..., group, :] = found.reshape(*lead, self._gates, -1)


def _aligned(matrix: Array) -> Array:
    """A copy that begins on a huge page: fewer pages to look up, a tenth faster."""
    memory = np.empty(matrix.nbytes + _PAGE, np.uint8)
    start = -memory.ctypes.data % _PAGE
    copy = memory[start : start + matrix.nbytes].view(np.float32).reshape(matrix.shape)
    np.copyto(copy, matrix)
    return copy


def _sigmoid_of_half(array: Array) -> None:
    """In place: tanh(x / 2), given as such, to sigmoid(x)."""
    np.multiply(array, _HALF, array)
    np.add(array, _HALF, array)


class LSTM(Layer):
    """Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000).

    i, f, o = sigmoid(W x + U h + b); g = tanh(W x + U h + b); c' = f c + i g; h' = o tanh(c').
    """

    sigmoids = 3
    order = (0, 1, 3, 2)

    def __init__(self, config: ModelConfig, weights: Weights, layer: int, batch: Batch) -> None:
        super().__init__(config, weights, layer, batch)
        self._new = np.empty((*batch, self.size), np.float32)

    def _equations(self, state: Array, out: Array) -> None:
        np.tanh(self.z, self.z)
        _sigmoid_of_half(self._sigmoids)
        i, f, g, o = self.gates
        h, c = out
        np.multiply(f, state[1], c)
        np.multiply(i, g, self._new)
        np.add(c, self._new, c)
        np.tanh(c, h)
        np.multiply(h, o, h)


class GRU(Layer):
    """Cho et al. (2014), in torch's form: the reset gate acts on the recurrent product.

    r, z = sigmoid(W x + U h + b); n = tanh(W x + b + r (U h + d)); h' = (1 - z) n + z h.
    """

    sigmoids = 2
    order = (0, 1, 2)
    joins = False

    def __init__(self, config: ModelConfig, weights: Weights, layer: int, batch: Batch) -> None:
        super().__init__(config, weights, layer, batch)
        # The candidate's recurrent bias belongs inside the reset gate, not to the input.
        self._block(self.input_bias, 2)[...] = self._block(self.bias_ih, 2)
        self._product_gates = self._block(self._product, 0, 2)
        self._product_candidate = self._block(self._product, 2)
        self._candidate_bias = self._block(self.bias_hh, 2)

    def advance(self, inputs: Array, state: Array, out: Array) -> None:
        """One time step, the input's part already made; state and out hold h."""
        self._from_own(state[0], self._product)
        np.copyto(self.z, inputs)
        self._equations(state, out)

    def climb(self, below: Array, state: Array, out: Array) -> None:
        """The products of x and h stay apart: r comes between."""
        self._from_own(state[0], self._product)
        self._from_inputs(below, self.z)
        np.add(self.z, self.input_bias, self.z)
        self._equations(state, out)

    def _equations(self, state: Array, out: Array) -> None:
        before, h = state[0], out[0]
        r, z, n = self.gates
        np.add(self._sigmoids, self._product_gates, self._sigmoids)
        np.tanh(self._sigmoids, self._sigmoids)
        _sigmoid_of_half(self._sigmoids)
        np.add(self._product_candidate, self._candidate_bias, self._product_candidate)
        np.multiply(self._product_candidate, r, self._product_candidate)
        np.add(n, self._product_candidate, n)
        np.tanh(n, n)
        np.subtract(before, n, h)  # h' = n + z (h - n)
        np.multiply(h, z, h)
        np.add(h, n, h)


class RNN(Layer):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    sigmoids = 0
    order = (0,)

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
    """A model laid out for stepping one state, or a batch of `batch` states.

    Clamps weights and scratch buffers, never a state: any number of texts can share one stepper.
    """

    def __init__(self, config: ModelConfig, weights: Weights, batch: int | None = None) -> None:
        self.config = config
        self.weights = weights
        self._batch: Batch = () if batch is None else (batch,)
        self.layers = [
            LAYERS[config.cell](config, weights, number, self._batch)
            for number in range(config.num_layers)
        ]
        self._embedding = weights["embedding.weight"]
        folds = config.vocab_size * len(self.layers[0].input_bias) <= _MAX_TABLE
        self._table = self.layers[0].shares(self._embedding) if folds else None
        self._head = self._embedding if config.tied_head else weights["head.weight"]
        self._head_bias = weights["head.bias"]
        self._logits = np.empty((*self._batch, config.vocab_size), np.float32)

    def batched(self, batch: int) -> Stepper:
        """A stepper of the same model for a batch of states."""
        return Stepper(self.config, self.weights, batch)

    def zero_state(self) -> Array:
        """The memory before any text: zeros (L, S, H), or (L, S, N, H) for a batch."""
        layers, states, size = self.config.state_shape
        return np.zeros((layers, states, *self._batch, size), np.float32)

    def step(
        self, token: int | TokenIds, state: Array, out: Array, holds: Clamps | None = None
    ) -> Array:
        """Read one token from `state`, write the state after it to `out` (may be `state`).

        Args:
            token: an id, or (N,) ids for a batch.
            state: (L, S, H), or (L, S, N, H) for a batch.
            out: like `state`.
            holds: units that are set to a value after the step, whatever it made of them; layers
                above see the value held.

        Returns:
            logits (V,) or (N, V): a buffer that the next step overwrites.
        """
        self.layers[0].advance(self._first_inputs(token), state[0], out[0])
        if holds:
            _hold(out, 0, holds)
        hidden = out[0, 0]
        for number, layer in enumerate(self.layers[1:], 1):
            layer.climb(hidden, state[number], out[number])
            if holds:
                _hold(out, number, holds)
            hidden = out[number, 0]
        np.dot(hidden, self._head.T, self._logits)
        np.add(self._logits, self._head_bias, self._logits)
        return self._logits

    def logits_of(self, ids: TokenIds, state: Array) -> tuple[Array, Array]:
        """Read a text: logits (T, V) after each of its tokens, and the state at its end."""
        state = state.copy()
        blocks = [
            self._read_block(ids[start : start + _BLOCK], state) @ self._head.T + self._head_bias
            for start in range(0, len(ids), _BLOCK)
        ]
        empty = np.empty((0, self.config.vocab_size), np.float32)
        return np.concatenate([empty, *blocks]), state

    def read(self, ids: TokenIds, state: Array) -> Array:
        """The state after reading a text from `state`, without its logits."""
        state = state.copy()
        for start in range(0, len(ids), _BLOCK):
            self._read_block(ids[start : start + _BLOCK], state)
        return state

    def score(self, ids: TokenIds, state: Array) -> tuple[Array, Array]:
        """Log-probability of each token but the first given those before it: (T - 1,) in nats.

        Also returns the state after the last token but one. Memory does not grow with T·V.
        """
        state = state.copy()
        found = [np.empty(0, np.float32)]
        for start in range(0, len(ids) - 1, _BLOCK):
            stop = min(start + _BLOCK, len(ids) - 1)
            hidden = self._read_block(ids[start:stop], state)
            logits = hidden @ self._head.T + self._head_bias
            targets = ids[start + 1 : stop + 1]
            found.append(log_softmax(logits)[np.arange(stop - start), targets])
        return np.concatenate(found), state

    def _first_inputs(self, ids: int | TokenIds) -> Array:
        if self._table is not None:
            return cast(Array, self._table[ids])
        return self.layers[0].shares(self._embedding[ids])

    def _read_block(self, ids: TokenIds, state: Array) -> Array:
        """Advance `state` in place over a block, layer by layer; the top layer's h, (T, H)."""
        assert self._batch == ()
        hidden = _run(self.layers[0], self._first_inputs(ids), state[0])
        for number, layer in enumerate(self.layers[1:], 1):
            hidden = _run(layer, layer.shares(hidden), state[number])
        return hidden


def _hold(state: Array, layer: int, holds: Clamps) -> None:
    if layer in holds:
        states, units, values = holds[layer]
        state[layer, states, ..., units] = np.array(values, np.float32).reshape(
            -1, *(1,) * (state.ndim - 3)
        )


def _run(layer: Layer, inputs: Array, state: Array) -> Array:
    """Advance one layer's state (S, H) in place over inputs (T, G·H); its h, (T, H)."""
    hidden = np.empty((len(inputs), layer.size), np.float32)
    for time, row in enumerate(inputs):
        layer.advance(row, state, state)
        hidden[time] = state[0]
    return hidden


def check_finite(values: npt.NDArray[np.floating]) -> None:
    """Stop where a model's numbers overflowed: nothing that follows would mean anything.

    Raises:
        ChargenError: they did.
    """
    if not np.isfinite(values).all():
        raise ChargenError("the model's numbers overflowed: its weights are too large")


def log_softmax(logits: Array) -> Array:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return cast(Array, shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
