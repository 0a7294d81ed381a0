"""Composer: reads and writes in a tree of texts, one token at a time, and can take tokens back.

The same drawing as in generator.py; but the text it writes to can be left, taken up elsewhere,
and written on under other settings or with units held. Knows no pace and no screen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from chargen.errors import ChargenError
from chargen.inference.engine import Array, Clamps, Stepper, log_softmax
from chargen.inference.filters import RECENT, SampleConfig
from chargen.inference.generate import IMPOSSIBLE, Writer, beginning, forbid
from chargen.inference.tree import ROOT, TextTree
from chargen.model.unit_names import Unit
from chargen.text.tokenizer import Tokenizer


class Composer:
    """A model at work in a tree of texts."""

    def __init__(self, stepper: Stepper, tokenizer: Tokenizer, tree: TextTree) -> None:
        self.stepper, self.tokenizer, self.tree = stepper, tokenizer, tree
        self.holds: Clamps = {}
        """Units that are held from here on; see `hold`."""
        self.on_step: Callable[[int], None] | None = None
        """Called with each node that is written, while the stepper still has its gates."""
        self._beginning: int | None = None

    def hold(self, values: Mapping[Unit, float]) -> None:
        """Hold these units at these values from the next step on, and no others."""
        holds: dict[int, tuple[list[int], list[int], list[float]]] = {}
        for unit, value in values.items():
            states, units, numbers = holds.setdefault(unit.layer, ([], [], []))
            states.append(unit.state)
            units.append(unit.index)
            numbers.append(value)
        self.holds = holds
        self._beginning = None

    def start(self, node: int, *, empty: bool) -> int:
        """Where a text can be read or written on: at the root, after what a text begins after.

        Args:
            node: where the text is.
            empty: whether it is to be written on with nothing read first.
        """
        if node != ROOT or not (empty or self.tokenizer.eos_id is not None):
            return node
        if self._beginning is None:
            (token,) = beginning(np.empty(0, np.int64), self.tokenizer)
            state = np.empty_like(self.tree.state(ROOT))
            self.stepper.step(int(token), self.tree.state(ROOT), state, self.holds)
            self._beginning = self.tree.append(
                ROOT, int(token), state, holds=self.holds, hidden=True
            )
        return self._beginning

    def read(self, node: int, tokens: Iterable[int]) -> int:
        """Read tokens after a node; the node at their end."""
        ids = list(tokens)
        if not ids:
            return node
        node = self.start(node, empty=False)
        logits = None if node == ROOT else self.logits(node)
        for token in ids:
            logprob = 0.0 if logits is None else float(log_softmax(logits)[token])
            state = np.empty_like(self.tree.state(node))
            logits = self.stepper.step(token, self.tree.state(node), state, self.holds)
            node = self.tree.append(node, token, state, logprob=logprob, holds=self.holds)
        return node

    def logits(self, node: int) -> Array:
        """What the model expects after a node, (V,): a copy."""
        tree = self.tree
        scratch = np.empty_like(tree.state(ROOT))
        before = tree.state(tree.parent(node))
        logits = self.stepper.step(tree.token(node), before, scratch, tree.holds(node)).copy()
        forbid(logits, self.tokenizer)
        return logits

    def next_logits(self, node: int) -> Array:
        """As `logits`; for an empty text, what the model expects at a beginning."""
        return self.logits(self.start(node, empty=True))

    def write(self, node: int, config: SampleConfig, number: int = 0) -> Writing:
        """Begin to write after a node; draws from (seed, number)."""
        config.check_vocabulary(self.tokenizer.vocab_size)
        return Writing(self, self.start(node, empty=True), config, number)


class Writing:
    """One continuation while it is written. `node` is its end so far."""

    def __init__(self, composer: Composer, node: int, config: SampleConfig, number: int) -> None:
        self.composer = composer
        self.first = self.node = node
        self.config = config
        self.finish: str | None = None
        """None while it goes on; then `length`, `stop` or `end`."""
        self._writer = Writer(composer.tokenizer, config, number)
        self._stops = [one.encode("utf-8", "replace") for one in config.stop]
        self._longest = max(map(len, self._stops), default=0)
        self._avoided: dict[int, set[int]] = {}
        self._logits: Array
        self._state: Array
        self._recent: deque[int]
        self._tail: bytes
        self._place(node)

    def change(self, config: SampleConfig) -> None:
        """Draw otherwise from here on."""
        self.config = config
        self._writer.change(config)

    def advance(self) -> int:
        """Write one token; the node it became, or, before a stop text, the last that remains.

        Raises:
            ChargenError: the model's numbers overflowed.
        """
        assert self.finish is None
        composer, tree = self.composer, self.composer.tree
        logits = self._logits
        forbid(logits, composer.tokenizer)
        if self._avoided and self.node in self._avoided:
            logits[list(self._avoided[self.node])] = IMPOSSIBLE
        token, logprob, _, _ = self._writer.write(logits, self._recent)
        state = np.empty_like(self._state)
        self._logits = composer.stepper.step(token, self._state, state, composer.holds)
        self._state = state
        self._recent.append(token)
        self.node = tree.append(self.node, token, state, logprob=logprob, holds=composer.holds)
        if composer.on_step is not None:
            composer.on_step(self.node)
        self._written += 1
        if self._stops:
            self._tail += composer.tokenizer.token_bytes(token)
            self._stop()
        if self.finish is None:
            if self.config.stop_at_end and token == composer.tokenizer.eos_id:
                self.finish = "end"
            elif self._written >= self.config.length:
                self.finish = "length"
        return self.node

    def rewind(self, node: int, avoid: int | None = None) -> bool:
        """Take back what was written after `node`, and go on from there.

        Args:
            node: on the way to the present one, not before the first.
            avoid: a token not to draw there again.

        Returns:
            False when nothing else could be drawn there; nothing was changed then.
        """
        if avoid is not None:
            avoided = self._avoided.setdefault(node, set())
            if len(avoided) + 2 > self.composer.tokenizer.vocab_size:
                return False
            avoided.add(avoid)
        self.finish = None
        self._place(node)
        return True

    def _place(self, node: int) -> None:
        composer, tree = self.composer, self.composer.tree
        self.node = node
        self._written = tree.position(node) - tree.position(self.first)
        self._logits = composer.logits(node)
        self._state = tree.state(node)
        self._recent = deque(map(int, tree.tokens(node, RECENT)), RECENT)
        written = tree.path(node, self._longest, after=self.first) if self._longest else ()
        pieces = [composer.tokenizer.token_bytes(tree.token(one)) for one in written]
        self._tail = b"".join(pieces)

    def _stop(self) -> None:
        """End before a stop text, once it is there."""
        tree, tokenizer = self.composer.tree, self.composer.tokenizer
        found = [place for stop in self._stops if (place := self._tail.find(stop)) >= 0]
        if found:
            surplus = len(self._tail) - min(found)
            node = self.node
            while surplus > 0 and node != self.first:
                surplus -= len(tokenizer.token_bytes(tree.token(node)))
                node = tree.parent(node)
            self.node = node
            self.finish = "stop"
        self._tail = self._tail[-(self._longest + 64) :]


def most_likely(logits: Array, count: int) -> list[tuple[int, float]]:
    """The most_likely tokens and their probabilities, in order.

    Raises:
        ChargenError: the model's numbers overflowed.
    """
    logprobs = log_softmax(logits)
    if not np.isfinite(logprobs.max()):
        raise ChargenError("the model's numbers overflowed: its weights are too large")
    order = np.argsort(-logprobs, kind="stable")[:count]
    return [(int(token), float(np.exp(logprobs[token]))) for token in order]
