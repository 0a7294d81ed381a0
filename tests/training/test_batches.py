"""Each batch row reads the text in order, window after window, without end."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from chargen.text.spread import ShuffledText
from chargen.training.batches import BatchStream


@given(st.integers(2, 60), st.integers(1, 7), st.integers(1, 90), st.integers(1, 9))
def test_every_row_reads_the_text_as_a_ring_in_order(count, rows, bptt, steps):
    tokens = np.arange(count, dtype=np.uint16)
    stream = BatchStream(tokens, rows, bptt)
    windows = [stream.window(step) for step in range(steps)]
    read = np.concatenate([inputs.numpy() for inputs, _ in windows])
    targets = np.concatenate([following.numpy() for _, following in windows])
    assert read.shape == (steps * bptt, rows)
    for row in range(rows):
        start = row * count // rows
        expected = (start + np.arange(steps * bptt + 1)) % count
        assert np.array_equal(read[:, row], expected[:-1])
        assert np.array_equal(targets[:, row], expected[1:])


def test_a_window_depends_only_on_the_number_of_the_step():
    tokens = np.random.default_rng(0).integers(50, size=1000).astype(np.uint8)
    stream, twin = BatchStream(tokens, 4, 8), BatchStream(tokens, 4, 8)
    for step in (9, 0, 777):
        assert (stream.window(step)[0] == twin.window(step)[0]).all()


@given(
    vocabulary=st.sampled_from([200, 60_000]),
    rows=st.integers(1, 4),
    bptt=st.integers(1, 6),
    first=st.integers(0, 40),
    count=st.integers(1, 9),
    documents=st.booleans(),
)
def test_blocks_of_several_steps_are_the_blocks_of_each(
    vocabulary, rows, bptt, first, count, documents
):
    tokens = np.arange(97) % vocabulary
    tokens = tokens.astype(np.uint8 if vocabulary <= 256 else np.uint16)
    shuffled = ShuffledText(tokens, 5, 3) if documents else None
    stream = BatchStream(tokens, rows, bptt, shuffled=shuffled)
    blocks = stream.blocks(first, count)
    assert blocks.dtype == (torch.uint8 if vocabulary <= 256 else torch.int64)
    for number in range(count):
        inputs, targets = stream.window(first + number)
        assert torch.equal(blocks[number, :-1].long(), inputs)
        assert torch.equal(blocks[number, 1:].long(), targets)
