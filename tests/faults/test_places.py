"""Places are those of the files as they stand: FILE:LINE."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import chargen
from chargen.own_corpus import place_of, training_text
from chargen.text.places import find_place
from chargen.text.text_options import TextOptions

TINY = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "steps": 1}
ROWS = [f"verse {n} of the song of the sea\nand its second line {n * 7}" for n in range(40)]
LINES = [f"line {n} of the song of the sea, and {n * 7} gulls" for n in range(60)]


def place(corpus: str, passage: str, **settings) -> str | None:
    list(chargen.train(corpus, run="a", overwrite=True, **TINY, **settings))
    model = chargen.load("a")
    assert training_text(model) is not None
    return place_of(model, passage)


def find(names: list[str], passage: str, **context: str) -> str | None:
    return find_place(TextOptions(), names, passage, **context)


@pytest.mark.parametrize("documents", ["whole", "lines"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_line_of_a_file(documents, encoding, newline):
    Path("song.txt").write_text(newline.join(LINES), encoding=encoding, newline="")
    assert place("song.txt", LINES[17], documents=documents) == "song.txt:18"
    assert place("song.txt", "gulls\nline 30 of", documents=documents) == "song.txt:30"


def test_a_file_of_a_folder():
    Path("songs/b").mkdir(parents=True)
    Path("songs/a.txt").write_text("nothing of interest\n" * 30)
    Path("songs/b/c.txt").write_text("\n".join(LINES))
    assert place("songs", LINES[4], documents="files") == "songs/b/c.txt:5"


def test_a_row_of_jsonl_is_one_line():
    lines = [json.dumps({"n": n, "text": row}) for n, row in enumerate(ROWS)]
    Path("rows.jsonl").write_text("\n" + "\n".join(lines))
    assert place("rows.jsonl", ROWS[3]) == "rows.jsonl:5"
    assert place("rows.jsonl", "and its second line 28") == "rows.jsonl:6"
    assert place("rows.jsonl", "and its second line 21") == "rows.jsonl:5 and 2 more"


def test_a_row_of_csv_counts_the_header_and_lines_within_quotes():
    with Path("rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["n", "text"])
        writer.writerows([n, row] for n, row in enumerate(ROWS))
    raw = Path("rows.csv").read_text().splitlines()
    assert raw[7].endswith("verse 3 of the song of the sea")
    assert place("rows.csv", ROWS[3], column="text") == "rows.csv:8"
    assert place("rows.csv", "and its second line 28") == "rows.csv:11"


def test_long_files_are_read_in_pieces(monkeypatch):
    lines = [f"{n}: {'x' * 100} {n * n}" for n in range(30_000)]
    Path("long.txt").write_text("\n".join(lines))
    for n in (0, 9_871, 9_872, 29_999):
        assert find(["long.txt"], f"{lines[n]}\n", before="\n" * (n > 0)) == f"long.txt:{n + 1}"
        if n:
            assert find(["long.txt"], lines[n - 1][-6:] + "\n" + lines[n]) == f"long.txt:{n}"


def test_what_is_not_in_one_piece_is_found_by_a_part():
    Path("song.txt").write_text("\n".join(LINES))
    assert find(["song.txt"], LINES[8] + LINES[9]) == "song.txt:9"


def test_a_text_that_is_gone_or_another_has_no_place():
    Path("song.txt").write_text("\n".join(LINES))
    assert find(["song.txt", "none.txt", "-", "builtin:x"], "quite something else") is None
    Path("song.txt").write_bytes(b"\xff\x00")
    assert find(["song.txt"], LINES[3]) is None
    assert find(["song.txt"], "") is None


def test_what_stands_around_a_passage_tells_equal_passages_apart():
    verses = [f"verse {n}\nO sea, O sea, and all its gulls!\nand {n * n}\n" for n in range(50)]
    Path("song.txt").write_text("".join(verses))
    chorus = "O sea, O sea, and all its gulls!"
    assert find(["song.txt"], chorus, before="verse 30\n") == "song.txt:92"
    assert find(["song.txt"], chorus, after="\nand 49\nverse 8") == "song.txt:23"
    assert find(["song.txt"], chorus) == "song.txt:2 and 49 more"
    Path("again.txt").write_text("".join(verses))
    assert find(["song.txt", "again.txt"], verses[7]) == "song.txt:22 and 1 more"


def test_only_the_column_of_the_text_is_looked_into():
    rows = [f'{ROWS[n]!r},"{LINES[n]}"\n' for n in range(30)]
    Path("rows.csv").write_text(
        "note,text\n" + "".join(rows).replace("'", '"').replace("\\n", "\n")
    )
    assert place("rows.csv", LINES[11]) == "rows.csv:25"
    assert place("rows.csv", ROWS[11].partition("\n")[0]) is None
    with Path("rows.jsonl").open("w") as file:
        for n in range(30):
            file.write(json.dumps({"text": LINES[n], "note": ROWS[n]}) + "\n")
    assert place("rows.jsonl", LINES[4]) == "rows.jsonl:5"
    assert place("rows.jsonl", "its second line 28") is None


def test_rows_without_lines_have_numbers():
    from pyarrow import parquet, table

    parquet.write_table(table({"text": LINES}), "rows.parquet")
    assert find(["rows.parquet"], LINES[41]) == "rows.parquet, row 42"
    Path("rows.json").write_text(json.dumps({"rows": [{"text": line} for line in LINES]}))
    assert find(["rows.json"], LINES[41]) == "rows.json, row 42"
