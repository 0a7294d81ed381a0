"""Documents between empty lines or separators; which of them validate, and in which order."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chargen
from chargen.cli.main import run
from chargen.errors import UsageError
from chargen.model.runs import RUN
from chargen.own_corpus import validation_text
from chargen.text.corpus import open_corpus
from chargen.text.corpus_tokenizer import unwrapped
from chargen.text.dataset import open_dataset
from chargen.text.division import divided
from chargen.text.reading import Reading
from chargen.text.spread import ShuffledText, document_ends, hashed_order, spread_split
from chargen.text.text_options import TextOptions
from chargen.training.batches import BatchStream

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1}


def documents(text, separator=None, cuts=()):
    """The documents of a text that comes in pieces, cut at these positions."""
    bounds = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    pieces = [text[low:high] for low, high in pairwise(bounds)]
    found, open_one = [], None
    for part in divided(pieces, separator):
        if part is None:
            assert open_one, "no document is empty"
            found.append(open_one)
            open_one = None
        else:
            open_one = part if open_one is None else open_one + part
    assert open_one is None, "every document has an end"
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n\nc\n", ["a\nb", "c"]),
        ("\n\n a\n \t\nb", [" a", "b"]),
        ("a\n\n\n\nb\n\n", ["a", "b"]),
        ("a", ["a"]),
        ("\n \n", []),
        ("", []),
    ],
)
def test_empty_lines_divide(text, expected):
    assert documents(text) == expected
    assert documents(text.encode()) == [part.encode() for part in expected]
    assert documents(text.replace("\n", "\r\n").encode()) == [
        part.replace("\n", "\r\n").encode() for part in expected
    ]


@pytest.mark.parametrize(
    ("separator", "text", "expected"),
    [
        ("%", "one\n%\ntwo\n\nstill two\n%\n", ["one", "two\n\nstill two"]),
        ("%", "50 %\n%%\n %\n%\nx", ["50 %\n%%\n %", "x"]),
        ("***", "***\na\n***\n***\nb\n***", ["a", "b"]),
        ("<|endoftext|>", "a\n<|endoftext|>\nb\n", ["a", "b"]),
        ("—", "a\n—\nb\n", ["a", "b"]),
        (".*", "a\n.*\nb\nxx\n", ["a", "b\nxx"]),
    ],
)
def test_lines_that_are_exactly_the_separator_divide(separator, text, expected):
    assert documents(text, separator) == expected
    assert documents(text.encode(), separator) == [part.encode() for part in expected]


@given(st.text("a \n%"), st.lists(st.integers(0, 30)), st.sampled_from([None, "%", "a"]))
def test_pieces_of_any_length_give_the_same_documents(text, cuts, separator):
    found = documents(text, separator)
    assert documents(text, separator, cuts) == found
    # Independently: lines, grouped by those that divide.
    groups, lines = [], []
    for line in [*text.split("\n"), None]:
        divides = line is None or (not line.strip(" ") if separator is None else line == separator)
        if not divides:
            lines.append(line)
            continue
        group = "\n".join(lines).strip("\n")
        groups += [group] if group else []
        lines = []
    assert found == groups


def test_each_poem_ends_with_the_end_token(tmp_path):
    poems = "roses are red\nviolets are blue\n\nthe sea\nis wide\n\n\nshort\n"
    Path("poems.txt").write_text(poems * 40, encoding="utf-8")
    options = TextOptions(corpus=("poems.txt",), documents="paragraphs", valid_fraction=0)
    dataset = open_dataset(options)
    eos = dataset.tokenizer.eos_id
    ends = document_ends(dataset.train, eos)
    starts = [0, *ends[:-1]]
    texts = {
        dataset.tokenizer.decode(dataset.train[low:high])
        for low, high in zip(starts, ends, strict=True)
    }
    first, second = "roses are red\nviolets are blue", "the sea\nis wide"
    assert texts == {first, second, f"short\n{first}", "short"}


def test_validation_documents_are_spread_over_a_sorted_list():
    names = [f"{chr(97 + n // 20)}name{n:03}" for n in range(400)]
    Path("names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    dataset = open_dataset(TextOptions(corpus=("names.txt",), documents="lines"))

    def lines(tokens):
        ends = document_ends(tokens, dataset.tokenizer.eos_id)
        return [
            dataset.tokenizer.decode(tokens[low:high])
            for low, high in zip([0, *ends[:-1]], ends, strict=True)
        ]

    valid, train = lines(dataset.valid), lines(dataset.train)
    assert sorted(valid + train) == names
    assert len({name[0] for name in valid}) >= 12, "from all over the list"
    assert 30 <= len(valid) <= 40
    assert train == sorted(train), "the order of the text stays"
    assert dataset.card["split"]["valid_part"] == "spread"


@given(st.lists(st.integers(1, 9), min_size=20, max_size=60), st.floats(0.05, 0.5))
def test_a_spread_split_keeps_every_document_whole(lengths, fraction):
    tokens = np.concatenate([[*[n % 7 + 1] * (size - 1), 0] for n, size in enumerate(lengths)])
    train, valid = spread_split(tokens, 0, fraction)
    assert len(train) + len(valid) == len(tokens)
    assert train[-1] == 0
    assert valid[-1] == 0
    assert len(valid) <= max(fraction * len(tokens), max(lengths))


def test_few_documents_leave_their_end_to_validate():
    tokens = np.array([1, 2, 0] * 19)
    assert spread_split(tokens, 0, 0.1) is None


@given(st.integers(0, 300), st.integers(0, 2**80))
def test_an_order_is_a_permutation(count, key):
    assert sorted(hashed_order(count, key).tolist()) == list(range(count))


def test_orders_are_the_same_on_every_machine():
    assert hashed_order(8, 0).tolist() == ORDERS[0]
    assert hashed_order(8, 1).tolist() == ORDERS[1]


def splitmix(state):
    """Steele et al. (2014), in Python's whole numbers."""
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    value = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return state, value ^ (value >> 31)


