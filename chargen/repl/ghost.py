"""The likeliest rest of the word that a person is typing, shown faintly behind the cursor.

The model reads each character when it is typed, from the state after the text, so a key costs a
step and a word some steps more. Nothing is computed for a line that grew by much at once.
"""

from __future__ import annotations

import numpy as np
from prompt_toolkit.auto_suggest import AutoSuggest, Suggestion
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document

from chargen.inference.engine import Array, Stepper, TokenIds, log_softmax
from chargen.repl.commands import Context
from chargen.terminal.safetext import safe_line

_MAX_NEW_TOKENS = 40
"""A line that grew by more tokens at once was pasted: nothing is suggested for it."""
_MAX_WORD_TOKENS = 16
_MIN_LIKELIHOOD = 0.1
"""A rest that is less likely is not shown."""


class Ghost(AutoSuggest):
    """Suggests the rest of a word.

    Args:
        context: the session, whose text stands before the line.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._key: tuple[Stepper, int] | None = None
        """The weights and the end of the text that `_states` go on from."""
        self._ids: list[int] = []
        self._states: list[Array] = []
        """After the text, and after each token of the line."""
        self._stepper: Stepper | None = None

    def get_suggestion(self, buffer: Buffer, document: Document) -> Suggestion | None:
        """The rest of the word before the cursor; None where nothing is likely enough."""
        session, line = self._context.session, document.text
        if not session.settings.ghost or line.startswith("/") or "\n" in line:
            return None
        if not line or not line[-1].isalpha():
            return None
        tokenizer = session.model.tokenizer
        if tokenizer.unseen(line):
            return None
        return self._suggested(tokenizer.encode(line))

    def _suggested(self, ids: TokenIds) -> Suggestion | None:
        session = self._context.session
        tip, key = session.tree.tip, (session.model.stepper, session.tree.tip)
        if key != self._key or self._stepper is None:
            self._key, self._stepper = key, session.model.stepper.fresh()
            self._ids, self._states = [], [session.tree.state(tip)]
        same = 0
        while same < min(len(ids), len(self._ids)) and ids[same] == self._ids[same]:
            same += 1
        self._ids, self._states = self._ids[:same], self._states[: same + 1]
        if len(ids) - same > _MAX_NEW_TOKENS:
            return None
        logits: Array | None = None
        for token in map(int, ids[same:]):
            logits = self._step(token)
        if logits is None:  # a character was taken back: its state is there, its logits are not
            self._ids, self._states = self._ids[:-1], self._states[:-1]
            logits = self._step(int(ids[-1]))
        rest = self._rest(logits)
        return Suggestion(rest) if rest else None

    def _step(self, token: int) -> Array:
        assert self._stepper is not None
        after = np.empty_like(self._states[-1])
        logits = self._stepper.step(token, self._states[-1], after)
        self._ids.append(token)
        self._states.append(after)
        return logits

    def _rest(self, logits: Array) -> str:
        """The likeliest letters up to the end of the word."""
        assert self._stepper is not None
        tokenizer = self._context.session.model.tokenizer
        state, likelihood, rest = self._states[-1].copy(), 1.0, ""
        for _ in range(_MAX_WORD_TOKENS):
            logprobs = log_softmax(logits)
            token = int(logprobs.argmax())
            text = tokenizer.token_bytes(token).decode("utf-8", "replace")
            likelihood *= float(np.exp(logprobs[token]))
            if likelihood < _MIN_LIKELIHOOD:
                return ""
            if not text.isalpha():
                break
            rest += text
            logits = self._stepper.step(token, state, state)
        return rest if safe_line(rest) == rest else ""
