"""A tokenizer with what its corpus adds: one form of letters, and labels of documents.

Every prompt and every scored text goes through the tokenizer of the model, so each is brought to
the letters of the model here. Labels are tokens after all others. They stand for no text: a
document that has a label begins with its token. Shape letter: N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from chargen.errors import ModelFileError, UsageError, unknown_name
from chargen.text.letters import FORMS, normalized
from chargen.text.tokenizer import Builder, Ids, Tokenizer, TokenizerState, Tokens, utf8

MAX_LABELS = 10_000
"""More labels are no kinds of documents but names of single ones."""
NORMALIZE, LABELS = "normalize", "labels"
"""The settings that this file adds to those of the inner tokenizer."""


class CorpusTokenizer:
    """Wraps a tokenizer.

    Args:
        inner: the tokenizer of the characters, bytes or pieces.
        normalize: a row of `FORMS`, the form of the letters.
        labels: distinct names; the tokens after those of `inner`.
        label: the label with which `beginning` lets a text begin.
    """

    def __init__(
        self,
        inner: Tokenizer,
        normalize: str = "none",
        labels: Sequence[str] = (),
        label: str | None = None,
    ) -> None:
        self.inner = inner
        self.normalize = normalize
        self.labels = tuple(labels)
        self.label = label
        self.kind = inner.kind
        self.reads_bytes = inner.reads_bytes
        self.eos_id = inner.eos_id
        self.vocab_size = inner.vocab_size + len(self.labels)
        self._label_ids = {
            name: inner.vocab_size + number for number, name in enumerate(self.labels)
        }

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,) of `text` in the form of its letters; see the inner tokenizer."""
        return self.inner.encode(self._formed(text), unknown)

    def _formed(self, text: str | bytes) -> str | bytes:
        if self.normalize == "none" or text.isascii():
            return text
        if isinstance(text, bytes):
            if self.reads_bytes:
                return utf8(normalized(text.decode("utf-8", "surrogateescape"), self.normalize))
            text = text.decode("utf-8", "replace")
        return normalized(text, self.normalize)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; labels give no text."""
        limit = self.inner.vocab_size
        return self.inner.decode(token for token in ids if token < limit)

    def token_bytes(self, token_id: int) -> bytes:
        """What the inner tokenizer says; empty for labels."""
        return self.inner.token_bytes(token_id) if token_id < self.inner.vocab_size else b""

    def unseen(self, text: str) -> dict[str, str]:
        """The characters of `text` that have no token, each with its replacement."""
        return self.inner.unseen(normalized(text, self.normalize))

    def label_id(self, name: str) -> int:
        """The token of a label.

        Raises:
            UsageError: there is no such label.
        """
        if name not in self._label_ids:
            if not self.labels:
                raise UsageError(f"label '{name}': this model learned no labels")
            raise UsageError(unknown_name("label", name, self.labels))
        return self._label_ids[name]

    def to_state(self) -> TokenizerState:
        """The settings of the inner tokenizer, `normalize` and `labels`."""
        state = self.inner.to_state()
        settings = dict(state.settings)
        if self.normalize != "none":
            settings[NORMALIZE] = self.normalize
        if self.labels:
            settings[LABELS] = list(self.labels)
        return TokenizerState(kind=state.kind, settings=settings, blob=state.blob)


def with_corpus_settings(inner: Tokenizer, state: TokenizerState) -> Tokenizer:
    """Wraps a tokenizer as its state says; returns it as it is where that says nothing.

    Raises:
        ModelFileError: the settings are damaged.
    """
    normalize = state.settings.get(NORMALIZE, "none")
    labels = state.settings.get(LABELS, [])
    if normalize not in FORMS:
        raise ModelFileError(f"its letters are in a form unknown here: {normalize!r}")
    if (
        not isinstance(labels, list)
        or not all(isinstance(label, str) and label for label in labels)
        or len(set(labels)) < len(labels)
    ):
        raise ModelFileError("its labels are damaged")
    return wrapped(inner, normalize, labels)


def wrapped(inner: Tokenizer, normalize: str, labels: Sequence[str]) -> Tokenizer:
    """The tokenizer, wrapped if there is anything to add."""
    return CorpusTokenizer(inner, normalize, labels) if normalize != "none" or labels else inner


def unwrapped(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer of the characters, bytes or pieces alone."""
    return tokenizer.inner if isinstance(tokenizer, CorpusTokenizer) else tokenizer


