"""How texts end, loops and copies, in streams, batches and the tree of texts."""

from __future__ import annotations

import numpy as np
import pytest

from chargen.errors import UsageError
from chargen.inference.choice import (
    WAYS,
    Measure,
    Unseen,
    new_texts,
    ranked,
    whole_texts,
)
from chargen.inference.composer import Composer
from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate, generate_batch
from chargen.inference.many import write_many
from chargen.inference.tree import ROOT, TextTree
from chargen.steering.endings import ends_sentence
from chargen.text.char import CharTokenizer
from chargen.text.overlap import CopyWatch, build_index
from tests.inference.test_generate import writer_of
from tests.steering.conftest import LETTERS, stepper_for

TOKENIZER = CharTokenizer(LETTERS)


def written(stepper=None, tokenizer=TOKENIZER, prompt="", **settings):
    stepper = stepper or stepper_for(tokenizer)
    steps = list(generate(stepper, tokenizer, tokenizer.encode(prompt), SampleConfig(**settings)))
    return "".join(step.text for step in steps), steps[-1].finish


def test_a_sentence_ends_at_its_mark_but_not_at_an_abbreviation():
    for text in ("It is.", 'She said "No!"', "What?)", "Well…", "天地。"):
        assert ends_sentence(text)
    for text in ("It is", "dear Mr.", "J. R.", "a, b,", ""):
        assert not ends_sentence(text)


@pytest.mark.parametrize(
    ("order", "kind", "text"),
    [
        ("ab. cd", "sentence", "b. cdab."),
        ("ab. cdefg", "sentence", "b. cdefgab."),
        ("ab. cd\n", "line", "b. cd\nab. cd"),
        ("abcdefghij.\n", "sentence", "bcdefghij."),
    ],
)
def test_a_text_goes_on_to_its_next_end(order, kind, text):
    stepper, tokenizer = writer_of(order)
    got, finish = written(stepper, tokenizer, "a", length=8, finish=kind, temperature=0)
    assert (got, finish) == (text, "form")


def test_without_an_end_a_text_is_at_most_twice_as_long():
    stepper, tokenizer = writer_of("abc")
    assert written(stepper, tokenizer, "a", length=5, finish="line") == ("bcabcabcab", "length")


def documents_model():
    """A model that often ends a document."""
    tokenizer = CharTokenizer(LETTERS, documents=True)
    stepper = stepper_for(tokenizer)
    bias = stepper.weights["head.bias"].copy()
    bias[tokenizer.eos_id] += 6
    return Stepper(stepper.config, {**stepper.weights, "head.bias": bias}), tokenizer


def test_a_document_ends_the_text_after_the_length():
    stepper, tokenizer = documents_model()
    for seed in range(20):
        settings = {"length": 40, "min_length": 20, "seed": seed}
        text, finish = written(stepper, tokenizer, finish="document", **settings)
        assert finish in ("end", "form")
        assert 20 <= len(text) <= 80
    with pytest.raises(UsageError, match="without documents"):
        written(length=9, finish="document")


def test_no_text_ends_before_its_least_length():
    stepper, tokenizer = documents_model()
    ends = [written(stepper, tokenizer, length=80, seed=seed) for seed in range(20)]
    assert any(finish == "end" and len(text) < 30 for text, finish in ends)
    for seed in range(20):
        text, _ = written(stepper, tokenizer, length=80, min_length=30, seed=seed)
        assert len(text) >= 30
        text, _ = written(length=80, min_length=30, stop=("a", "e", " "), seed=seed)
        assert len(text) >= 30
    with pytest.raises(UsageError, match="min-length 90"):
        written(length=80, min_length=90)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_stretch_comes_too_often_in_a_row(most):
    stepper, tokenizer = writer_of("abcdefgh")
    text, _ = written(stepper, tokenizer, "a", length=120, max_loop=most, temperature=0.9)
    for size in range(4, 40):
        for start in range(len(text) - size * (most + 1) + 1):
            stretch = text[start : start + size]
            assert text[start : start + size * (most + 1)] != stretch * (most + 1)


@pytest.fixture(scope="module")
def copied():
    """A model that writes one text in a circle, and the index of a text that holds it often."""
    order = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
    stepper, tokenizer = writer_of(order)
    text = order * 20
    return stepper, tokenizer, build_index(tokenizer.encode(text), tokenizer)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_no_copy_becomes_longer_than_what_is_asked_for(copied, temperature):
    stepper, tokenizer, index = copied
    prompt = tokenizer.encode("a")
    for most in (31, 45):
        config = SampleConfig(length=200, max_copy=most, temperature=temperature)
        steps = generate(stepper, tokenizer, prompt, config, copies=index)
        tokens = [step.token_id for step in steps]
        assert max(CopyWatch(index).feed(tokens)) == most
    with pytest.raises(UsageError, match="not on this machine"):
        generate(stepper, tokenizer, prompt, config)


