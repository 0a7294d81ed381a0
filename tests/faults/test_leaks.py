"""What validates is not learned: copies are told and left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.text.copies import BLOCK, _block_hashes, _window_hashes, find_copies, without_copies
from chargen.text.dataset import open_dataset
from chargen.text.text_options import TextOptions, options_from_json, options_to_json


def text(seed: int, length: int) -> str:
    """Letters without repetition: no two stretches of 64 are alike."""
    letters = np.random.default_rng(seed).integers(0, 26, length) + 97
    return bytes(letters.astype(np.uint8)).decode()


def decoded(dataset) -> tuple[str, str]:
    return dataset.tokenizer.decode(dataset.train), dataset.tokenizer.decode(dataset.valid)


def test_a_validation_text_that_stands_in_the_corpus_is_left_out_of_it():
    before, shared, after = text(1, 20_000), text(2, 3_000), text(3, 9_000)
    Path("book.txt").write_text(before + shared + after)
    Path("valid.txt").write_text(shared)
    dataset = open_dataset(TextOptions(corpus=("book.txt",), valid="valid.txt"))
    train, valid = decoded(dataset)
    assert valid == shared
    assert not any(shared[at : at + BLOCK] in train for at in range(0, 3_000, BLOCK // 2))
    assert train.startswith(before[: -2 * BLOCK])
    assert train.endswith(after[2 * BLOCK :])
    (note,) = [note for note in dataset.notes if "left out of training" in note]
    assert note.startswith("100% of the validation part stands also in the training part (3,")


def test_a_file_that_lies_twice_in_the_corpus_does_not_validate_itself():
    Path("c").mkdir()
    Path("c/a.txt").write_text(text(1, 10_000))
    Path("c/b.txt").write_text(text(2, 30_000))
    Path("c/copy of a.txt").write_text(text(1, 10_000))
    dataset = open_dataset(TextOptions(corpus=("c",)))
    train, valid = decoded(dataset)
    assert valid in text(1, 10_000)
    assert not any(valid[at : at + BLOCK] in train for at in range(len(valid) - BLOCK))
    assert any("left out of training" in note for note in dataset.notes)


@pytest.mark.parametrize("shared", [0, 200])
def test_texts_that_share_little_stay_as_they_are(shared):
    train, valid = text(1, 20_000), text(2, 4_000)
    Path("book.txt").write_text(train[:5_000] + valid[:shared] + train[5_000:])
    Path("valid.txt").write_text(valid)
    dataset = open_dataset(TextOptions(corpus=("book.txt",), valid="valid.txt"))
    assert len(dataset.train) == 20_000 + shared
    assert not any("validation part stands" in note for note in dataset.notes)


def test_a_text_that_repeats_itself_is_no_copy():
    tokens = np.frombuffer(b"the sea and the wind\n" * 900, np.uint8)
    kept, told = without_copies(tokens[:17_000], tokens[17_000:])
    assert (len(kept), told) == (17_000, None)


@pytest.mark.parametrize("copies", [1, 4, 12])
def test_however_often_a_text_stands_in_the_corpus_it_is_left_out(copies):
    shared = text(2, 2_000)
    parts = [text(1, 9_000), *(shared + text(10 + n, 1_000) for n in range(copies))]
    Path("book.txt").write_text("".join(parts))
    Path("valid.txt").write_text(shared)
    dataset = open_dataset(TextOptions(corpus=("book.txt",), valid="valid.txt"))
    train, _ = decoded(dataset)
    assert not any(shared[at : at + BLOCK] in train for at in range(0, 2_000, BLOCK // 2))
    assert len(train) >= 9_000 + copies * (1_000 - 4 * BLOCK)
    assert any("left out of training" in note for note in dataset.notes)


def test_a_pattern_in_the_validation_part_hides_no_copy_and_is_none():
    ruled = "-" * 2_000
    shared = text(2, 2_000)
    train = np.frombuffer((text(1, 9_000) + ruled + shared).encode(), np.uint8)
    valid = np.frombuffer((shared + ruled).encode(), np.uint8)
    found = find_copies(train, valid)
    assert found.is_copy[11_000:].all()
    assert found.count <= 2_000 + 2 * BLOCK


def test_a_text_that_is_too_long_to_be_searched_is_told(monkeypatch):
    monkeypatch.setattr("chargen.text.copies.MAX_SEARCHED_TOKENS", 999)
    tokens = np.frombuffer(text(1, 1_000).encode(), np.uint8)
    kept, told = without_copies(tokens, tokens[:200])
    assert kept is tokens
    assert told is not None
    assert told.startswith("the text is too long to look for copies")


def test_a_text_that_validates_on_itself_is_told_and_stays():
    Path("book.txt").write_text(text(1, 9_000))
    dataset = open_dataset(TextOptions(corpus=("book.txt",), valid="book.txt"))
    assert len(dataset.train) == 9_000
    assert any("that of a text that was learned" in note for note in dataset.notes)


@given(
    st.integers(0, 400), st.integers(2 * BLOCK - 1, 300), st.integers(0, 500), st.integers(0, 99)
)
def test_a_stretch_of_two_blocks_is_found_wherever_it_stands(at, length, where, seed):
    random = np.random.default_rng(seed)
    train, valid = random.integers(0, 250, 1_000), random.integers(0, 250, 700)
    train[where : where + length] = valid[at : at + length]
    found = find_copies(train, valid)
    assert found.is_copy[where : where + length].all()
    assert found.count <= length + 2 * BLOCK


@given(st.lists(st.integers(0, 3), min_size=BLOCK, max_size=3 * BLOCK))
def test_windows_have_equal_hashes_exactly_if_they_are_equal(tokens):
    hashes = _window_hashes(np.array(tokens, np.uint8))
    windows = [tuple(tokens[at : at + BLOCK]) for at in range(len(tokens) - BLOCK + 1)]
    assert len(hashes) == len(windows)
    assert _block_hashes(np.array(tokens, np.uint8)).tolist() == hashes[::BLOCK].tolist()
    for one, other in zip(range(0, len(windows), 7), range(len(windows)), strict=False):
        assert (hashes[one] == hashes[other]) == (windows[one] == windows[other])


def test_older_runs_keep_their_whole_text_and_new_runs_resume_exactly():
    options = options_to_json(TextOptions(corpus=("a.txt",)))
    assert options["leave_out_copies"] is True
    del options["leave_out_copies"]
    assert options_from_json(options).leave_out_copies is False
    shared = text(2, 1_000)
    Path("book.txt").write_text(text(1, 3_000) + shared)
    Path("valid.txt").write_text(shared)
    tiny = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "valid": "valid.txt", "steps": 6}
    whole = [step.loss for step in chargen.train("book.txt", run="whole", **tiny).steps()]
    seen: list[float] = []
    events = chargen.train("book.txt", run="a", should_stop=lambda: len(seen) >= 2, **tiny)
    for step in events.steps():
        seen.append(step.loss)
    assert seen + [step.loss for step in chargen.resume("a").steps()] == whole
