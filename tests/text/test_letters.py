"""One form of letters, and what `--clean` tidies: in pieces as in the whole."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.errors import UsageError
from chargen.text import letters as letters_module
from chargen.text.char import CharTokenizer
from chargen.text.corpus import open_corpus
from chargen.text.corpus_tokenizer import CorpusTokenizer
from chargen.text.letters import CLEANERS, LetterForm, Letters, rare_replacements
from chargen.text.reading import Reading
from chargen.text.text_options import TextOptions

TOGETHER, APART = "é", "e\u0301"
SYLLABLE, JAMO = "한", "\u1112\u1161\u11ab"


def formed(pieces, **options):
    form = LetterForm(Letters(**options))
    return "".join(form.read(pieces)), form.notes()


def cut(text, bounds):
    bounds = sorted({0, len(text), *(bound for bound in bounds if bound < len(text))})
    return [text[a:b] for a, b in pairwise(bounds)]


# Letters that change with what follows them, or that change the letters before them.
LETTERS = st.text("aeo\n \u0301\u0308\u0323\u1112\u1161\u11ab\u0915\u093cﬁ①が\uff76\uff9e\u00a0´")


@settings(max_examples=300)
@given(text=LETTERS | st.text(), bounds=st.lists(st.integers(1, 30), max_size=5),
       form=st.sampled_from(["nfc", "nfkc"]), held=st.sampled_from([1, 4, 1 << 22]))  # fmt: skip
def test_the_form_of_pieces_is_that_of_the_whole(text, bounds, form, held):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letters_module, "_MAX_HELD_CHARACTERS", held)
        found, notes = formed(cut(text, bounds), normalize=form)
    assert found == unicodedata.normalize(form.upper(), text)
    assert notes == []


TIDY = st.lists(st.sampled_from(
    ["\n", "\n\n", " ", "\t", "a", "“so”", "http://x.y/z", "word", "cafÃ©", "www.a.b"]
), max_size=20).map("".join)  # fmt: skip


@settings(max_examples=300)
@given(text=TIDY, bounds=st.lists(st.integers(1, 60), max_size=5), names=st.sets(
    st.sampled_from(sorted(set(CLEANERS) - {"rare"})), min_size=1))  # fmt: skip
def test_what_cleans_pieces_cleans_the_whole(text, bounds, names):
    clean = tuple(sorted(names))
    assert formed(cut(text, bounds), clean=clean) == formed([text], clean=clean)


@given(text=st.text(st.characters(max_codepoint=127)))
@pytest.mark.parametrize("form", ["nfc", "nfkc", "none"])
def test_no_form_changes_ascii(form, text):
    assert formed([text], normalize=form)[0] == text


@pytest.mark.parametrize(
    ("name", "text", "cleaned", "note"),
    [
        ("urls", "see https://a.b/c?d=e, or www.x.org now", "see  or  now", "2 URLs removed"),
        ("quotes", "“a” ‘b’ „c‟ d’s", '"a" \'b\' "c" d\'s', "7 quotes straightened"),
        (
            "trailing-blanks",
            "a  \n\t\nb \t",
            "a\n\nb",
            "3 lines without their trailing blanks",
        ),
        (
            "blank-lines",
            "a\n\n\n\nb\n \n\t\nc\n\nd\n",
            "a\n\nb\n\nc\n\nd\n",
            "2 runs of empty lines shortened",
        ),
        (
            "mojibake",
            "cafÃ©\nfine\nâ€œsoâ€\x9d\n",
            "café\nfine\n“so”\n",
            "2 lines with wrongly decoded letters mended",
        ),
    ],
)
def test_each_cleaner_does_what_it_says(name, text, cleaned, note):
    assert formed([text], clean=(name,)) == (cleaned, [f"clean {name}: {note}"])


def test_all_cleaners_work_together():
    text = "â€œsoâ€\x9d  \n\nhttp://x.y\n\nEnde\n"
    assert formed([text], clean=("all",))[0] == '"so"\n\nEnde\n'


def test_rare_characters_become_their_relatives():
    assert rare_replacements({"e": 20, "é": 2, "—": 3, "-": 30, "中": 1}, 10) == {
        "é": "e",
        "—": "-",
    }


def test_rare_characters_of_a_corpus_are_counted_first(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("e" * 20 + "é" * 2 + "\n", encoding="utf-8")
    reading = Reading(letters=Letters(clean=("rare:3",)))
    corpus = open_corpus([str(path)], reading=reading)
    assert "".join(corpus.pieces()) == "e" * 22 + "\n"
    assert corpus.notes() == ["clean rare: 2 rare characters replaced"]


def test_long_runs_of_blanks_cost_no_more_than_their_length():
    """A search that begins anew at each blank would take hours here."""
    text = (" " * 200_000 + "x") * 5
    assert formed([text + " " * 200_000], clean=("trailing-blanks",))[0] == text


@pytest.mark.parametrize("name", ["", "foo", "quotes:3", "rare:0", "rare:x", "rare:"])
def test_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="clean"):
        Letters(clean=(name,))
    with pytest.raises(UsageError, match="normalize"):
        Letters(normalize="nfd")


def test_text_is_composed_unless_it_is_read_as_bytes(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"{APART}{JAMO} ﬁ\n", encoding="utf-8")

    def text(**options):
        corpus = TextOptions(corpus=(str(path),), **options).open([str(path)])
        return "".join(str(piece) for piece in corpus.pieces())

    assert text() == f"{TOGETHER}{SYLLABLE} ﬁ\n"
    assert text(normalize="nfkc") == f"{TOGETHER}{SYLLABLE} fi\n"
    assert text(normalize="none") == f"{APART}{JAMO} ﬁ\n"
    assert text(tokenizer="byte") == str(path.read_bytes())


@given(text=LETTERS | st.text())
@pytest.mark.parametrize("form", ["nfc", "nfkc"])
def test_a_prompt_is_read_in_the_form_of_the_model(form, text):
    composed = unicodedata.normalize(form.upper(), text)
    tokenizer = CorpusTokenizer(CharTokenizer("".join(sorted({*composed, "a", "b"}))), form)
    assert tokenizer.unseen(text) == {}
    assert tokenizer.decode(tokenizer.encode(text)) == composed
    assert list(tokenizer.encode(text)) == list(tokenizer.encode(composed))