def test_asking_how_long_a_copy_would_be_changes_nothing(copied):
    _, tokenizer, index = copied
    text = tokenizer.encode("xyzABCDEFGHIJKLMNOPQRSTabcdefghijklmnopqrstuvwxyzABC" * 2)
    plain, asked = CopyWatch(index), CopyWatch(index)
    for token in map(int, text):
        for other in range(0, tokenizer.vocab_size, 7):
            asked.length_with(other)
        asked.length_with(token)
        assert plain.feed([token]) == asked.feed([token])
        assert plain.longest == asked.longest


ASKED = [
    {"acrostic": "AB"},
    {"ban": ("a", "e"), "bias": {"sea": 2}},
    {"must": ("gold",)},
    {"finish": "sentence", "max_loop": 2},
    {"match": "[a-z ]{5,30}[.]"},
]


@pytest.mark.parametrize("asked", ASKED)
def test_a_stream_a_batch_and_the_tree_write_the_same(asked):
    stepper = stepper_for(TOKENIZER)
    config = SampleConfig(length=60, seed=3, **asked)
    prompt = TOKENIZER.encode("To be")
    stream = [step.token_id for step in generate(stepper, TOKENIZER, prompt, config)]
    rows: dict[int, list[int]] = {0: [], 1: []}
    for number, step in generate_batch(stepper, TOKENIZER, prompt, config, 2):
        rows[number].append(step.token_id)
    assert rows[0] == stream
    (many, other) = write_many(stepper, TOKENIZER, [("To be", prompt), ("x", prompt[:1])], config)
    assert many.text == "".join(step.text for step in generate(stepper, TOKENIZER, prompt, config))
    assert other.finish is not None
    composer = Composer(stepper, TOKENIZER, TextTree(stepper))
    start = composer.read(ROOT, prompt)
    writing = composer.write(start, config)
    while writing.finish is None:
        writing.advance()
    assert composer.tree.tokens(writing.node, len(stream) + 1).tolist()[-len(stream) :] == stream


def test_taking_back_in_the_tree_takes_the_form_back_too():
    stepper = stepper_for(TOKENIZER)
    composer = Composer(stepper, TOKENIZER, TextTree(stepper))
    start = composer.read(ROOT, TOKENIZER.encode("a\n"))
    writing = composer.write(start, SampleConfig(length=60, acrostic="ABC"))
    nodes = [writing.advance() for _ in range(20)]
    writing.rewind(nodes[2])
    while writing.finish is None:
        writing.advance()
    text = TOKENIZER.decode(composer.tree.tokens(writing.node)[2:])
    assert [line[0] for line in text.split("\n")] == ["A", "B", "C"]


def candidates(count=8, **settings):
    stepper = stepper_for(TOKENIZER)
    config = SampleConfig(length=40, seed=1, **settings)
    return list(
        whole_texts(generate_batch(stepper, TOKENIZER, TOKENIZER.encode("a"), config, count))
    )


def test_the_best_text_has_the_best_score_by_every_way():
    texts = candidates()
    index = build_index(TOKENIZER.encode((texts[3].text + "|").replace("|", " ") * 9), TOKENIZER)
    measure = Measure(usual_nats=texts[5].nats, copies=index)
    by_likelihood = ranked(texts, "likelihood", measure)
    assert [text.nats for text in by_likelihood] == sorted(text.nats for text in texts)
    assert ranked(texts, "surprise-band", measure)[0].written.number == 5
    assert ranked(texts, "novelty", measure)[-1].written.number == 3
    assert set(WAYS) == {"likelihood", "surprise-band", "novelty"}
    assert np.isclose(by_likelihood[0].score, -by_likelihood[0].nats)


def test_a_list_has_no_line_of_the_training_text_and_nothing_twice():
    texts = candidates(12, stop=(" ",))
    known = texts[0].text
    index = build_index(TOKENIZER.encode(f"x\n{known.upper()} \nyy"), TOKENIZER)
    unseen = Unseen(index)
    kept = [text.text for text in new_texts(texts * 2, 6, unseen)]
    folded = [text.strip().casefold() for text in kept]
    assert len(set(folded)) == len(folded) <= 6
    assert known.strip().casefold() not in folded
    assert unseen.thrown_away > 0
