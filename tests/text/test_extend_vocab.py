"""Extended vocabularies: known tokens stay, and every new token has donors."""

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
from chargen.text.extend_vocab import extend_bytes, extend_characters, extend_subwords
from chargen.text.subword import SubwordBuilder
from chargen.text.tokenizer import ByteTokenizer
from tests.conftest import make_model


def donors_of(extension, tokenizer) -> dict[str, str]:
    """Each new character and the characters that it is initialised from."""
    return {
        extension.tokenizer.decode([token]) or "<eos>": "".join(
            tokenizer.decode([donor]) for donor in donors
        )
        for token, donors in extension.donors.items()
    }


def test_new_characters_are_initialised_from_similar_ones():
    tokenizer = CharTokenizer("".join(sorted("\n ',-\"Aabceotuz019.x")))
    text = "É“—ü！Ｔ７Z中😀"
    extension = extend_characters(tokenizer, Counter(text), documents=False)
    donors = donors_of(extension, tokenizer)
    assert donors["É"] == "e"
    assert donors["“"] == '"'
    assert donors["—"] == "-"
    assert donors["ü"] == "u"
    assert donors["Ｔ"] == "t"
    assert donors["Z"] == "z", "an unseen capital from its small letter"
    assert set(donors["７"]) == set("019"), "the mean of its category"
    assert set(donors["中"]) == set("Aabceotuxz"), "a letter from letters"
    assert set(donors["😀"]) == set(tokenizer.characters), (
        "no known character is of its category: all"
    )
    (line,) = extension.report
    assert line.startswith('10 new characters: É ← e, “ ← "')
    assert line.endswith("７ 中 😀 ← the mean of their kind")


@given(st.text(min_size=1, max_size=60))
def test_known_characters_keep_their_tokens(text):
    tokenizer = CharTokenizer("\n abcdefg")
    extension = extend_characters(tokenizer, Counter("abc" + text), documents=False)
    assert not extension.tokenizer.unseen(text)
    assert extension.tokenizer.decode(extension.tokenizer.encode(text)) == text
    for new, old in enumerate(extension.old):
        if old >= 0:
            assert extension.tokenizer.token_bytes(new) == tokenizer.token_bytes(old)
    assert sorted(old for old in extension.old if old >= 0) == list(range(tokenizer.vocab_size))
    assert set(extension.donors) == {new for new, old in enumerate(extension.old) if old < 0}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_old_characters_keep_the_proportions_of_their_probabilities(cell):
    file = make_model(cell, 2)
    tokenizer = file.build_tokenizer()
    counts = Counter({"é": 9, "中": 3, "a": 50, "e": 40, "B": 7})
    extension = extend_characters(tokenizer, counts, documents=True)
    tokens = np.zeros(extension.tokenizer.vocab_size, np.int64)
    for character, count in counts.items():
        tokens[extension.tokenizer.encode(character)[0]] = count
    grown = extend_weights(file, extension, tokens)
    before, after = (Stepper(model.config, model.weights) for model in (file, grown))
    text = "abc de fgh"
    old, _ = before.logits_of(tokenizer.encode(text), before.zero_state())
    new, _ = after.logits_of(extension.tokenizer.encode(text), after.zero_state())
    new_ids = [extension.old.index(old) for old in range(tokenizer.vocab_size)]
    shared = log_softmax(new[:, new_ids])
    np.testing.assert_allclose(shared, log_softmax(old), atol=1e-5)
    taken = 1 - np.exp(log_softmax(new))[:, new_ids].sum(1)
    assert np.all(taken > 0)
    assert grown.build_tokenizer().eos_id == extension.tokenizer.vocab_size - 1


def test_the_bias_of_a_new_character_follows_its_frequency():
    file = make_model()
    extension = extend_characters(file.build_tokenizer(), Counter("é"), documents=False)
    ids = {character: extension.tokenizer.encode(character)[0] for character in "eé"}
    counts = np.zeros(extension.tokenizer.vocab_size, np.int64)
    counts[ids["e"]], counts[ids["é"]] = 99, 19
    grown = extend_weights(file, extension, counts)
    logits, _ = Stepper(grown.config, grown.weights).logits_of(
        np.array([1, 2, 3]), Stepper(grown.config, grown.weights).zero_state()
    )
    odds = np.exp(logits[:, ids["é"]] - logits[:, ids["e"]])
    np.testing.assert_allclose(odds, 0.2, rtol=1e-4)
    np.testing.assert_array_equal(
        grown.weights["embedding.weight"][ids["é"]],
        grown.weights["embedding.weight"][ids["e"]],
    )


def test_a_text_without_a_known_character_is_refused():
    with pytest.raises(CorpusError, match="not one character of this text is known"):
        extend_characters(CharTokenizer("\nab"), Counter("中文字"), documents=False)


def test_keeping_the_vocabulary_adds_only_an_end_token():
    tokenizer = CharTokenizer("\nab")
    extension = extend_characters(tokenizer, Counter("aé"), documents=True, add_characters=False)
    assert extension.tokenizer.characters == "\nab"
    assert extension.donors == {3: (0,)}
    assert extension.report == ()


def test_byte_models_are_extended_by_an_end_token_only():
    assert extend_bytes(ByteTokenizer(), documents=False).added == 0
    extension = extend_bytes(ByteTokenizer(), documents=True)
    assert (extension.tokenizer.vocab_size, extension.donors) == (257, {256: (10,)})
    assert extend_bytes(ByteTokenizer(documents=True), documents=True).added == 0


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_pieces_are_added_for_words_that_cost_much(prose, algorithm):
    builder = SubwordBuilder(400, algorithm)
    builder.feed(prose)
    tokenizer = builder.finish(documents=False)
    text = "Der Straßenbahnfahrer grüßt den Straßenbahnfahrer. " * 20
    extension = extend_subwords(tokenizer, text, 3, documents=False)
    grown = extension.tokenizer
    assert grown.vocab_size == tokenizer.vocab_size + 3
    assert "Straßenbahnfahrer" in extension.report[0]
    for sample in (text, prose[:500], "näher 中 x"):
        assert grown.decode(grown.encode(sample)) == sample
    assert len(grown.encode(text)) < len(tokenizer.encode(text)) * 0.7
    for token, donors in extension.donors.items():
        assert b"".join(map(tokenizer.token_bytes, donors)) == grown.token_bytes(token)
    with pytest.raises(UsageError, match="leave out documents"):
        extend_subwords(tokenizer, text, 0, documents=True)


def test_a_chain_of_bases_ends_after_twenty():
    card = {"corpus": [], "validation": {"bits_per_byte": 2.0}}
    for number in range(50):
        card = {"corpus": [number], "base": lineage(card, f"m{number}")}
    depth, base = 0, card.get("base")
    while base:
        depth, base = depth + 1, base["card"].get("base")
    assert depth == 20
    assert card["base"]["name"] == "m49"
