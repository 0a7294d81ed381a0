"""Writes one text: draws its tokens, finds stop texts, decodes.

Stop texts are matched on bytes, so a stop text that is split over tokens or ends inside a token is
found. Bytes that may belong to a stop text are delayed until that is certain.

Shape letters: V vocabulary, R recent tokens.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chargen.errors import ChargenError
from chargen.inference.engine import Array, TokenIds
from chargen.inference.filters import RECENT_TOKENS, SampleConfig, active_filters, draw
from chargen.steering.factory import GuideFactory
from chargen.steering.guides import Guides, Moment
from chargen.text.corpus_tokenizer import labels_of
from chargen.text.tokenizer import StreamDecoder, Tokenizer, utf8

IMPOSSIBLE = -1e30
"""A logit whose likelihood is zero. Unlike -inf, it can be multiplied by that zero."""
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
