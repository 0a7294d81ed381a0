"""SentencePiece's own signs, and texts that begin alike, cost a subword model nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text.subword import SubwordBuilder

SIGNS = "▁▅"


def tokenizer_of(text, algorithm="unigram", size=400):
    builder = SubwordBuilder(size, algorithm)
    for start in range(0, len(text), 1 << 16):
        builder.feed(text[start : start + (1 << 16)])
    return builder.finish(documents=False)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("sign", SIGNS)
def test_lines_with_a_reserved_sign_are_learned_from(prose, algorithm, sign):
    """With the sign in every second line, the other words of these lines are still pieces."""
    lines = prose[:30_000].splitlines()
    plain = tokenizer_of("\n".join(lines), algorithm)
    signed = "\n".join(line + f" {sign}" if n % 2 else line for n, line in enumerate(lines))
    learned = tokenizer_of(signed, algorithm)
    assert len(learned.encode("\n".join(lines))) <= 1.03 * len(plain.encode("\n".join(lines)))
    assert learned.decode(learned.encode(signed)) == signed


def test_a_text_of_which_every_line_has_the_sign_has_pieces(prose):
    text = "\n".join(f"▅ {line}" for line in prose[:20_000].splitlines())
    assert len(tokenizer_of(text).encode(text)) < 0.7 * len(text)


@given(st.text(alphabet=f"ab {SIGNS}\n\t\0é😀"))
def test_any_mixture_comes_back(text):
    tokenizer = _learned()
    assert tokenizer.decode(tokenizer.encode(text)) == text


_CACHE: list = []


def _learned():
    if not _CACHE:
        _CACHE.append(tokenizer_of("ab ba abba baab\n" * 300 + "ab▅ba ab▁ba\n" * 100, size=320))
    return _CACHE[0]


def test_a_text_that_begins_with_a_thousand_equal_lines_is_not_one_character():
    text = "a\n" * 1_500 + "the sea and the wind\n" * 200
    assert tokenizer_of(text, size=330).decode([]) == ""
