"""Writes texts: reads a prompt, draws token after token, and stops.

It writes one text, or a batch of texts side by side, as a stream of steps. Stop texts are matched
on bytes, so a stop text that is split over tokens or ends inside a token is found. Bytes that may
belong to a stop text are delayed until that is certain.

Shape letters: V vocabulary, N batch, R recent tokens.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chargen.errors import ChargenError
from chargen.inference.batched_read import ProgressCallback, ignore_progress, read_to_end
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.filters import RECENT_TOKENS, SampleConfig, active_filters, draw
from chargen.inference.remembering import MemoryReader
from chargen.steering.factory import GuideFactory
from chargen.steering.guides import Guides, Moment
from chargen.text.corpus_tokenizer import first_label, labels_of
from chargen.text.overlap import CopyIndex
from chargen.text.tokenizer import StreamDecoder, Tokenizer, utf8

IMPOSSIBLE = -1e30
"""A logit whose likelihood is zero. Unlike -inf, it can be multiplied by that zero."""
TEXTS_PER_BATCH = 64
"""Texts that are written side by side; more rows would make a step of the batch hardly cheaper."""
_UNIFORMS_PER_CALL = 64
PROMPT_TAIL = 200
"""Tokens of the prompt that guides look at: the line and the word in which it ends."""


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
    """None while the text goes on; at the last step `length`, `stop`, `end`, or `form` where what
    was asked for is complete."""


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
    """Writes one text: draws its tokens, finds stop texts, decodes.

    Args:
        tokenizer: of the model.
        config: how to draw.
        number: the text draws from (seed, number).
        factory: makes the guides of the text; None: nothing is asked of it.
        prompt_number: of several prompts; the first draws as the only one does.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: SampleConfig,
        number: int,
        factory: GuideFactory | None = None,
        prompt_number: int = 0,
    ) -> None:
        self._tokenizer = tokenizer
        self._config = config
        # The first of several prompts draws as the only one does.
        entropy = [config.seed, number, *([prompt_number] if prompt_number else [])]
        self._random = np.random.default_rng(entropy)
        self._uniforms: list[float] = []
        self._filters = active_filters(config)
        self._matcher = StopMatcher(encode_stops(config))
        self._decoder = StreamDecoder()
        self._factory = factory if factory else None
        self._length = config.length if factory is None else factory.length
        self.written = 0
        self.done = False
        self.guides: Guides | None = None
        self.restart(())

    def restart(self, written: Iterable[int]) -> None:
        """Makes the guides anew, for a text of which these tokens are written."""
        if self._factory is not None:
            tokens = list(written)
            self.guides = self._factory.guides(tokens)
            self.written = len(tokens)

    def write(self, logits: Array, recent: Sequence[int], state: Array) -> Draw | None:
        """Draws the next token; None where the text is complete without one.

        Args:
            logits: (V,).
            recent: ids of the last tokens, for the repetition penalty.
            state: (L, S, H), for guides that look ahead.

        Raises:
            ChargenError: the model's numbers overflowed, or nothing may follow.
        """
        relative = logits - np.maximum.reduce(logits)
        likelihoods = np.exp(relative)
        total = float(np.add.reduce(likelihoods))
        if not math.isfinite(total):
            raise ChargenError(
                f"after {self.written} tokens the model's numbers overflowed: its weights are too "
                "large to write with"
            )
        token = (
            draw(self._filtered(relative, recent), self._uniform())
            if self.guides is None
            else self._guided(relative, recent, state)
        )
        if token is None:
            return None
        chosen, log_total = relative[token], math.log(total)
        entropy = log_total - float(likelihoods.dot(relative)) / total
        rank = int(np.count_nonzero(relative > chosen))
        return Draw(token, float(chosen) - log_total, entropy, rank)

    def _filtered(self, relative: Array, recent: Sequence[int]) -> Array:
        for apply in self._filters:
            relative = apply(relative, recent, self._config)
        return relative

    def _guided(self, relative: Array, recent: Sequence[int], state: Array) -> int | None:
        """Draws a token that the guides let come; None where they end the text.

        What a guide finds by looking ahead is asked only of tokens that are drawn: a token that
        keeps a share w of its likelihood is kept with probability w, else it is given that share
        and another is drawn. That draws from the shared likelihoods without knowing all of them.
        """
        guides = self.guides
        assert guides is not None
        moment = Moment(relative=relative, state=state, remaining=self._length - self.written)
        if guides.ends_texts and self.written and guides.may_end():
            free = draw(self._filtered(relative, recent), self._uniform())
            if guides.ended(free, moment):
                return None
        weighed = guides.weigh(moment)
        if not guides.looks_ahead:
            return draw(self._filtered(weighed, recent), self._uniform())
        asked: set[int] = set()
        while True:
            token = draw(self._filtered(weighed, recent), self._uniform())
            if token in asked:
                return token
            share = guides.kept(token, moment)
            if share >= 1 or (self._config.temperature > 0 and self._uniform() < share):
                return token
            asked.add(token)
            weighed[token] += math.log(share) if share > 0 else -math.inf
            if not np.isfinite(weighed).any():
                raise ChargenError(
                    f"after {self.written} tokens nothing may follow that was asked for; ask for "
                    "less, or try another seed"
                )

    @property
    def may_complete(self) -> bool:
        """Whether the text may turn out to be complete before its next token."""
        return self.guides is not None and self.guides.ends_texts and not self.done

    def change(self, config: SampleConfig) -> None:
        """Draws under other settings from here on; the sequence of random numbers goes on."""
        self._config = config
        self._filters = active_filters(config)

    def _uniform(self) -> float:
        """The next random number in [0, 1)."""
        if not self._uniforms:  # one call costs as much as sixty numbers
            self._uniforms = self._random.random(_UNIFORMS_PER_CALL).tolist()[::-1]
        return self._uniforms.pop()

    def read(self, token: int) -> None:
        """Counts a token that the text goes on with, and tells the guides of it."""
        self.written += 1
        if self.guides is not None:
            self.guides.accept(token)

    def accept(self, drawn: Draw, state: Array) -> Step:
        """Makes the step of a drawn token, and ends the text if it is complete."""
        token_id, logprob, entropy, rank = drawn
        self.read(token_id)
        data = self._tokenizer.token_bytes(token_id)
        certain, stopped = data, False
        if self.written > self._config.min_length:
            certain, stopped = self._matcher.feed(data)
        finish = None
        if stopped:
            finish = "stop"
        elif self._config.stop_at_end and token_id == self._tokenizer.eos_id:
            finish = "end"
        elif self.written >= self._length:
            finish = "length"
        if finish in ("end", "length"):
            certain += self._matcher.flush()
        text = self._decoder.feed(certain)
        if finish:
            text += self._decoder.finish()
            self.done = True
        return Step(token_id, text, certain, logprob, entropy, rank, state, finish)

    def complete(self, last: Step) -> Step:
        """Makes a text end with the step that was its last: what was asked for is complete."""
        rest = self._matcher.flush()
        text = last.text + self._decoder.feed(rest) + self._decoder.finish()
        self.done = True
        return last._replace(text=text, data=last.data + rest, finish="form")


