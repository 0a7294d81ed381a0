"""Encoding continues after an interruption, and reports its progress."""

from __future__ import annotations

import json
import threading
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import ChargenError, CorpusError
from chargen.files import cache_folder
from chargen.text import encoding, subword
from chargen.text import store as store_module
from chargen.text.corpus import open_corpus
from chargen.text.encoding import JOURNAL, PartialStore
from chargen.text.reading import Reading
from chargen.text.store import build_tokenizer, encode_corpus


@pytest.fixture
def small_batches(monkeypatch):
    """Many batches of a small text, and a note after each."""
    monkeypatch.setattr(encoding, "_BATCH_CHARACTERS", 1000)
    monkeypatch.setattr("chargen.text.reader._CHUNK_BYTES", 500)
    monkeypatch.setattr(encoding, "_SECONDS_BETWEEN_NOTES", -1.0)


class Stop(KeyboardInterrupt):
    """Ctrl-C at a chosen moment."""


def interrupted_after(monkeypatch, tokenizer, count, error=Stop):
    """Makes encoding fail after `count` batches; returns the list of the batches it encodes."""
    seen = []
    name = "encode_compact" if hasattr(tokenizer, "encode_compact") else "encode"
    original = getattr(type(tokenizer), name)

    def encode(self, text, *rest):
        if text == "\n":  # asks for an id and encodes no text
            return original(self, text, *rest)
        if len(seen) == count:
            raise error
        seen.append(text)
        return original(self, text, *rest)

    monkeypatch.setattr(type(tokenizer), name, encode)
    return seen


@pytest.mark.parametrize(
    ("kind", "documents"),
    [("char", "whole"), ("char", "lines"), ("byte", "files"), ("subword", "lines")],
)
def test_an_interrupted_encoding_continues_where_it_stopped(
    tmp_path, prose, monkeypatch, small_batches, kind, documents
):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(4):
        part = prose[number * 5_000 : (number + 1) * 5_000]
        (folder / f"{number}.txt").write_text(part, encoding="utf-8")
    reading = Reading(as_bytes=kind == "byte")
    corpus = open_corpus([str(folder)], documents=documents, reading=reading)
    tokenizer, (fingerprints,) = build_tokenizer(corpus, kind, 400 if kind == "subword" else None)
    with monkeypatch.context() as patch:
        patch.setenv("CHARGEN_CACHE", str(tmp_path / "straight"))
        seen = interrupted_after(patch, tokenizer, -1)
        expected = np.array(encode_corpus(corpus, tokenizer, fingerprints).tokens)
        batches = len(seen)
    assert batches > 15
    for stop in (0, 3, 5):
        with monkeypatch.context() as patch:
            seen = interrupted_after(patch, tokenizer, stop)
            with pytest.raises(Stop):
                encode_corpus(corpus, tokenizer, fingerprints)
            assert len(seen) == stop
    with monkeypatch.context() as patch:
        seen = interrupted_after(patch, tokenizer, -1)
        store = encode_corpus(corpus, tokenizer, fingerprints)
    assert len(seen) == batches - 3 - 5
    assert np.array_equal(store.tokens, expected)
    assert sorted(file.name for file in store.path.parent.iterdir()) == ["meta.json", "tokens.bin"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda part, journal: part.write_bytes(part.read_bytes()[:-1]),
        lambda part, journal: part.write_bytes(b"\x00" * part.stat().st_size),
        lambda part, journal: part.unlink(),
        lambda part, journal: journal.write_text("[]"),
        lambda part, journal: journal.write_text("{"),
        lambda part, journal: journal.write_text(json.dumps({"count": 5})),
        lambda part, journal: journal.write_text(
            json.dumps({"batches": True, "ended": 1, "count": 2.5, "crc32": None})
        ),
        lambda part, journal: journal.write_text(
            json.dumps({"batches": 3, "ended": False, "count": -4, "crc32": 0})
        ),
    ],
)
def test_after_damage_the_encoding_starts_again(
    tmp_path, prose, monkeypatch, small_batches, damage
):
    path = tmp_path / "a.txt"
    path.write_text(prose[:20_000], encoding="utf-8", newline="\n")
    corpus = open_corpus([str(path)])
    tokenizer, (fingerprints,) = build_tokenizer(corpus, "char", None)
    with monkeypatch.context() as patch:
        interrupted_after(patch, tokenizer, 4)
        with pytest.raises(Stop):
            encode_corpus(corpus, tokenizer, fingerprints)
    (journal,) = _journals()
    damage(journal.with_name("tokens.part"), journal)
    assert tokenizer.decode(encode_corpus(corpus, tokenizer, fingerprints).tokens) == prose[:20_000]


