"""Writes texts: reads a prompt, draws token after token, and stops.

It writes one text, or a batch of texts side by side, as a stream of steps. Stop texts are matched
on bytes, so a stop text that is split over tokens or ends inside a token is found. Bytes that may
belong to a stop text are delayed until that is certain.

Shape letters: V vocabulary, N batch, R recent tokens.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chargen.errors import ChargenError
from chargen.inference.batched_read import ProgressCallback, ignore_progress, read_to_end
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.filters import RECENT_TOKENS, SampleConfig, active_filters, draw
from chargen.inference.remembering import MemoryReader
from chargen.text.corpus_tokenizer import first_label, labels_of
from chargen.text.tokenizer import StreamDecoder, Tokenizer, utf8

IMPOSSIBLE = -1e30
"""A logit whose likelihood is zero. Unlike -inf, it can be multiplied by that zero."""
TEXTS_PER_BATCH = 64
"""Texts that are written side by side; more rows would make a step of the batch hardly cheaper."""
_UNIFORMS_PER_CALL = 64


class Step(NamedTuple):
    """One token that was written.

    `logprob`, `entropy` and `rank` are those of the model, before any filter. `text` and `data` are
    the text that became certain with this token: empty while a character or a possible stop text
    is incomplete, and longer than the token afterwards.
    """

    token_id: int
    text: str
    data: bytes
    logprob: float
    """Natural logarithm of the token's probability."""
    entropy: float
    """Entropy of the model's prediction, in nats."""
    rank: int
    """How many tokens were more likely."""
    state: Array
    """The state (L, S, H) after reading this token; the step has its own copy."""
    finish: str | None = None
    """None while the text goes on; at the last step `length`, `stop` or `end`."""


@dataclass
class StopMatcher:
    """Cuts a stream of bytes before the first occurrence of any stop text."""

    stops: Sequence[bytes]
    pending: bytes = b""
    """Bytes at the end of the stream that may be the beginning of a stop."""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(the bytes that certainly come before any stop, whether a stop was found)."""
        if not self.stops:
            return data, False
        pending = self.pending + data
        starts = [start for stop in self.stops if (start := pending.find(stop)) >= 0]
        if starts:
            self.pending = b""
            return pending[: min(starts)], True
        certain = len(pending) - max(_overlap(pending, stop) for stop in self.stops)
        self.pending = pending[certain:]
        return pending[:certain], False

    def flush(self) -> bytes:
        """The delayed bytes, which belong to no stop text after all."""
        pending, self.pending = self.pending, b""
        return pending


def _overlap(text: bytes, stop: bytes) -> int:
    """The longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)


class Draw(NamedTuple):
    """A drawn token, and what the model thought of it before any filter."""

    token_id: int
    logprob: float
    entropy: float
    rank: int


class Writer:
    """Writes one text: draws its tokens, finds stop texts, decodes."""

    def __init__(self, tokenizer: Tokenizer, config: SampleConfig, number: int) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._random = np.random.default_rng([config.seed, number])
        self._uniforms: list[float] = []
        self._filters = active_filters(config)
        self._matcher = StopMatcher(encode_stops(config))
        self._decoder = StreamDecoder()
        self.written = 0
        self.done = False

    def write(self, logits: Array, recent: Sequence[int]) -> Draw:
        """Draws the next token.

        Args:
            logits: (V,).
            recent: ids of the last tokens, for the repetition penalty.

        Raises:
            ChargenError: the model's numbers overflowed.
        """
        relative = logits - np.maximum.reduce(logits)
        likelihoods = np.exp(relative)
        total = float(np.add.reduce(likelihoods))
        if not math.isfinite(total):
            raise ChargenError(
                f"after {self.written} tokens the model's numbers overflowed: its weights are too "
                "large to write with"
            )
        filtered = relative
        for apply in self._filters:
            filtered = apply(filtered, recent, self._config)
        token = draw(filtered, self._uniform())
        chosen, log_total = relative[token], math.log(total)
        entropy = log_total - float(likelihoods.dot(relative)) / total
        rank = int(np.count_nonzero(relative > chosen))
        return Draw(token, float(chosen) - log_total, entropy, rank)

    def change(self, config: SampleConfig) -> None:
        """Draws under other settings from here on; the sequence of random numbers goes on."""
        self._config = config
        self._filters = active_filters(config)

    def _uniform(self) -> float:
        """The next random number in [0, 1)."""
        if not self._uniforms:  # one call costs as much as sixty numbers
            self._uniforms = self._random.random(_UNIFORMS_PER_CALL).tolist()[::-1]
        return self._uniforms.pop()

    def accept(self, drawn: Draw, state: Array) -> Step:
        """Makes the step of a drawn token, and ends the text if it is complete."""
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
    *,
    memory: MemoryReader | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Iterator[Step]:
    """Writes one text after a prompt.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        prompt: ids to read first (N,); may be empty where there is no `state`.
        config: how to draw.
        state: the state before the prompt; None starts a text (see `beginning`).
        memory: counts that are mixed in; reads the prompt.
        progress: called with the share of the prompt that is read.
    """
    stepper = stepper.fresh()  # between two steps the caller may use the model otherwise
    writer = Writer(tokenizer, config, 0)
    ids = beginning(prompt, tokenizer) if state is None else prompt
    before = stepper.zero_state() if state is None else state
    state = read_to_end(stepper, ids[:-1], before, progress=progress)
    logits = stepper.step(int(ids[-1]), state, state)
    recent = recent_tokens(prompt)
    if memory is not None:
        memory.read(ids)
    while not writer.done:
        if memory is not None:
            logits = memory.mix(logits)
        forbid_unknown(logits, tokenizer)
        drawn = writer.write(logits, recent)
        recent.append(drawn.token_id)
        if memory is not None:
            memory.read([drawn.token_id])
        logits = stepper.step(drawn.token_id, state, state)
        yield writer.accept(drawn, state.copy())


