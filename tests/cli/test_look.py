"""chargen look: what is found in a corpus, counted by hand."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargen.cli.main import run
from chargen.text.corpus import open_corpus
from chargen.text.look import look_at, script_of
from tests.text.test_chats import ANDROID
from tests.text.test_convert import EXPECTED, SAMPLES


def looked(capsys, *arguments: str) -> dict:
    assert run(["look", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_text_is_counted(capsys):
    Path("a.txt").write_text("Abc Ж中 7!\n\nAbc\nAbc\nthe longest line\u200b\n", encoding="utf-8")
    value = looked(capsys, "a.txt")
    assert value["documents"] == 1
    assert value["characters"] == 10 + 1 + 4 + 4 + 18
    assert value["scripts"] == {
        "Latin": 3 + 3 + 3 + 14, "white space": 9, "Cyrillic": 1, "Han": 1, "digits": 1,
        "punctuation": 1, "control characters and others": 1,
    }  # fmt: skip
    assert value["lines"] == 4
    assert value["repeated_lines"] == 1
    assert (value["longest_line"], value["longest_line_place"]) == (17, "a.txt:5")
    assert value["unusual"]["invisible"] == ["U+200B"]
    assert value["bits_per_character"] is None
    assert value["sources"] == [{"name": "a.txt", "bytes": len(Path("a.txt").read_bytes())}]


def test_documents_and_labels_are_counted(capsys):
    for label in ("x", "y"):
        Path("in", label).mkdir(parents=True)
        for number in range(3):
            Path("in", label, f"{number}.txt").write_text("same\n" if number else f"{label} own\n")
    value = looked(capsys, "in", "--label-from", "folder")
    assert value["labels"] == {"x": 3, "y": 3}
    assert value["documents"] == 6
    assert value["repeated_documents"] == 3
    assert (value["shortest_document"], value["longest_document"]) == (5, 6)


def test_a_folder_of_many_kinds(capsys):
    folder = Path("all")
    folder.mkdir()
    for suffix, content in SAMPLES.items():
        (folder / f"a{suffix}").write_bytes(content)
    (folder / "b.txt").write_text("plain\n")
    (folder / "c.csv").write_text("id;text\n1;first\n2;second\n")
    (folder / "d.jsonl").write_text('{"text": "row"}\n')
    (folder / "e.json").write_text('[{"text": "item"}]')
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    assert run(["look", "all", "--documents", "files"]) == 0
    shown = capsys.readouterr().out
    documents = sum(len(texts) for texts, _ in EXPECTED.values()) + 1 + 2 + 1 + 1
    assert f"documents     {documents}," in shown
    assert "all/c.csv: 2 rows, delimiter ;, column text" in shown
    assert "skipped 1 of 16 files: picture.png (binary)" in shown
    assert "units" in shown
    value = looked(capsys, "all", "--documents", "files")
    texts = [text for texts, _ in EXPECTED.values() for text in texts]
    texts += ["plain\n", "first", "second", "row", "item"]
    assert value["characters"] == sum(map(len, texts))


def test_a_chat(capsys):
    Path("chat.txt").write_text(ANDROID)
    value = looked(capsys, "chat.txt", "--chat", "--label-from", "speaker")
    assert value["labels"] == {"Anna": 2, "Bert": 1}


def test_the_tail_is_told(capsys):
    from tests.text.test_count_model import prose

    german = prose(3000, 1, ["der", "Wind", "weht", "über", "Felder", "zwölf", "Jäger"])
    Path("a.txt").write_text(prose(40_000, 1) + german, encoding="utf-8")
    value = looked(capsys, "a.txt")
    assert value["tail_bits"] > value["rest_bits"] + 1
    assert 0 < value["bits_per_character"] < 3
    notes = []
    import chargen

    list(chargen.train("a.txt", run="a", steps=1, hidden_size=8, on_note=notes.append))
    assert any("the end of the text, which validates, differs" in note for note in notes)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0", b"caf\xe9\n"])
def test_what_cannot_be_read_is_one_line(capsys, content):
    Path("a.txt").write_bytes(content)
    code = run(["look", "a.txt"])
    out, err = capsys.readouterr()
    if content:
        assert code == 3
        assert err.count("\n") == 1
    else:
        assert code == 0
        assert "documents     0" in out


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff")))
def test_counts_sum_to_the_text(text):
    Path("any.txt").write_text(text, encoding="utf-8", newline="\n")
    look = look_at(open_corpus(["any.txt"]))
    assert look.characters == Counter(text)
    assert sum(look.scripts().values()) == look.total == len(text)
    lines = [line for line in text.split("\n") if line.strip()]
    assert look.lines == len(lines)
    assert look.repeated_lines == len(lines) - len(set(lines))
    assert look.longest_line == max(map(len, lines), default=0)


@given(st.characters())
def test_every_character_has_a_script(character):
    assert script_of(character)
    assert unicodedata.category(character) != "Nd" or script_of(character) == "digits"
