"""Copied passages, compared with a search of all positions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text.char import CharTokenizer
from chargen.text.overlap import MIN_COPY_SYMBOLS, CopyWatch, build_index, lines_before
from chargen.text.registry import tokenizer_builder
from chargen.text.subword import SubwordBuilder
from chargen.text.tokenizer import ByteTokenizer


def longest_copies(training: list[int], text: list[int]) -> list[int]:
    """For each position, the longest end of the text so far that is in the training text."""
    copies = []
    joined = ",".join(map(str, training)) + ","
    for stop in range(1, len(text) + 1):
        length = 0
        while length < stop:
            part = ",".join(map(str, text[stop - length - 1 : stop])) + ","
            if not (joined.startswith(part) or f",{part}" in joined):
                break
            length += 1
        copies.append(length if length >= MIN_COPY_SYMBOLS else 0)
    return copies


@given(
    st.lists(st.integers(0, 2), min_size=60, max_size=250),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 80)), max_size=4),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
)
def test_every_copy_is_found_and_there_are_no_false_hits(training, pieces, sizes):
    text = []
    for start, length in pieces:
        text += [3, *training[start : start + length]]
    index = build_index(np.array(training, np.uint8), CharTokenizer("\nabcd"))
    watch, copies, position, call = CopyWatch(index), [], 0, 0
    while position < len(text):
        size = sizes[call % len(sizes)]
        copies += watch.feed(text[position : position + size])
        position, call = position + size, call + 1
    truth = longest_copies(training, text)
    assert copies == truth
    assert watch.longest == max(truth, default=0)
    if watch.longest:
        copied = training[watch.position - watch.longest : watch.position]
        last = truth.index(watch.longest)
        assert copied == text[last + 1 - watch.longest : last + 1]


def test_an_index_is_small_and_cached(tmp_path):
    random = np.random.default_rng(0)
    tokens = random.integers(0, 60, 100_000).astype(np.uint8)
    tokenizer = CharTokenizer("".join(map(chr, range(40, 100))))
    index = build_index(tokens, tokenizer, tmp_path)
    assert next(tmp_path.glob("blocks-*.npy")).stat().st_size <= 1.01 * len(tokens)
    again = build_index(tokens, tokenizer, tmp_path)
    np.testing.assert_array_equal(again.hashes, index.hashes)
    watch = CopyWatch(again)
    assert max(watch.feed(tokens[5000:5100].tolist())) == 100
    assert watch.position == 5100


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"nonsense" * 40])
def test_a_damaged_index_is_made_again(tmp_path, damage):
    tokens = np.arange(4096).astype(np.uint8)
    tokenizer = ByteTokenizer()
    build_index(tokens, tokenizer, tmp_path)
    next(tmp_path.glob("blocks-*.npy")).write_bytes(damage)
    watch = CopyWatch(build_index(tokens, tokenizer, tmp_path))
    assert max(watch.feed(list(range(40)))) == 40


def test_an_index_of_another_text_is_made_again(tmp_path):
    tokenizer = ByteTokenizer()
    build_index(np.zeros(4096, np.uint8), tokenizer, tmp_path)
    tokens = np.random.default_rng(1).integers(0, 255, 2048).astype(np.uint8)
    watch = CopyWatch(build_index(tokens, tokenizer, tmp_path))
    assert max(watch.feed(tokens[:64].tolist())) == 64


def test_a_text_shorter_than_a_block_has_no_copies():
    watch = CopyWatch(build_index(np.arange(10, dtype=np.uint8), ByteTokenizer()))
    assert watch.feed(list(range(10)) * 9) == [0] * 90


def test_subwords_are_compared_by_their_characters(prose):
    builder = SubwordBuilder(400)
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    training = tokenizer.encode(prose[:20_000])
    watch = CopyWatch(build_index(training.astype(np.uint16), tokenizer))
    # The same characters in other pieces: byte by byte where no piece begins so.
    text = prose[3003:3103]
    lengths = watch.feed(tokenizer.encode(text).tolist())
    assert watch.longest >= len(text) - 2
    assert lengths[-1] >= len(lengths) - 2
    assert (
        watch.index.spell(watch.index.symbols[watch.position - 20 : watch.position]) == text[-20:]
    )


def test_a_watch_that_restarts_forgets_what_it_followed():
    training = np.random.default_rng(2).integers(0, 255, 500).astype(np.uint8)
    watch = CopyWatch(build_index(training, ByteTokenizer()))
    watch.feed(training[:40].tolist())
    assert watch.restart(training[100:120].tolist()) == [0] * 20
    assert watch.feed(training[120:140].tolist())[-1] == 40
    assert watch.longest == 40


def test_the_lines_before_a_position_are_counted():
    symbols = np.frombuffer(b"a\nb\nc\n", np.uint8)
    assert [lines_before(symbols, position, 10) for position in (0, 1, 2, 4, 6)] == [0, 0, 1, 2, 3]


def test_another_split_of_a_text_of_subwords_has_an_index_of_its_own(tmp_path, prose):
    """The index knows the training part only, whichever part was indexed before."""
    builder = tokenizer_builder("subword", vocab_size=400)
    builder.feed(prose[:20_000])
    tokenizer = builder.finish(documents=False)
    ids = tokenizer.encode(prose[:20_000]).astype(np.uint16)
    whole = build_index(ids, tokenizer, tmp_path)
    part = build_index(ids[: len(ids) // 2], tokenizer, tmp_path)
    assert len(part.symbols) < len(whole.symbols)
    fresh = build_index(ids[: len(ids) // 2], tokenizer)
    assert np.array_equal(part.symbols, fresh.symbols)
    assert np.array_equal(part.hashes, fresh.hashes)
