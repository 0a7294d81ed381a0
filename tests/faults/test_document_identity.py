"""The same bytes in other documents are another text: for the cache, for a card, for resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chargen
from chargen.cli.main import run
from chargen.text.corpus import Fingerprint, open_corpus
from chargen.text.dataset import open_dataset
from chargen.text.text_options import TextOptions

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "threads": 1, "steps": 4}
LINES = [f"line {number} of the sea\n" for number in range(90)]
PARTS = ["".join(LINES[:20]), "".join(LINES[20:50]), "".join(LINES[50:])]


def write_parts(folder: str, parts: list[str]) -> str:
    Path(folder).mkdir(exist_ok=True)
    for old in Path(folder).iterdir():
        old.unlink()
    for number, part in enumerate(parts):
        Path(folder, f"{number}.txt").write_text(part, encoding="utf-8")
    return folder


def end_tokens(corpus: str, documents: str) -> int:
    options = TextOptions(corpus=(corpus,), documents=documents, valid_fraction=0)
    dataset = open_dataset(options)
    return int((dataset.train == dataset.tokenizer.eos_id).sum())


@pytest.mark.parametrize("first", [0, 1])
def test_one_file_and_three_files_of_the_same_bytes(first):
    """Whichever is encoded first, the other does not get its tokens."""
    one, three = write_parts("one", ["".join(PARTS)]), write_parts("three", PARTS)
    expected = {one: 1, three: 3}
    for corpus in [(one, three), (three, one)][first]:
        assert end_tokens(corpus, "files") == expected[corpus]


def test_a_line_end_between_two_files_belongs_to_the_text():
    """Joined, `ab` and `a`, `b` are different texts, although their bytes are the same."""
    whole = write_parts("whole", ["ab" * 40 + "cd" * 40])
    halves = write_parts("halves", ["ab" * 40, "cd" * 40])
    texts = []
    for corpus in (whole, halves):
        dataset = open_dataset(TextOptions(corpus=(corpus,), valid_fraction=0))
        texts.append(dataset.tokenizer.decode(dataset.train))
    assert texts == ["ab" * 40 + "cd" * 40, "ab" * 40 + "\n" + "cd" * 40]


def test_rows_of_tables_are_documents_of_their_own():
    for name, rows in (("a.jsonl", ["".join(PARTS)]), ("b.jsonl", PARTS)):
        Path(name).write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    assert end_tokens("a.jsonl", "files") == 1
    assert end_tokens("b.jsonl", "files") == 3


def test_names_of_files_do_not_count():
    first = open_corpus([write_parts("x", PARTS)]).fingerprints()
    write_parts("y", PARTS)
    for number, path in enumerate(sorted(Path("y").iterdir())):
        path.rename(f"y/other{number}.txt")
    second = open_corpus(["y"]).fingerprints()
    assert all(map(Fingerprint.is_same_text, first, second))


def test_resume_tells_moved_boundaries(capsys):
    folder = write_parts("parts", PARTS)
    list(chargen.train(folder, run="a", documents="files", **TINY))
    write_parts("parts", [PARTS[0] + PARTS[1], PARTS[2]])
    assert run(["resume", "a", "--steps", "1"]) == 0
    told = capsys.readouterr().err
    assert "the same bytes, divided into other documents" in told
    assert "going on with the text as it was, from the cache" in told


def test_cards_of_older_versions_do_not_tell_boundaries():
    old = Fingerprint(name="a", bytes=1, sha256="x")
    one, three = (Fingerprint(name="a", bytes=1, sha256="x", boundaries=b) for b in ("", "y"))
    assert old.is_same_text(one)
    assert three.is_same_text(old)
    assert not one.is_same_text(three)
