"""Writes texts: reads a prompt, draws token after token, and stops.

It writes one text, or a batch of texts side by side, as a stream of steps. How a token is drawn and
where a text ends is in writer.py.

Shape letters: V vocabulary, N batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from chargen.inference.batched_read import ProgressCallback, ignore_progress, read_to_end
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.filters import SampleConfig
from chargen.inference.remembering import MemoryReader
from chargen.inference.writer import Draw, Step, Writer, forbid_unknown, recent_tokens
from chargen.steering.factory import GuideFactory
from chargen.text.corpus_tokenizer import first_label
from chargen.text.overlap import CopyIndex
from chargen.text.tokenizer import Tokenizer

TEXTS_PER_BATCH = 64
"""Texts that are written side by side; more rows would make a step of the batch hardly cheaper."""
PROMPT_TAIL = 200
"""Tokens of the prompt that guides look at: the line and the word in which it ends."""


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