def generate_batch(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    count: int,
    *,
    memories: Callable[[int], MemoryReader] | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Iterator[tuple[int, Step]]:
    """Writes `count` texts after one prompt, side by side: yields (number of the text, step).

    Text k draws from (seed, k) and does not depend on `count`. Of many texts, `TEXTS_PER_BATCH` are
    written at a time, so the first are complete long before the last begin.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        prompt: ids to read first (P,); may be empty.
        config: how to draw.
        count: how many texts.
        memories: makes the counts that are mixed in, for so many texts.
        progress: called with the share of the prompt that is read.
    """
    stepper = stepper.fresh()
    ids = beginning(prompt, tokenizer)
    before = read_to_end(stepper, ids[:-1], stepper.zero_state(), progress=progress)
    for first in range(0, count, TEXTS_PER_BATCH):
        numbers = range(first, min(first + TEXTS_PER_BATCH, count))
        writers = [Writer(tokenizer, config, number) for number in numbers]
        recents = [recent_tokens(prompt) for _ in numbers]
        memory = None if memories is None else memories(len(numbers))
        if memory is not None:
            for row in range(len(numbers)):
                memory.read(ids, row)
        rows = _write_rows(stepper, tokenizer, int(ids[-1]), before, writers, recents, memory)
        for row, step in rows:
            yield numbers[row], step


def _write_rows(
    stepper: Stepper,
    tokenizer: Tokenizer,
    token: int,
    before: Array,
    writers: Sequence[Writer],
    recents: Sequence[deque[int]],
    memory: MemoryReader | None,
) -> Iterator[tuple[int, Step]]:
    """Writes one text in each batch row, all after the state `before` and one more token."""
    count = len(writers)
    state = np.repeat(before[:, :, None], count, axis=2)
    batched = stepper.batched(count)
    logits = batched.step(np.full(count, token), state, state)
    while not all(writer.done for writer in writers):
        if memory is not None:
            logits = memory.mix(logits)
        forbid_unknown(logits, tokenizer)
        draws = []
        for row, writer, recent in zip(logits, writers, recents, strict=True):
            draws.append(writer.write(row, recent))
            recent.append(draws[-1].token_id)
        tokens = np.array([drawn.token_id for drawn in draws])
        if memory is not None:
            for number, token in enumerate(tokens):
                memory.read([token], number)
        logits = batched.step(tokens, state, state)
        for number, writer in enumerate(writers):
            if not writer.done:
                yield number, writer.accept(draws[number], state[:, :, number].copy())


def beginning(prompt: TokenIds, tokenizer: Tokenizer) -> TokenIds:
    """The ids (N,), at least one, that are read from a zero state before the first draw.

    A model of documents begins each document after the end of another. Any other model begins
    with the prompt; without a prompt, with a line end, or with token 0 where it has no line end.
    """
    if tokenizer.eos_id is not None:
        start = [tokenizer.eos_id, *first_label(tokenizer)]
        return np.concatenate([start, prompt]).astype(np.int64)
    if len(prompt):
        return prompt
    return np.array([0]) if tokenizer.unseen("\n") else tokenizer.encode("\n")


def forbid_unknown(logits: Array, tokenizer: Tokenizer) -> None:
    """Makes tokens impossible to draw that stand for no text: `<unk>`, and labels."""
    if tokenizer.kind == "subword":
        logits[..., 0] = IMPOSSIBLE
    if labels := len(labels_of(tokenizer)):
        logits[..., -labels:] = IMPOSSIBLE


def recent_tokens(ids: TokenIds) -> deque[int]:
    """The last ids, which the repetition penalty looks at; drops old ids as new ones come."""
    return deque(map(int, ids[-RECENT_TOKENS:]), RECENT_TOKENS)


def encode_stops(config: SampleConfig) -> list[bytes]:
    """The stop texts as bytes."""
    return [utf8(stop) for stop in config.stop]


def impossible_stops(stops: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    """A line for each stop text that cannot come, because the model never saw its characters."""
    for stop in stops:
        unseen = tokenizer.unseen(stop)
        if unseen:
            yield f"stop {stop!r} cannot come: the model never saw {', '.join(map(repr, unseen))}"
