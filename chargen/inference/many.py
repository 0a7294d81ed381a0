"""Writes texts after many prompts, side by side, in constant memory.

Each batch row writes after a prompt of its own. A row whose text is complete begins the next one,
so prompts are asked for one by one, while others are being written after.

Shape letters: N rows, P tokens of a prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO

import numpy as np

from chargen.errors import ChargenError
from chargen.inference import generate
from chargen.inference.batched_read import read_to_end
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import beginning, factory_for
from chargen.inference.remembering import MemoryReader
from chargen.inference.writer import Step, Writer, forbid_unknown, recent_tokens
from chargen.text.overlap import CopyIndex
from chargen.text.tokenizer import Tokenizer

MAX_TEXTS_IN_HAND = 256
"""Texts that were begun and not yet given out. Behind a long text, so many wait for their turn."""


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """A text that was written after a prompt."""

    prompt: str
    prompt_number: int
    """Which of the prompts, from 0."""
    number: int
    """Which of the texts after this prompt, from 0."""
    text: str
    """What was written, without the prompt."""
    data: bytes
    """The same as bytes; they may be no UTF-8 where the model writes bytes."""
    tokens: int
    logprob: float
    """Natural logarithm of the probability of all tokens, before any filter."""
    finish: str | None
    """`length`, `stop`, `end` or `form`; None where the writing was interrupted."""

    @property
    def nats_per_token(self) -> float:
        """What a token costs on average."""
        return -self.logprob / self.tokens


class Draft:
    """What is written of one text so far. It keeps no step: each has a copy of the state."""

    def __init__(self) -> None:
        self.text, self.data = StringIO(), BytesIO()
        self.tokens, self.logprob = 0, 0.0
        self.finish: str | None = None

    def add(self, step: Step) -> None:
        """Takes the next step of the text."""
        self.text.write(step.text)
        self.data.write(step.data)
        self.tokens += 1
        self.logprob += step.logprob
        self.finish = step.finish

    def written(self, prompt: str, prompt_number: int, number: int) -> WrittenText:
        """The text so far; see `WrittenText`."""
        return WrittenText(
            prompt=prompt,
            prompt_number=prompt_number,
            number=number,
            text=self.text.getvalue(),
            data=self.data.getvalue(),
            tokens=self.tokens,
            logprob=self.logprob,
            finish=self.finish,
        )


def write_many(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompts: Iterable[tuple[str, TokenIds]],
    config: SampleConfig,
    count: int = 1,
    *,
    memories: Callable[[int], MemoryReader] | None = None,
    copies: CopyIndex | None = None,
) -> Iterator[WrittenText]:
    """Writes `count` texts after each prompt; yields them in order, each as soon as it is ready.

    Text k of prompt p draws from (seed, k, p) alone, and where p is 0 from (seed, k), as `generate`
    and `generate_batch` do. So no other prompt and no other number of texts changes its draws.

    If the prompts end with an error, the texts after those before it are completed first. If the
    writing is interrupted or the model's numbers overflow, what was begun is yielded as it is. Then
    the error is raised.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        prompts: each prompt with its ids (P,), which may be empty; read as texts are begun.
        config: how to draw.
        count: how many texts after each prompt.
        memories: makes the counts that are mixed in, for so many texts.
        copies: the index of the training text, for `max_copy`.
    """
    source = _Source(stepper.fresh(), tokenizer, prompts, config, count, copies)
    rows: list[_Text | None] = list(source.take(generate.TEXTS_PER_BATCH))
    in_hand = deque(text for text in rows if text is not None)
    batched = stepper.batched(len(rows)) if rows else stepper
    state, tokens = batched.zero_state(), np.zeros(len(rows), np.int64)
    memory = memories(len(rows)) if memories is not None and rows else None

    def begin(row: int, text: _Text) -> None:
        rows[row] = text
        state[:, :, row], tokens[row] = text.before, text.read[-1]
        if memory is not None:
            memory.restart(row)
            memory.read(text.read, row)

    for row, text in enumerate(in_hand):
        begin(row, text)
    try:
        while in_hand:
            logits = batched.step(tokens, state, state)
            if memory is not None:
                logits = memory.mix(logits)
            forbid_unknown(logits, tokenizer)
            for row, begun in enumerate(rows):
                if begun is None:
                    continue
                token = begun.write(logits[row], state[:, :, row])
                if token is not None:
                    tokens[row] = token
                    if memory is not None:
                        memory.read(tokens[row : row + 1], row)
                if begun.draft.finish is not None:
                    rows[row] = None
            while in_hand and in_hand[0].draft.finish is not None:
                yield in_hand.popleft().written()
            free = [row for row, begun in enumerate(rows) if begun is None]
            new = source.take(min(len(free), MAX_TEXTS_IN_HAND - len(in_hand)))
            for row, text in zip(free, new, strict=False):
                begin(row, text)
                in_hand.append(text)
    except (KeyboardInterrupt, ChargenError):
        yield from (text.written() for text in in_hand if text.draft.tokens)
        raise
    if source.error is not None:
        raise source.error


class _Text:
    """A text that is being written, and where it began."""

    def __init__(
        self,
        place: tuple[str, int, int],
        read: TokenIds,
        before: Array,
        writer: Writer,
        recent: deque[int],
    ) -> None:
        self._place = place
        """The prompt, its number, and the number of the text."""
        self.read = read
        """What was read before the first draw: at least one token."""
        self.before = before
        """The state (L, S, H) before the last token of `read`."""
        self.draft = Draft()
        self._writer, self._recent = writer, recent
        self._held: Step | None = None
        """The last step, where the text may turn out to be complete with it."""

    def write(self, logits: Array, state: Array) -> int | None:
        """Draws the next token by its logits (V,); None where the text is complete without one."""
        drawn = self._writer.write(logits, self._recent, state)
        if self._held is not None:
            self.draft.add(self._held if drawn is not None else self._writer.complete(self._held))
            self._held = None
        if drawn is None:
            return None
        self._recent.append(drawn.token_id)
        # A draft keeps no step, so the step may hold an older state.
        step = self._writer.accept(drawn, self.before)
        if self._writer.may_complete:
            self._held = step
        else:
            self.draft.add(step)
        return drawn.token_id

    def written(self) -> WrittenText:
        return self.draft.written(*self._place)


class _Source:
    """Begins one text after the other, until the prompts end, or end with an error."""

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        prompts: Iterable[tuple[str, TokenIds]],
        config: SampleConfig,
        count: int,
        copies: CopyIndex | None,
    ) -> None:
        self.error: Exception | None = None
        self._texts = self._begun(stepper, tokenizer, prompts, config, count, copies)

    def take(self, most: int) -> Iterator[_Text]:
        """The next texts, at most so many."""
        for _ in range(most):
            try:
                text = next(self._texts, None)
            except Exception as error:
                self.error = error
                return
            if text is None:
                return
            yield text

    @staticmethod
    def _begun(
        stepper: Stepper,
        tokenizer: Tokenizer,
        prompts: Iterable[tuple[str, TokenIds]],
        config: SampleConfig,
        count: int,
        copies: CopyIndex | None,
    ) -> Iterator[_Text]:
        for prompt_number, (prompt, ids) in enumerate(prompts):
            read = beginning(ids, tokenizer)
            before = read_to_end(stepper, read[:-1], stepper.zero_state())
            factory = factory_for(stepper, tokenizer, ids, config, copies)
            for number in range(count):
                writer = Writer(tokenizer, config, number, factory, prompt_number)
                place = (prompt, prompt_number, number)
                yield _Text(place, read, before, writer, recent_tokens(ids))
