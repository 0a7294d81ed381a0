"""Writing that looks ahead: of several continuations, a likely one is kept.

From where the text is, N continuations of some tokens are written side by side; one of them is
drawn by its likelihood, and the N go on from there. So a text is led away from places where the
model would have to write what it finds unlikely. It is sampling with particles that are resampled
block by block (Doucet, de Freitas and Gordon, 2001); benchmarks/samplers.py compares it.

Shape letters: N continuations, V vocabulary, L layers, S states, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from chargen.errors import UsageError
from chargen.inference.batched_read import ProgressCallback, read_to_end
from chargen.inference.engine import Array, Stepper, TokenIds, log_softmax
from chargen.inference.filters import SampleConfig, active_filters, draw
from chargen.inference.generate import beginning
from chargen.inference.remembering import MemoryReader
from chargen.inference.writer import Draw, Step, Writer, forbid_unknown, recent_tokens
from chargen.steering.automaton import any_text
from chargen.steering.config import Steering
from chargen.steering.guides import FORBIDDEN
from chargen.text.tokenizer import Tokenizer

HORIZON = 12
"""Tokens of a continuation."""
_REREAD_TOKENS = 32
"""Tokens that the counts read again behind the continuation that was kept."""
_OWN = ("raw_bytes", "min_length")
"""What may be asked beside: the rest would have to guide each continuation."""


def check_alone(config: SampleConfig) -> None:
    """Refuses what cannot be asked for together with looking ahead.

    Raises:
        UsageError: naming it.
    """
    nothing = Steering()
    names = [field.name for field in fields(Steering) if field.name not in _OWN]
    asked = [name for name in names if getattr(config, name) != getattr(nothing, name)]
    if asked:
        name = asked[0].replace("_", "-")
        raise UsageError(f"lookahead cannot be combined with {name}; leave one of them out")


def write_looking_ahead(
    stepper: Stepper,
    tokenizer: Tokenizer,
    prompt: TokenIds,
    config: SampleConfig,
    number: int,
    memory: MemoryReader | None,
    progress: ProgressCallback,
) -> Iterator[Step]:
    """Writes one text; see `generate`.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        prompt: ids to read first (P,).
        config: how to draw; `lookahead` is N.
        number: the text draws from (seed, number).
        memory: counts of N rows that are mixed in.
        progress: called with the share of the prompt that is read.
    """
    count = config.lookahead
    random = np.random.default_rng([config.seed, number])
    writer, batched = Writer(tokenizer, config, number), stepper.batched(count)
    ids = beginning(prompt, tokenizer)
    before = read_to_end(stepper.fresh(), ids[:-1], stepper.zero_state(), progress=progress)
    state = np.repeat(before[:, :, None], count, axis=2)
    logits = batched.step(np.full(count, ids[-1]), state, state).copy()
    block = _Blocks(batched, tokenizer, config, memory, random)
    written = recent_tokens(ids)
    block.remember(list(written))
    while not writer.done:
        remaining = config.length - writer.written
        draws, states, ends, scores = block.write(logits, state, written, remaining)
        gumbel = -np.log(-np.log(random.random(count)))
        kept = int((scores + gumbel).argmax())
        for drawn, after in zip(draws[kept], states, strict=False):
            written.append(drawn.token_id)
            yield writer.accept(drawn, after[:, :, kept].copy())
            if writer.done:
                return
        state = np.repeat(states[-1][:, :, kept : kept + 1], count, axis=2)
        logits = np.repeat(ends[kept : kept + 1], count, axis=0)
        block.keep(kept, list(written))


class _Blocks:
    """Writes the continuations."""

    def __init__(
        self,
        batched: Stepper,
        tokenizer: Tokenizer,
        config: SampleConfig,
        memory: MemoryReader | None,
        random: np.random.Generator,
    ) -> None:
        self._batched, self._tokenizer, self._config = batched, tokenizer, config
        self._memory, self._random = memory, random
        self._filters = active_filters(config)
        broken = tokenizer.kind in ("byte", "subword") and not config.raw_bytes
        self._automaton = any_text(tokenizer) if broken else None
        if self._automaton is not None:
            self._reached = [self._automaton.start] * config.lookahead

    def remember(self, tokens: list[int]) -> None:
        """Lets the counts of all continuations read the end of the text."""
        if self._memory is not None:
            for row in range(self._config.lookahead):
                self._memory.restart(row)
                self._memory.read(tokens[-_REREAD_TOKENS:], row)

    def keep(self, kept: int, tokens: list[int]) -> None:
        """All continuations go on from one of them."""
        self.remember(tokens)
        if self._automaton is not None:
            self._reached = [self._reached[kept]] * self._config.lookahead

    def write(
        self, logits: Array, state: Array, written: Sequence[int], remaining: int
    ) -> tuple[list[list[Draw]], list[Array], Array, Array]:
        """Writes one block.

        Returns:
            The draws of each continuation; the states (L, S, N, H) after each token; the logits
            (N, V) at the end; the log-likelihood of each continuation, as if all were as long.
        """
        count, state = self._config.lookahead, state.copy()
        recents = [recent_tokens(np.array(written, np.int64)) for _ in range(count)]
        draws: list[list[Draw]] = [[] for _ in range(count)]
        ended = [False] * count
        states: list[Array] = []
        for position in range(min(HORIZON, remaining)):
            rows = logits if self._memory is None else self._memory.mix(logits)
            rows = np.array(rows)
            forbid_unknown(rows, self._tokenizer)
            logprobs = log_softmax(rows)
            tokens = np.zeros(count, np.int64)
            for row in range(count):
                drawn = self._draw(row, logprobs[row], recents[row], remaining - position)
                tokens[row] = drawn.token_id
                recents[row].append(drawn.token_id)
                if self._memory is not None:
                    self._memory.read([drawn.token_id], row)
                if not ended[row]:
                    draws[row].append(drawn)
                is_end = self._config.stop_at_end and drawn.token_id == self._tokenizer.eos_id
                ended[row] = ended[row] or is_end
            logits = self._batched.step(tokens, state, state).copy()
            states.append(state.copy())
        means = [np.mean([drawn.logprob for drawn in drawns]) for drawns in draws]
        return draws, states, logits, np.array(means) * len(states)

    def _draw(self, row: int, logprobs: Array, recent: Sequence[int], remaining: int) -> Draw:
        relative = logprobs - logprobs.max()
        if self._automaton is not None:
            allowed = self._automaton.allowed(self._reached[row], remaining)
            open_end = self._automaton.is_complete(self._reached[row])
            eos = self._tokenizer.eos_id
            relative = np.where(allowed, relative, FORBIDDEN)
            if eos is not None and open_end:
                relative[eos] = logprobs[eos] - logprobs.max()
            relative = relative - relative.max()
        for apply in self._filters:
            relative = apply(relative, recent, self._config)
        token = draw(relative, float(self._random.random()))
        if self._automaton is not None and token != self._tokenizer.eos_id:
            self._reached[row] = self._automaton.after(self._reached[row], token)
        chosen = logprobs[token]
        entropy = -float(np.exp(logprobs).dot(np.maximum(logprobs, -1e30)))
        return Draw(token, float(chosen), entropy, int(np.count_nonzero(logprobs > chosen)))
