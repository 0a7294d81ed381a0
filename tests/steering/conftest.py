"""Models that are asked for something: of characters, bytes, words, subwords and Chinese."""

from __future__ import annotations

import numpy as np
import pytest

from chargen.inference.engine import Stepper
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer
from chargen.text.pieces import PieceTokenizer
from chargen.text.tokenizer import ByteTokenizer

LETTERS = "\n !',.:;?" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
CHINESE = "\n，。" + "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"


def stepper_for(tokenizer, seed=0, hidden_size=16) -> Stepper:
    """A model with random weights, whose predictions differ much."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        cell="gru",
        hidden_size=hidden_size,
        num_layers=1,
        embedding_size=8,
    )
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    weights["head.weight"] *= 4
    return Stepper(config, weights)


def tokenizers():
    words = PieceTokenizer("words", r" ?[a-z]+", LETTERS, (" gold", " sea", "the", " of", "ing"))
    return {
        "characters": CharTokenizer(LETTERS),
        "bytes": ByteTokenizer(),
        "documents": CharTokenizer(LETTERS, documents=True),
        "words": words,
        "Chinese": CharTokenizer("".join(sorted(set(CHINESE)))),
    }


@pytest.fixture(params=list(tokenizers()))
def tokenizer(request):
    return tokenizers()[request.param]
