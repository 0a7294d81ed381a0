"""Reads and writes in a tree of texts, one token at a time, and can take tokens back.

Tokens are drawn as in generate.py. In addition, writing can stop and continue at any node of the
tree, with other settings or with clamped units. This file knows no speed and no screen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from chargen.inference.batched_read import (
    WARM_UP_TOKENS,
    ProgressCallback,
    ignore_progress,
    is_read_in_rows,
    read_in_rows,
)
from chargen.inference.engine import Array, Clamps, Stepper, TokenIds, check_finite, log_softmax
from chargen.inference.filters import RECENT_TOKENS, SampleConfig
from chargen.inference.generate import PROMPT_TAIL, beginning, factory_for
from chargen.inference.remembering import MemoryReader
from chargen.inference.tree import ROOT, TextTree
from chargen.inference.writer import IMPOSSIBLE, Writer, encode_stops, forbid_unknown, recent_tokens
from chargen.model.unit_names import Unit
from chargen.text.corpus_tokenizer import first_label
from chargen.text.overlap import CopyIndex
from chargen.text.tokenizer import Tokenizer

_TAIL_MARGIN_BYTES = 64
_TOKENS_PER_REPORT = 256
_REMEMBERED_TOKENS = 20_000
"""Tokens before the end of a text that counts may grow with."""
_POSITIONS_PER_STATE = 1024
"""In a text that is read in rows, one position of so many has a stored state."""


class Composer:
    """A model at work in a tree of texts."""

    def __init__(self, stepper: Stepper, tokenizer: Tokenizer, tree: TextTree) -> None:
        self.stepper, self.tokenizer, self.tree = stepper, tokenizer, tree
        self.clamps: Clamps = {}
        """Units that are clamped in every step from here on; see `clamp`."""
        self.on_step: Callable[[int], None] | None = None
        """Called with each node that is written, while the stepper still has its gates."""
        self.remember: Callable[[], MemoryReader | None] = lambda: None
        """Makes what mixes counts in; None where only the network writes."""
        self._beginning: int | None = None

    def clamp(self, values: Mapping[Unit, float]) -> None:
        """Clamps these units to these values from the next step on, and no others."""
        clamps: dict[int, tuple[list[int], list[int], list[float]]] = {}
        for unit, value in values.items():
            states, units, numbers = clamps.setdefault(unit.layer, ([], [], []))
            states.append(unit.state)
            units.append(unit.index)
            numbers.append(value)
        self.clamps = clamps
        self._beginning = None

    def start(self, node: int, *, empty: bool) -> int:
        """The node after which reading or writing continues.

        That is `node`. At the root, it can be a hidden node: the last of the tokens that are read
        before a text.

        Args:
            node: the end of the text.
            empty: whether the model writes without reading a text first.
        """
        if node != ROOT and self.tree.token(node) == self.tokenizer.eos_id:
            # The next document begins with the same label; its token stands for no text.
            return self._append_all(node, first_label(self.tokenizer))
        if node != ROOT or not (empty or self.tokenizer.eos_id is not None):
            return node
        if self._beginning is None:
            before = beginning(np.empty(0, np.int64), self.tokenizer)
            self._beginning = self._append_all(ROOT, before, hidden=True)
        return self._beginning

    def _append_all(self, node: int, tokens: Iterable[int], *, hidden: bool = False) -> int:
        """Reads tokens that stand for no text; the node at their end."""
        for token in map(int, tokens):
            state = np.empty_like(self.tree.state(ROOT))
            self.stepper.step(token, self.tree.state(node), state, self.clamps)
            node = self.tree.append(node, token, state, clamps=self.clamps, hidden=hidden)
        return node

    def read(
        self, node: int, tokens: Iterable[int], *, progress: ProgressCallback = ignore_progress
    ) -> int:
        """Reads tokens after a node; the node at their end.

        Args:
            node: the end of the text before them.
            tokens: ids.
            progress: called with the share that is read.
        """
        ids = list(tokens)
        if not ids:
            return node
        node = self.start(node, empty=False)
        if len(ids) > 2 * WARM_UP_TOKENS and is_read_in_rows(self.stepper, len(ids)):
            # The state before counts for the first tokens only; they are read one by one.
            node = self.read(node, ids[:WARM_UP_TOKENS])
            return self._read_in_rows(node, np.array(ids), WARM_UP_TOKENS, progress)
        logits = None if node == ROOT else self.logits(node)
        for number, token in enumerate(ids):
            if number % _TOKENS_PER_REPORT == 0:
                progress(number / len(ids))
            logprob = 0.0 if logits is None else float(log_softmax(logits)[token])
            state = np.empty_like(self.tree.state(node))
            logits = self.stepper.step(token, self.tree.state(node), state, self.clamps)
            node = self.tree.append(node, token, state, logprob=logprob, clamps=self.clamps)
        progress(1.0)
        return node

    def _read_in_rows(
        self, node: int, text: TokenIds, first: int, progress: ProgressCallback
    ) -> int:
        """Reads a very long text (T,) as `eval` does; the tree gets the state of some positions.

        Args:
            node: the node of position `first - 1`.
            text: ids; those before `first` are only the warm-up.
            first: the first position that gets a node.
            progress: called with the share that is read.
        """
        tree, last = self.tree, len(text) - 1
        logprobs = np.zeros(len(text) + 1, np.float32)
        states: dict[int, Array] = {}
        for step in read_in_rows(self.stepper, text, clamps=self.clamps, progress=progress):
            positions = step.counted_positions
            following = text[np.minimum(positions + 1, last)]
            scores = log_softmax(step.logits[step.counts])
            logprobs[positions + 1] = scores[np.arange(len(following)), following]
            stored = (step.positions % _POSITIONS_PER_STATE == 0) | (step.positions == last)
            for row in np.flatnonzero(step.counts & stored & (step.positions >= first)):
                states[int(step.positions[row])] = step.state[:, :, row].copy()
        for position in range(first, last + 1):
            logprob = float(logprobs[position])
            node = tree.restore(node, int(text[position]), logprob, self.clamps, hidden=False)
            if position in states:
                tree.store_state(node, states[position])
        progress(1.0)
        return node

    def logits(self, node: int) -> Array:
        """What the model expects after a node, (V,): a copy."""
        tree = self.tree
        scratch = np.empty_like(tree.state(ROOT))
        before = tree.state(tree.parent(node))
        logits = self.stepper.step(tree.token(node), before, scratch, tree.clamps(node)).copy()
        forbid_unknown(logits, self.tokenizer)
        return logits

    def next_logits(self, node: int) -> Array:
        """As `logits`, with the counts; after an empty text, at the beginning of a text."""
        node = self.start(node, empty=True)
        logits, memory = self.logits(node), self.memory_at(node)
        if memory is None:
            return logits
        mixed = memory.mix(logits)
        forbid_unknown(mixed, self.tokenizer)
        return mixed

    def memory_at(self, node: int) -> MemoryReader | None:
        """What mixes counts in after a node; it has read the text up to there."""
        memory = self.remember()
        if memory is not None:
            if self.tokenizer.eos_id is not None:  # as a document begins
                memory.read(beginning(np.empty(0, np.int64), self.tokenizer))
            memory.read(self.tree.tokens(node, _REMEMBERED_TOKENS))
        return memory

    def write(
        self,
        node: int,
        config: SampleConfig,
        number: int = 0,
        copies: CopyIndex | None = None,
    ) -> Writing:
        """Begins to write after a node; draws from (seed, number).

        Args:
            node: the end of the text before.
            config: how to draw.
            number: of the text.
            copies: the index of the training text, for `max_copy`.

        Raises:
            UsageError: something is asked of the text that cannot be done with this model.
        """
        return Writing(self, self.start(node, empty=True), config, number, copies)


class Writing:
    """One continuation while it is written. `node` is its end so far, `first` its beginning."""

    def __init__(
        self,
        composer: Composer,
        node: int,
        config: SampleConfig,
        number: int,
        copies: CopyIndex | None = None,
    ) -> None:
        self.composer = composer
        self.first = self.node = node
        self.config = config
        self.finish: str | None = None
        """None while it goes on; then `length`, `stop`, `end`, or `form` where what was asked for
        is complete."""
        before = composer.tree.tokens(node, PROMPT_TAIL)
        self._factory = factory_for(composer.stepper, composer.tokenizer, before, config, copies)
        self._writer = Writer(composer.tokenizer, config, number, self._factory)
        self._stops = encode_stops(config)
        self._longest_stop = max(map(len, self._stops), default=0)
        self._avoided: dict[int, set[int]] = {}
        """Tokens that are not drawn again, by the node that they would follow."""
        self._logits: Array
        self._memory: MemoryReader | None
        self._state: Array
        self._recent: deque[int]
        self._tail: bytes
        """The last bytes written, in which a stop text may lie."""
        self._go_to(node)

    def change(self, config: SampleConfig) -> None:
        """Draws under other settings from here on."""
        self.config = config
        self._writer.change(config)

    def advance(self) -> int:
        """Writes one token.

        Returns:
            The node of the token. If it completes a stop text, the last node before that text. If
            what was asked for is complete without another token, the present node.

        Raises:
            ChargenError: the model's numbers overflowed.
        """
        assert self.finish is None
        composer, tree = self.composer, self.composer.tree
        logits = self._logits
        forbid_unknown(logits, composer.tokenizer)
        if self._avoided and self.node in self._avoided:
            logits[list(self._avoided[self.node])] = IMPOSSIBLE
        drawn = self._writer.write(logits, self._recent, self._state)
        if drawn is None:
            self.finish = "form"
            return self.node
        token, logprob, _, _ = drawn
        self._writer.read(token)
        state = np.empty_like(self._state)
        self._logits = composer.stepper.step(token, self._state, state, composer.clamps)
        if self._memory is not None:
            self._memory.read([token])
            self._logits = self._memory.mix(self._logits)
        self._state = state
        self._recent.append(token)
        self.node = tree.append(self.node, token, state, logprob=logprob, clamps=composer.clamps)
        if composer.on_step is not None:
            composer.on_step(self.node)
        self._written += 1
        if self._stops and self._written > self.config.min_length:
            self._tail += composer.tokenizer.token_bytes(token)
            self._check_stops()
        if self.finish is None:
            if self.config.stop_at_end and token == composer.tokenizer.eos_id:
                self.finish = "end"
            elif self._written >= self._factory.length:
                self.finish = "length"
        return self.node

    def rewind(self, node: int, avoid: int | None = None) -> bool:
        """Takes back what was written after `node`, and goes on from there.

        Args:
            node: a node between `first` and the present node.
            avoid: a token that is not drawn there again.

        Returns:
            False when no other token could be drawn there; then nothing has changed.
        """
        if avoid is not None:
            avoided = self._avoided.setdefault(node, set())
            if len(avoided) + 2 > self.composer.tokenizer.vocab_size:
                return False
            avoided.add(avoid)
        self.finish = None
        self._go_to(node)
        return True

    def _go_to(self, node: int) -> None:
        composer, tree = self.composer, self.composer.tree
        self.node = node
        self._written = tree.position(node) - tree.position(self.first)
        self._logits = composer.logits(node)
        self._memory = composer.memory_at(node)
        if self._memory is not None:
            self._logits = self._memory.mix(self._logits)
        self._state = tree.state(node)
        if self._factory:
            self._writer.restart(tree.tokens(node, self._written))
        self._recent = recent_tokens(tree.tokens(node, RECENT_TOKENS))
        nodes = tree.path(node, self._longest_stop, after=self.first) if self._stops else []
        self._tail = b"".join(composer.tokenizer.token_bytes(tree.token(node)) for node in nodes)

    def _check_stops(self) -> None:
        """Ends the text before a stop text, if the tail has one."""
        tree, tokenizer = self.composer.tree, self.composer.tokenizer
        starts = [start for stop in self._stops if (start := self._tail.find(stop)) >= 0]
        if starts:
            surplus = len(self._tail) - min(starts)
            node = self.node
            while surplus > 0 and node != self.first:
                surplus -= len(tokenizer.token_bytes(tree.token(node)))
                node = tree.parent(node)
            self.node = node
            self.finish = "stop"
        self._tail = self._tail[-(self._longest_stop + _TAIL_MARGIN_BYTES) :]


def most_likely(logits: Array, count: int) -> list[tuple[int, float]]:
    """The most likely tokens and their probabilities, the most likely first.

    Raises:
        ChargenError: the model's numbers overflowed.
    """
    logprobs = log_softmax(logits)
    check_finite(logprobs.max())
    order = np.argsort(-logprobs, kind="stable")[:count]
    return [(int(token), float(np.exp(logprobs[token]))) for token in order]
