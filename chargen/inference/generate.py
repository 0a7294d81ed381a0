"""A prompt becomes a stream of steps: prefill, draw, stop. One text, or a batch of them.

Stands between the stepper (which knows no text) and whoever shows the text. Stop texts are
matched on bytes, so a stop that is split over tokens, or ends inside one, is found, and what
might still become a stop is held back until it is certain.

Shape letters: V vocabulary, N batch, R recent tokens.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chargen.errors import ChargenError
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.filters import RECENT, SampleConfig, active_filters, draw
from chargen.text.tokenizer import StreamDecoder, Tokenizer

IMPOSSIBLE = -1e30
"""A logit whose likelihood is zero and that, unlike -inf, can be multiplied by it."""


class Step(NamedTuple):
    """One token that was written.

    logprob, entropy and rank are the model's own, before any filter. `text` and `data` are what
    became certain with this token: nothing while a character or a possible stop text is
    incomplete, and more than the token itself afterwards.
    """

    token_id: int
    text: str
    data: bytes
    logprob: float
    """Natural logarithm of the token's probability."""
    entropy: float
    """Entropy of the model's prediction, in nats."""
    rank: int
    """How many tokens were likelier."""
    state: Array
    """The memory (L, S, H) after reading this token; the step's own copy."""
    finish: str | None = None
    """None while it goes on; at the last step `length`, `stop` or `end`."""


@dataclass
class StopMatcher:
    """Cuts a stream of bytes before the first occurrence of any stop text."""

    stops: Sequence[bytes]
    held: bytes = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what is certain to come before any stop, whether a stop was found)."""
        if not self.stops:
            return data, False
        held = self.held + data
        found = [place for stop in self.stops if (place := held.find(stop)) >= 0]
        if found:
            self.held = b""
            return held[: min(found)], True
        keep = max(_overlap(held, stop) for stop in self.stops)
        self.held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def flush(self) -> bytes:
        """What was held back and turned out to be no stop."""
        held, self.held = self.held, b""
        return held


def _overlap(text: bytes, stop: bytes) -> int:
    """The longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)


class Writer:
    """What one text needs while it is written: random draws, stop texts, decoding."""

    def __init__(self, tokenizer: Tokenizer, config: SampleConfig, number: int) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._random = np.random.default_rng([config.seed, number])
        self._uniforms: list[float] = []
        self._filters = active_filters(config)
        self._matcher = StopMatcher([one.encode("utf-8", "replace") for one in config.stop])
        self._decoder = StreamDecoder()
        self.written = 0
        self.done = False

    def write(self, logits: Array, recent: Sequence[int]) -> tuple[int, float, float, int]:
        """Draw the next token from logits (V,): the token, its logprob, the entropy, its rank."""
        relative = logits - np.maximum.reduce(logits)
        likelihoods = np.exp(relative)
        total = float(np.add.reduce(likelihoods))
        if not math.isfinite(total):
            raise ChargenError(
                f"after {self.written} tokens the model's numbers overflowed: its weights are too "
                "large to write with"
            )
        filtered = relative
        for row in self._filters:
            filtered = row.apply(filtered, recent, self._config)
        token = draw(filtered, self._uniform())
        own, log_total = relative[token], math.log(total)
        entropy = log_total - float(likelihoods.dot(relative)) / total
        return token, float(own) - log_total, entropy, int(np.count_nonzero(relative > own))

    def change(self, config: SampleConfig) -> None:
        """Draw otherwise from here on; the random numbers go on."""
        self._config = config
        self._filters = active_filters(config)

    def _uniform(self) -> float:
        """The next random number in [0, 1)."""
        if not self._uniforms:  # drawn in bulk: one call costs as much as sixty numbers
            self._uniforms = self._random.random(64).tolist()[::-1]
        return self._uniforms.pop()

    def accept(self, drawn: tuple[int, float, float, int], state: Array) -> Step:
        """Turn a drawn token into a step, and notice the end."""
        token_id, logprob, entropy, rank = drawn
        self.written += 1
        certain, stopped = self._matcher.feed(self._tokenizer.token_bytes(token_id))
        finish = None
        if stopped:
            finish = "stop"
        elif self._config.stop_at_end and token_id == self._tokenizer.eos_id:
            finish = "end"
        elif self.written >= self._config.length:
            finish = "length"
        if finish in ("end", "length"):
            certain += self._matcher.flush()
        text = self._decoder.feed(certain)
        if finish:
            text += self._decoder.finish()
            self.done = True
        return Step(token_id, text, certain, logprob, entropy, rank, state, finish)


