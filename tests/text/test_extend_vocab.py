"""Vocabularies that grow: nothing known is lost, and every newcomer has relatives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import CorpusError, UsageError
from chargen.inference.engine import Stepper, log_softmax
from chargen.model.extend_weights import extend_weights, lineage
from chargen.text.char import CharTokenizer
from chargen.text.extend_vocab import extend_bytes, extend_characters, extend_pieces
from chargen.text.subword import SubwordBuilder
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import make_model


def spelled(graft, tokenizer) -> dict[str, str]:
    """Each new character and what it begins as."""
    return {
        graft.tokenizer.decode([token]) or "<eos>": "".join(
            tokenizer.decode([one]) for one in seeds
        )
        for token, seeds in graft.seeds.items()
    }


def test_newcomers_begin_as_their_relatives():
    tokenizer = CharTokenizer("".join(sorted("\n ',-\"Aabceotuz019.x")))
    text = "É“—ü！Ｔ７Z中😀"
    graft = extend_characters(tokenizer, Counter(text), documents=False)
    found = spelled(graft, tokenizer)
    assert found["É"] == "e"
    assert found["“"] == '"'
    assert found["—"] == "-"
    assert found["ü"] == "u"
    assert found["Ｔ"] == "t"
    assert found["Z"] == "z", "an unseen capital from its small letter"
    assert set(found["７"]) == set("019"), "the mean of its category"
    assert set(found["中"]) == set("Aabceotuxz"), "a letter from letters"
    assert set(found["😀"]) == set(tokenizer.characters), "of no kind that is known: all"
    (line,) = graft.report
    assert line.startswith('10 new characters: É ← e, “ ← "')
    assert line.endswith("７ 中 😀 ← the mean of their kind")


@given(st.text(min_size=1, max_size=60))
def test_what_was_known_stays_known(text):
    tokenizer = CharTokenizer("\n abcdefg")
    graft = extend_characters(tokenizer, Counter("abc" + text), documents=False)
    assert not graft.tokenizer.unseen(text)
    assert graft.tokenizer.decode(graft.tokenizer.encode(text)) == text
    for new, old in enumerate(graft.old):
        if old >= 0:
            assert graft.tokenizer.token_bytes(new) == tokenizer.token_bytes(old)
    assert sorted(one for one in graft.old if one >= 0) == list(range(tokenizer.vocab_size))
    assert set(graft.seeds) == {new for new, old in enumerate(graft.old) if old < 0}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_old_characters_are_predicted_as_before(cell):
    file = make_model(cell, 2)
    tokenizer = file.build_tokenizer()
    counts = Counter({"é": 9, "中": 3, "a": 50, "e": 40, "B": 7})
    graft = extend_characters(tokenizer, counts, documents=True)
    tokens = np.zeros(graft.tokenizer.vocab_size, np.int64)
    for one, count in counts.items():
        tokens[graft.tokenizer.encode(one)[0]] = count
    grown = extend_weights(file, graft, tokens)
    before, after = (Stepper(one.config, one.weights) for one in (file, grown))
    text = "abc de fgh"
    old, _ = before.logits_of(tokenizer.encode(text), before.zero_state())
    new, _ = after.logits_of(graft.tokenizer.encode(text), after.zero_state())
    places = [graft.old.index(one) for one in range(tokenizer.vocab_size)]
    shared = log_softmax(new[:, places])
    np.testing.assert_allclose(shared, log_softmax(old), atol=1e-5)
    taken = 1 - np.exp(log_softmax(new))[:, places].sum(1)
    assert np.all(taken > 0)
    assert grown.build_tokenizer().eos_id == graft.tokenizer.vocab_size - 1


def test_a_newcomer_is_as_likely_beside_its_relative_as_it_is_frequent():
    file = make_model()
    graft = extend_characters(file.build_tokenizer(), Counter("é"), documents=False)
    place = {one: graft.tokenizer.encode(one)[0] for one in "eé"}
    counts = np.zeros(graft.tokenizer.vocab_size, np.int64)
    counts[place["e"]], counts[place["é"]] = 99, 19
    grown = extend_weights(file, graft, counts)
    logits, _ = Stepper(grown.config, grown.weights).logits_of(
        np.array([1, 2, 3]), Stepper(grown.config, grown.weights).zero_state()
    )
    odds = np.exp(logits[:, place["é"]] - logits[:, place["e"]])
    np.testing.assert_allclose(odds, 0.2, rtol=1e-4)
    np.testing.assert_array_equal(
        grown.weights["embedding.weight"][place["é"]],
        grown.weights["embedding.weight"][place["e"]],
    )


def test_a_text_with_nothing_known_is_refused():
    with pytest.raises(CorpusError, match="not one character of this text is known"):
        extend_characters(CharTokenizer("\nab"), Counter("中文字"), documents=False)


def test_keeping_the_vocabulary_grows_nothing_but_an_end():
    tokenizer = CharTokenizer("\nab")
    graft = extend_characters(tokenizer, Counter("aé"), documents=True, grow=False)
    assert graft.tokenizer.characters == "\nab"
    assert graft.seeds == {3: (0,)}
    assert graft.report == ()


def test_bytes_lack_only_an_end():
    assert extend_bytes(ByteTokenizer(), documents=False).added == 0
    graft = extend_bytes(ByteTokenizer(), documents=True)
    assert (graft.tokenizer.vocab_size, graft.seeds) == (257, {256: (10,)})
    assert extend_bytes(ByteTokenizer(documents=True), documents=True).added == 0


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_pieces_are_added_for_words_that_cost_much(prose, algorithm):
    builder = SubwordBuilder(400, algorithm)
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    text = "Der Straßenbahnfahrer grüßt den Straßenbahnfahrer. " * 20
    graft = extend_pieces(tokenizer, text, 3, documents=False)
    grown = graft.tokenizer
    assert grown.vocab_size == tokenizer.vocab_size + 3
    assert "Straßenbahnfahrer" in graft.report[0]
    for sample in (text, prose[:500], "näher 中 x"):
        assert grown.decode(grown.encode(sample)) == sample
    assert len(grown.encode(text)) < len(tokenizer.encode(text)) * 0.7
    for token, seeds in graft.seeds.items():
        assert b"".join(map(tokenizer.token_bytes, seeds)) == grown.token_bytes(token)
    with pytest.raises(UsageError, match="leave --documents out"):
        extend_pieces(tokenizer, text, 0, documents=True)


def test_a_lineage_is_a_chain_that_ends():
    card = {"corpus": [], "validation": {"bits_per_byte": 2.0}}
    for number in range(50):
        card = {"corpus": [number], "base": lineage(card, f"m{number}")}
    depth, base = 0, card.get("base")
    while base:
        depth, base = depth + 1, base["card"].get("base")
    assert depth == 20
    assert card["base"]["name"] == "m49"