def _journals():
    return list(cache_folder().rglob(JOURNAL))


@given(data=st.data())
def test_any_interruption_gives_the_same_tokens(tmp_path_factory, data):
    """Interrupted at any batch, the store is the same as without an interruption."""
    lines = data.draw(st.lists(st.text("ab\n", max_size=30), min_size=3, max_size=8))
    text = "ab" + "\n".join(lines)
    folder = tmp_path_factory.mktemp("any")
    path = folder / "a.txt"
    path.write_text(text, encoding="utf-8", newline="\n")
    corpus = open_corpus([str(path)], documents="lines")
    tokenizer, _ = build_tokenizer(corpus, "char", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_BATCH_CHARACTERS", 1)
        patch.setattr("chargen.text.reader._CHUNK_BYTES", 4)
        patch.setattr(encoding, "_SECONDS_BETWEEN_NOTES", -1.0)
        straight = folder / "straight"
        straight.mkdir()
        uninterrupted = PartialStore(straight, np.dtype(np.uint8))
        uninterrupted.extend(corpus, tokenizer)
        again = folder / "again"
        again.mkdir()
        stop = data.draw(st.integers(0, 2))
        with pytest.MonkeyPatch.context() as inner:
            interrupted_after(inner, tokenizer, stop)
            with suppress(Stop):  # a short text may be over before
                PartialStore(again, np.dtype(np.uint8)).extend(corpus, tokenizer)
        second = PartialStore(again, np.dtype(np.uint8))
        second.extend(corpus, tokenizer)
    assert second.progress == uninterrupted.progress
    assert (again / "tokens.part").read_bytes() == (straight / "tokens.part").read_bytes()


def test_a_corpus_that_changes_while_it_is_read_leaves_no_store(tmp_path, prose, small_batches):
    path = tmp_path / "a.txt"
    path.write_text(prose[:5_000], encoding="utf-8")
    corpus = open_corpus([str(path)])
    tokenizer, (fingerprints,) = build_tokenizer(corpus, "char", None)
    path.write_text(prose[1:5_001], encoding="utf-8")
    with pytest.raises(CorpusError, match="changed while it was read"):
        encode_corpus(corpus, tokenizer, fingerprints)
    assert _journals() == []


def test_a_full_disk_is_an_error_of_one_line_and_progress_is_kept(
    tmp_path, prose, monkeypatch, small_batches
):
    path = tmp_path / "a.txt"
    path.write_text(prose[:20_000], encoding="utf-8")
    corpus = open_corpus([str(path)])
    tokenizer, (fingerprints,) = build_tokenizer(corpus, "char", None)
    with monkeypatch.context() as patch:
        interrupted_after(patch, tokenizer, 6, OSError(28, "No space left on device"))
        with pytest.raises(ChargenError, match=r"No space left on device.*CHARGEN_CACHE"):
            encode_corpus(corpus, tokenizer, fingerprints)
    with monkeypatch.context() as patch:
        seen = interrupted_after(patch, tokenizer, -1)
        encode_corpus(corpus, tokenizer, fingerprints)
    assert "".join(seen) == prose[:20_000][-len("".join(seen)) :] != prose[:20_000]


def test_two_processes_at_once_make_one_store(tmp_path, prose, small_batches):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8", newline="\n")
    tokenizer, (fingerprints,) = build_tokenizer(open_corpus([str(path)]), "char", None)
    stores = []

    def encode():
        stores.append(encode_corpus(open_corpus([str(path)]), tokenizer, fingerprints))

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4
    assert len({store.path for store in stores}) == 1
    assert all(tokenizer.decode(store.tokens) == prose for store in stores)


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_watcher_sees_the_progress(tmp_path, prose, kind):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(prose[:3_000], encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir())
    calls = []
    reading = Reading(as_bytes=kind == "byte")
    corpus = open_corpus([str(folder)], reading=reading, watcher=lambda *call: calls.append(call))
    tokenizer, (fingerprints,) = build_tokenizer(corpus, kind, None)
    encode_corpus(corpus, tokenizer, fingerprints)
    passes = {doing: [call[1:] for call in calls if call[0] == doing] for doing, *_ in calls}
    assert list(passes) == ["reading", "making tokens", "encoding"]
    for doing in ("reading", "encoding"):
        done = [count for count, _ in passes[doing]]
        assert done == sorted(done)
        assert {of for _, of in passes[doing]} == {size}
        assert passes[doing][-1] == (size, size)
    assert passes["making tokens"] == [(0, None), (0, 0)]


def test_pieces_are_learned_once(tmp_path, prose, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8")
    learned = []
    learn = subword.SubwordBuilder._learn

    def counted(self, *rest):
        learned.append(rest[1:])
        return learn(self, *rest)

    monkeypatch.setattr(subword.SubwordBuilder, "_learn", counted)
    states = [
        build_tokenizer(open_corpus([str(path)]), "subword", size)[0].to_state()
        for size in (400, 400, 500)
    ]
    assert [vocab_size for vocab_size, *_ in learned] == [400, 500]
    assert states[0] == states[1] != states[2]
    for model in (cache_folder() / "pieces").iterdir():
        model.write_bytes(model.read_bytes()[:100])
    again, _ = build_tokenizer(open_corpus([str(path)]), "subword", 400)
    assert again.to_state() == states[0]
    assert len(learned) == 3


def test_the_sample_of_a_large_text_stays_small(monkeypatch):
    monkeypatch.setattr(subword, "_MAX_SAMPLE_CHARACTERS", 100_000)
    builder = subword.SubwordBuilder(400)
    for number in range(300):
        builder.feed(f"line {number} of a text\n\n\n" * 20 + "x" * 5_000 + "\n")
    size = sum(len(line) + subword._LINE_OVERHEAD_CHARACTERS for line in builder._lines)
    assert 40_000 < size <= 100_000
    assert all(builder._lines)
    assert "line 0 of a text" in builder._lines
    assert any("29" in line for line in builder._lines), "from all over the text"


def test_the_last_document_end_is_found_block_by_block(monkeypatch):
    monkeypatch.setattr(store_module, "_SEARCH_TOKENS", 7)
    random = np.random.default_rng(0)
    for _ in range(50):
        tokens = random.integers(0, 12, size=60).astype(np.uint8)
        positions = np.flatnonzero(tokens[20:50] == 3)
        expected = 20 + int(positions[-1]) if len(positions) else None
        assert store_module._find_last(tokens, 3, 20, 50) == expected


def test_too_little_memory_for_pieces_is_reported_before_the_work(tmp_path, prose, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text(prose, encoding="utf-8")
    per_character, per_word_character = subword._MEMORY_BYTES["unigram"]
    words = sum(map(len, set(prose.replace("\n", " ").split(" "))))
    assert 0 < words < len(prose) / 2
    needed = per_character * len(prose) + per_word_character * words
    monkeypatch.setattr(subword, "_free_memory", lambda: needed // 2)
    with pytest.raises(CorpusError, match=r"needs about \d+ MB of memory and \d+ MB are free"):
        build_tokenizer(open_corpus([str(path)]), "subword", 400)
    for free in (needed, 2 * needed):
        monkeypatch.setattr(subword, "_free_memory", lambda free=free: free)
        tokenizer, _ = build_tokenizer(open_corpus([str(path)]), "subword", 400)
        assert tokenizer.vocab_size == 400