def generate(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    state: Array | None = None,
) -> Iterator[Step]:
    """Write one text after a prompt.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        prompt: ids to read first (N,); may be empty where there is no `state`.
        config: how to draw.
        state: the memory before the prompt; None is none, and starts a text (see `beginning`).

    Raises:
        UsageError: a setting does not fit the model.
    """
    config.check_vocabulary(tokenizer.vocab_size)
    writer = Writer(tokenizer, config, 0)
    ids = beginning(prompt, tokenizer) if state is None else prompt
    state = stepper.read(ids[:-1], stepper.zero_state() if state is None else state)
    logits = stepper.step(int(ids[-1]), state, state)
    recent = deque(map(int, prompt[-RECENT:]), RECENT)
    while not writer.done:
        forbid(logits, tokenizer)
        drawn = writer.write(logits, recent)
        recent.append(drawn[0])
        logits = stepper.step(drawn[0], state, state)
        yield writer.accept(drawn, state.copy())


def generate_batch(
    stepper: Stepper, tokenizer: Tokenizer, prompt: TokenIds, config: SampleConfig, count: int
) -> Iterator[tuple[int, Step]]:
    """Write `count` texts after one prompt, side by side: yields (number of the text, step).

    Text k draws from (seed, k) and does not depend on how many others are written.

    Raises:
        UsageError: a setting does not fit the model.
    """
    config.check_vocabulary(tokenizer.vocab_size)
    writers = [Writer(tokenizer, config, number) for number in range(count)]
    recents = [deque(map(int, prompt[-RECENT:]), RECENT) for _ in range(count)]
    ids = beginning(prompt, tokenizer)
    before = stepper.read(ids[:-1], stepper.zero_state())
    state = np.repeat(before[:, :, None], count, axis=2)
    many = stepper.batched(count)
    logits = many.step(np.full(count, ids[-1]), state, state)
    while not all(writer.done for writer in writers):
        forbid(logits, tokenizer)
        drawn = []
        for row, writer, recent in zip(logits, writers, recents, strict=True):
            drawn.append(writer.write(row, recent))
            recent.append(drawn[-1][0])
        tokens = np.array([one[0] for one in drawn])
        logits = many.step(tokens, state, state)
        for number, writer in enumerate(writers):
            if not writer.done:
                yield number, writer.accept(drawn[number], state[:, :, number].copy())


def beginning(prompt: TokenIds, tokenizer: Tokenizer) -> TokenIds:
    """What is read before the first draw, from an empty memory: at least one token (N,).

    A model of documents begins each one after the end of another. Any other begins with the
    prompt, or without one with a line end, or with token 0 where even that is unknown.
    """
    if tokenizer.eos_id is not None:
        return np.concatenate([[tokenizer.eos_id], prompt]).astype(np.int64)
    if len(prompt):
        return prompt
    return np.array([0]) if tokenizer.unseen("\n") else tokenizer.encode("\n")


def forbid(logits: Array, tokenizer: Tokenizer) -> None:
    """Make the token that no text has, SentencePiece's `<unk>`, impossible to draw."""
    if tokenizer.kind == "subword":
        logits[..., 0] = IMPOSSIBLE
