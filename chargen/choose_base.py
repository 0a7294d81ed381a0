"""Which model in the box to begin from: the one that predicts the beginning of a text best."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from chargen.api import Model, load
from chargen.errors import ModelFileError
from chargen.hints import option
from chargen.model.bases import STARTING_BASES, base_path
from chargen.text.text_options import TextOptions

_SAMPLE_CHARACTERS, _MIN_SAMPLE = 1_500, 100
"""Characters by which a base is chosen, and how many are too few."""
_MIN_KNOWN = 0.7
"""Share of a text's characters that a base should know."""
_FOREIGN_BITS = 3.6
"""Bits per byte from which on a text is in no language of a base: German costs english more."""
_WELL_KNOWN_BITS = 2.4
"""Bits per byte up to which training should not begin with nothing without being told."""
_QUICK_SAMPLE = 400
"""Characters that are scored where the answer is only advice."""
_MAX_ADVISED_BYTES = 4_000_000
"""A longer text teaches its language by itself."""


@dataclass(frozen=True)
class Base:
    """A model in the box, and how it predicts a text."""

    name: str
    model: Model
    bits: float
    """Bits per byte of a sample that it has not read."""
    known: float
    """Share of the sample's characters that it knows."""

    @property
    def has_little_to_give(self) -> bool:
        """Whether training from nothing may learn as much."""
        return self.known < _MIN_KNOWN or self.bits > _FOREIGN_BITS


def best_base(sample: str) -> Base:
    """The model in the box that predicts a sample best.

    Raises:
        ModelFileError: none is installed, or one is damaged.
    """
    names = [name for name in STARTING_BASES if base_path(name) is not None]
    if not names:
        raise ModelFileError(
            "no model is in the box of this installation; name a MODEL to begin from"
        )
    bases = []
    for name in names:
        model = load(base_path(name))
        ids = model.tokenizer.encode(sample)
        known = len(model.tokenizer.encode(sample, "skip")) / len(sample)
        bases.append(Base(name, model, model.score_tokens(ids).bits_per_byte, known))
    return min(bases, key=lambda base: base.bits)


def starting_model(options: TextOptions) -> tuple[Model, str]:
    """The model to fine-tune on a corpus, and a line about the choice.

    Raises:
        ModelFileError: none is installed, or one is damaged.
        CorpusError: the corpus cannot be read.
    """
    sample = _beginning(options, _SAMPLE_CHARACTERS)
    if len(sample) < _MIN_SAMPLE:
        return load(base_path("english") or "english"), "from english, a model in the box"
    base = best_base(sample)
    if base.known < _MIN_KNOWN:
        why = f"which knows {100 * base.known:.0f} % of these characters"
    elif base.has_little_to_give:
        why = f"to which this text is foreign ({base.bits:.2f} bits per byte)"
    else:
        return base.model, (
            f"from {base.name}, a model in the box: {base.bits:.2f} bits per byte of the text's "
            "beginning, before it has read it"
        )
    return base.model, (
        f"from {base.name}, {why}; chargen train begins with nothing and may learn as much"
    )


def advice(options: TextOptions) -> list[str]:
    """A line for whoever trains from nothing on a text that a model in the box knows; or none."""
    if options.tokenizer != "char" or not any(map(base_path, STARTING_BASES)):
        return []
    size = options.open(options.corpus).total_bytes() if "-" not in options.corpus else None
    if size is None or size > _MAX_ADVISED_BYTES:
        return []
    sample = _beginning(options, _QUICK_SAMPLE)
    if len(sample) < _MIN_SAMPLE:
        return []
    try:
        base = best_base(sample)
    except ModelFileError:  # training needs no base
        return []
    if base.known < _MIN_KNOWN or base.bits > _WELL_KNOWN_BITS:
        return []
    way = option("--from", base.name) or f"chargen.finetune({base.name!r}, ...)"
    return [
        f"{base.name}, a model in the box, predicts the beginning of this text with "
        f"{base.bits:.2f} bits per byte and has never read it; {way} begins there"
    ]


def _beginning(options: TextOptions, characters: int) -> str:
    """Characters of a corpus; not the very first, which often tell about the file.

    Nothing of standard input, which can be read only once.
    """
    if "-" in options.corpus:
        return ""
    text = ""
    with closing(options.open(options.corpus).pieces()) as pieces:
        for piece in pieces:
            text += piece if isinstance(piece, str) else ""
            if len(text) >= 2 * characters:
                break
    return text[: 2 * characters][-characters:]