def labels_of(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The labels that a tokenizer knows, in the order of their tokens."""
    return tokenizer.labels if isinstance(tokenizer, CorpusTokenizer) else ()


def form_of(tokenizer: Tokenizer) -> str:
    """The form of the letters of a tokenizer, a row of `FORMS`."""
    return tokenizer.normalize if isinstance(tokenizer, CorpusTokenizer) else "none"


def label_id(tokenizer: Tokenizer, name: str) -> int:
    """The token of a label.

    Raises:
        UsageError: there is no such label.
    """
    if not isinstance(tokenizer, CorpusTokenizer):
        raise UsageError(f"label '{name}': this model learned no labels")
    return tokenizer.label_id(name)


def parse_mixture(text: str, tokenizer: Tokenizer) -> dict[str, float]:
    """The share of each label that a person names.

    Args:
        text: a label, or several with weights: `austen:0.7,poe:0.3`.
        tokenizer: knows the labels.

    Raises:
        UsageError: a label is unknown, or a weight is no number above 0.
    """
    if text in labels_of(tokenizer):  # it may hold a comma or a colon
        return {text: 1.0}
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, divider, number = part.strip().rpartition(":")
        if not divider:
            name, number = part.strip(), "1"
        label_id(tokenizer, name)
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise UsageError(f"label {part.strip()}: give a weight above 0, as in {name}:0.5")
        weights[name] = weights.get(name, 0.0) + weight
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def begun_by(tokenizer: Tokenizer, label: str) -> Tokenizer:
    """The same tokenizer, with which texts begin with this label."""
    assert isinstance(tokenizer, CorpusTokenizer)
    return CorpusTokenizer(tokenizer.inner, tokenizer.normalize, tokenizer.labels, label)


def unlabelled(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, with which texts begin without a label."""
    if not isinstance(tokenizer, CorpusTokenizer):
        return tokenizer
    return CorpusTokenizer(tokenizer.inner, tokenizer.normalize, tokenizer.labels)


def split_by_label(ids: Tokens, tokenizer: Tokenizer) -> dict[str, Tokens]:
    """The documents of each label, each with its label, joined; nothing without labels.

    Args:
        ids: a text (N,) in which documents begin with labels.
        tokenizer: knows the labels.
    """
    first = unwrapped(tokenizer).vocab_size
    starts = np.flatnonzero(ids >= first)
    parts: dict[str, list[Tokens]] = {}
    for start, end in pairwise([*starts, len(ids)]):
        name = labels_of(tokenizer)[int(ids[start]) - first]
        parts.setdefault(name, []).append(ids[start:end])
    return {name: np.concatenate(parts[name]) for name in sorted(parts)}


def first_label(tokenizer: Tokenizer) -> Ids:
    """The token of the label with which a text begins, as ids (0 or 1,)."""
    if not isinstance(tokenizer, CorpusTokenizer) or tokenizer.label is None:
        return np.empty(0, np.int32)
    return np.array([tokenizer.label_id(tokenizer.label)], np.int32)


class LabelledBuilder:
    """Makes a tokenizer with the labels that were met and a form of letters.

    Args:
        inner: the builder of the characters, bytes or pieces.
        normalize: a row of `FORMS`.
    """

    def __init__(self, inner: Builder, normalize: str) -> None:
        self._inner, self._normalize = inner, normalize
        self._labels: dict[str, None] = {}

    def feed(self, chunk: str | bytes) -> None:
        """Reads the next chunk."""
        self._inner.feed(chunk)

    def feed_label(self, name: str) -> None:
        """Notes a label.

        Raises:
            UsageError: there are too many.
        """
        self._labels[name] = None
        if len(self._labels) > MAX_LABELS:
            raise UsageError(
                f"label-from: more than {MAX_LABELS:,} different labels; take one that many "
                "documents share"
            )

    def finish(self, *, documents: bool) -> Tokenizer:
        """Makes the tokenizer; with `documents` it has an end-of-document token."""
        inner = self._inner.finish(documents=documents)
        return wrapped(inner, self._normalize, sorted(self._labels))
