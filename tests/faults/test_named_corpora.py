"""Named corpora keep every line and know their text; notes and rows of tables are not lost."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from chargen.text import hub
from chargen.text.corpus import Corpus, open_corpus
from chargen.text.recipes import recipes
from chargen.text.sources import RecipeSource

TEXT = "\n== A ==\n\nfirst\n\n\nsecond\n  third  \n"


@pytest.fixture
def local(monkeypatch):
    """The recipe `enwik8`, with a file of this machine as its download."""
    monkeypatch.setattr(hub, "_is_reachable", lambda address: True)
    Path("page.txt").write_text(TEXT, encoding="utf-8")
    (recipe,) = [recipe for recipe in recipes() if recipe.name == "enwik8"]
    return replace(recipe, settings={**recipe.settings, "data_files": "page.txt"})


def read(corpus: Corpus) -> str:
    return "".join(piece for piece in corpus.pieces() if piece is not None)


def test_blank_lines_stay(local):
    corpus = Corpus(sources=[RecipeSource(local)])
    assert read(corpus) == TEXT


@pytest.mark.parametrize("right", [True, False])
def test_another_text_than_the_recipe_means_is_told(local, right):
    digest = hashlib.sha256(TEXT.encode()).hexdigest() if right else "0" * 64
    corpus = Corpus(sources=[RecipeSource(replace(local, sha256=digest))])
    read(corpus)
    told = [f"builtin:enwik8: not the text that others measure on: its SHA-256 is "
            f"{hashlib.sha256(TEXT.encode()).hexdigest()[:12]}…, not 000000000000…"]  # fmt: skip
    assert corpus.notes() == ([] if right else told)


def test_texts_that_are_the_same_everywhere_have_a_digest():
    digests = {recipe.name: recipe.sha256 for recipe in recipes()}
    assert set(filter(None, digests.values())) == {digests["enwik8"], digests["tiny-shakespeare"]}
    assert all(len(digest) == 64 for digest in digests.values() if digest)


def test_the_notes_of_every_shard_are_kept():
    Path("shards").mkdir()
    shards = (
        [{"text": "a", "n": 1}, {"text": None, "n": 2}],
        [{"text": "b", "n": 1}],
        [{"text": None}, {"text": "c"}],
    )
    for number, rows in enumerate(shards):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        Path("shards", f"{number}.jsonl").write_text(lines)
    corpus = open_corpus(["shards"])
    assert read(corpus) == "a\nb\nc"
    told = [
        "shards/0.jsonl: 2 rows, column text, 1 without text",
        "shards/1.jsonl: 1 row, column text",
        "shards/2.jsonl: 2 rows, column text, 1 without text",
    ]
    assert corpus.notes() == told
    read(corpus)
    assert corpus.notes() == told


@pytest.mark.parametrize("brackets", ["[", "]", "{", "[]", "{}"])
def test_brackets_within_a_string_do_not_nest(brackets):
    text = brackets * 501
    Path("rows.jsonl").write_text(json.dumps({"text": text}) + "\n")
    assert read(open_corpus(["rows.jsonl"])) == text
