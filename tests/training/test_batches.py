"""Each batch row reads the text in order, window after window, without end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