def generate(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    state: Array | None = None,
    *,
    memory: MemoryReader | None = None,
    copies: CopyIndex | None = None,
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
        copies: the index of the training text, for `max_copy`.
        progress: called with the share of the prompt that is read.

    Raises:
        UsageError: something is asked of the text that cannot be done with this model.
    """
    factory = factory_for(stepper, tokenizer, prompt, config, copies)
    return _write(stepper, tokenizer, prompt, config, state, memory, factory, progress)


def factory_for(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    copies: CopyIndex | None = None,
) -> GuideFactory:
    """Makes the guides of the texts after a prompt; see `generate`.

    Raises:
        UsageError: something is asked of the text that cannot be done with this model.
    """
    before = tokenizer.decode(map(int, prompt[-PROMPT_TAIL:]))
    return GuideFactory(config, config.length, tokenizer, stepper.fresh(), before, copies)


def _write(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    state: Array | None,
    memory: MemoryReader | None,
    factory: GuideFactory,
    progress: ProgressCallback,
) -> Iterator[Step]:
    stepper = stepper.fresh()  # between two steps the caller may use the model otherwise
    writer = Writer(tokenizer, config, 0, factory)
    ids = beginning(prompt, tokenizer) if state is None else prompt
    before = stepper.zero_state() if state is None else state
    state = read_to_end(stepper, ids[:-1], before, progress=progress)
    logits = stepper.step(int(ids[-1]), state, state)
    recent = recent_tokens(prompt)
    if memory is not None:
        memory.read(ids)
    held: Step | None = None
    """The last step, where the text may turn out to be complete with it."""
    while not writer.done:
        if memory is not None:
            logits = memory.mix(logits)
        forbid_unknown(logits, tokenizer)
        drawn = writer.write(logits, recent, state)
        if held is not None:
            yield held if drawn is not None else writer.complete(held)
        if drawn is None:
            return
        recent.append(drawn.token_id)
        if memory is not None:
            memory.read([drawn.token_id])
        logits = stepper.step(drawn.token_id, state, state)
        step = writer.accept(drawn, state.copy())
        if writer.may_complete:
            held = step
        else:
            held = None
            yield step


def generate_batch(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    count: int,
    *,
    memories: Callable[[int], MemoryReader] | None = None,
    copies: CopyIndex | None = None,
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
        copies: the index of the training text, for `max_copy`.
        progress: called with the share of the prompt that is read.

    Raises:
        UsageError: something is asked of the texts that cannot be done with this model.
    """
    factory = factory_for(stepper, tokenizer, prompt, config, copies)
    return _write_batches(stepper, tokenizer, prompt, config, count, memories, factory, progress)


def _write_batches(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    count: int,
    memories: Callable[[int], MemoryReader] | None,
    factory: GuideFactory,
    progress: ProgressCallback,
) -> Iterator[tuple[int, Step]]:
    stepper = stepper.fresh()
    ids = beginning(prompt, tokenizer)
    before = read_to_end(stepper, ids[:-1], stepper.zero_state(), progress=progress)
    for first in range(0, count, TEXTS_PER_BATCH):
        numbers = range(first, min(first + TEXTS_PER_BATCH, count))
        writers = [Writer(tokenizer, config, number, factory) for number in numbers]
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
    held: dict[int, Step] = {}
    while not all(writer.done for writer in writers):
        if memory is not None:
            logits = memory.mix(logits)
        forbid_unknown(logits, tokenizer)
        draws: list[Draw | None] = []
        for number, (row, writer) in enumerate(zip(logits, writers, strict=True)):
            drawn = None
            if not writer.done:
                drawn = writer.write(row, recents[number], state[:, :, number])
                last = held.pop(number, None)
                if last is not None:
                    yield number, last if drawn is not None else writer.complete(last)
            draws.append(drawn)
        # Rows of texts that are complete go on with any token; nobody reads them.
        tokens = np.array([0 if drawn is None else drawn.token_id for drawn in draws])
        for number, drawn in enumerate(draws):
            if drawn is not None:
                recents[number].append(drawn.token_id)
                if memory is not None:
                    memory.read([drawn.token_id], number)
        logits = batched.step(tokens, state, state)
        for number, (writer, drawn) in enumerate(zip(writers, draws, strict=True)):
            if drawn is not None:
                step = writer.accept(drawn, state[:, :, number].copy())
                if writer.may_complete:
                    held[number] = step
                else:
                    yield number, step


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