def independent_order(count, key):
    _, state = splitmix(key)
    values = []
    for _ in range(count):
        state, value = splitmix(state)
        values.append(value)
    return sorted(range(count), key=values.__getitem__)


ORDERS = [independent_order(8, 0), independent_order(8, 1)]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 5), st.integers(0, 9))
def test_every_pass_has_every_document_once(lengths, number, seed):
    tokens = np.concatenate([[*[10 + n] * (size - 1), 0] for n, size in enumerate(lengths)])
    text = ShuffledText(tokens, 0, seed)
    read = text.read(number, np.arange(len(tokens)))
    ends = document_ends(tokens, 0)
    starts = np.array([0, *ends[:-1]])
    order = hashed_order(len(ends), (seed << 20) + number)
    assert read.tolist() == [t for d in order for t in tokens[starts[d] : ends[d]]]


def test_windows_read_each_pass_in_an_order_of_its_own():
    lengths = [3 + n % 4 for n in range(60)]
    tokens = np.concatenate([[*[n + 1] * (size - 1), 0] for n, size in enumerate(lengths)])
    shuffled = ShuffledText(tokens, 0, seed=3)
    batches = BatchStream(tokens, 2, 4, shuffled=shuffled)
    steps = len(tokens) // 2 // 4
    passes = []
    for number in range(3):
        blocks = [batches.block(number * steps + step)[:-1].numpy() for step in range(steps)]
        rows = np.concatenate(blocks)
        whole = shuffled.read(number, np.arange(len(tokens)))
        half = len(tokens) // 2
        assert rows[:, 0].tolist() == whole[: len(rows)].tolist()
        assert rows[:, 1].tolist() == whole[half : half + len(rows)].tolist()
        passes.append(whole.tolist())
    assert len({tuple(order) for order in passes}) == 3
    inputs, targets = batches.window(5)
    assert (inputs[1:] == targets[:-1]).all()


@pytest.mark.parametrize("at", [1, 7, 13])
def test_resuming_is_exact_over_passes(at):
    Path("names.txt").write_text("\n".join(f"name{n}" for n in range(60)), encoding="utf-8")
    settings = {**TINY, "documents": "lines", "steps": 40}
    whole = [e.loss for e in chargen.train("names.txt", run="whole", **settings).steps()]
    seen: list[float] = []
    events = chargen.train("names.txt", run="a", should_stop=lambda: len(seen) >= at, **settings)
    for event in events.steps():
        seen.append(event.loss)
    rest = [e.loss for e in chargen.resume("a").steps()]
    assert seen + rest == whole


def test_records_of_older_runs_keep_the_tail_and_the_order():
    Path("names.txt").write_text("\n".join(f"name{n}" for n in range(60)), encoding="utf-8")
    list(chargen.train("names.txt", run="a", documents="lines", steps=2, **TINY))
    record = json.loads(Path("checkpoints/a", RUN).read_text())
    assert record["text"]["valid_part"] == "spread"
    assert record["train"]["shuffle"] is True
    from chargen.text.text_options import options_from_json

    old = {key: value for key, value in record["text"].items() if key != "valid_part"}
    assert options_from_json(old).valid_part == "tail"


def test_scored_and_fine_tuned_texts_are_divided_as_the_model_was(capsys):
    Path("poems.txt").write_text("a b\nc d\n%\ne f\n%\n" * 60, encoding="utf-8")
    assert run(["train", "poems.txt", "--separator", "%", "--run", "a", "--steps", "3",
                "--hidden-size", "8", "--batch-size", "2", "--bptt", "8"]) == 0  # fmt: skip
    model = chargen.load("a")
    assert model.card["documents"] == "separator"
    assert model.card["separator"] == "%"
    assert "%" not in unwrapped(model.tokenizer).characters
    assert run(["eval", "a", "poems.txt"]) == 0
    assert len(validation_text(model)) > 9
    assert run(["finetune", "a", "poems.txt", "--run", "b", "--steps", "2"]) == 0
    assert chargen.load("b").card["separator"] == "%"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"documents": "separator"}, "name the line that divides"),
        ({"documents": "lines", "separator": "%"}, "no effect with documents lines"),
        ({"separator": "a\nb"}, "must be one line"),
        ({"separator": ""}, "must be one line"),
        ({"documents": "poems"}, "unknown documents 'poems'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        TextOptions(**options)


def test_bytes_are_divided_too():
    Path("poems.txt").write_bytes("größe\r\n\r\nb\n".encode())
    corpus = open_corpus(["poems.txt"], documents="paragraphs", reading=Reading(as_bytes=True))
    assert list(corpus.pieces()) == ["größe".encode(), None, b"b", None]
