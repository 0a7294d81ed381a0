"""Lanes are contiguous in time, for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chargen.training.batches import BatchStream


@given(st.integers(2, 60), st.integers(1, 7), st.integers(1, 90), st.integers(1, 9))
def test_every_lane_reads_the_ring_in_order(count, lanes, bptt, steps):
    tokens = np.arange(count, dtype=np.uint16)
    stream = BatchStream(tokens, lanes, bptt)
    windows = [stream.window(step) for step in range(steps)]
    read = np.concatenate([inputs.numpy() for inputs, _ in windows])
    targets = np.concatenate([following.numpy() for _, following in windows])
    assert read.shape == (steps * bptt, lanes)
    for lane in range(lanes):
        start = lane * count // lanes
        expected = (start + np.arange(steps * bptt + 1)) % count
        assert np.array_equal(read[:, lane], expected[:-1])
        assert np.array_equal(targets[:, lane], expected[1:])


def test_a_window_is_a_function_of_the_step():
    tokens = np.random.default_rng(0).integers(50, size=1000).astype(np.uint8)
    one, other = BatchStream(tokens, 4, 8), BatchStream(tokens, 4, 8)
    for step in (9, 0, 777):
        assert (one.window(step)[0] == other.window(step)[0]).all()
