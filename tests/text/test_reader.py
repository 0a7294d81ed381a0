"""Corpora: which files are read, skipped or refused, and their documents."""

from __future__ import annotations

import codecs
import gc
import hashlib
import io
import json
import os
import subprocess
import sys

import pytest

from chargen.errors import CorpusError, NetworkError, UsageError
from chargen.text.corpus import Corpus, open_corpus
from chargen.text.reading import Reading
from chargen.text.recipes import recipes
from chargen.text.sources import PipeSource


def read(*names, documents="whole", **reading) -> str:
    corpus = open_corpus(
        [str(name) for name in names], documents=documents, reading=Reading(**reading)
    )
    return "".join("⏹" if piece is None else piece for piece in corpus.pieces())


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_unicode_encodings_are_recognised(tmp_path, mark, encoding):
    text = "Größe, 文字, 😀\nende\n"
    path = tmp_path / "a.txt"
    path.write_bytes(mark + text.encode(encoding))
    assert read(path) == text


def test_line_ends_become_newlines_but_bytes_stay(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\nb\rc\n")
    assert read(path) == "a\nb\nc\n"
    raw = open_corpus([str(path)], reading=Reading(as_bytes=True))
    assert b"".join(raw.pieces()) == b"a\r\nb\rc\n"


def test_large_files_come_in_pieces_that_end_with_lines(tmp_path):
    path = tmp_path / "a.txt"
    text = "".join(f"line {k} ✓\n" for k in range(200_000))
    path.write_text(text, encoding="utf-8", newline="\n")
    corpus = open_corpus([str(path)])
    reading = corpus.pieces()
    pieces = list(reading)
    assert len(pieces) > 2
    assert "".join(pieces) == text
    assert all(piece.endswith("\n") for piece in pieces if piece)
    (fingerprint,) = reading.fingerprints
    assert corpus.fingerprints() == (fingerprint,)
    assert fingerprint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert fingerprint.bytes == path.stat().st_size
    assert fingerprint.name == "a.txt"


def test_a_line_can_be_longer_than_many_chunks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("word " * 2_000_000, encoding="utf-8")
    assert read(path) == "word " * 2_000_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "naïve café".encode("latin-1"),
            r":1: not UTF-8 \(byte 0xEF\): it may be cp1252; use encoding_errors='replace', "
            r"or use encoding='cp1252', or use tokenizer='byte'$",
        ),
        (b"PNG\0\1\2", r":1: binary.*zero byte.*use tokenizer='byte'"),
    ],
)
def test_other_encodings_and_binaries_are_an_error_of_one_line(tmp_path, data, message):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=message) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_named_encoding_is_used(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve café".encode("cp1252"))
    assert read(path, encoding="cp1252") == "naïve café"
    raw = open_corpus([str(path)], reading=Reading(as_bytes=True, encoding="cp1252"))
    assert b"".join(raw.pieces()) == "naïve café".encode()


@pytest.mark.parametrize("name", ["nonsense", "base64", "rot13", ""])
def test_unknown_encodings_are_usage_errors(name):
    with pytest.raises(UsageError, match=f"--encoding {name}"):
        Reading(encoding=name)


def test_folders_are_sorted_recursive_and_say_what_they_skip(tmp_path):
    folder = tmp_path / "books"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "b" / "2.txt").write_text("two\n", encoding="utf-8")
    (folder / "a.txt").write_text("one", encoding="utf-8")
    (folder / "c.txt").write_text("three\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    (folder / "old.txt").write_bytes(b"caf\xe9")
    (folder / ".git" / "config").write_text("hidden", encoding="utf-8")
    corpus = open_corpus([str(folder)])
    assert "".join(corpus.pieces()) == "one\ntwo\nthree\n"
    (note,) = corpus.notes()
    assert note == f"{folder}: skipped 2 of 5 files: old.txt (not UTF-8), picture.png (binary)"


def test_files_mode_ends_each_document(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name * 3, encoding="utf-8")
    assert read(tmp_path / "a.txt", tmp_path / "b.txt", documents="files") == "aaa⏹bbb⏹"
    assert read(tmp_path / "a.txt", tmp_path / "b.txt") == "aaa\nbbb"


def test_a_folder_without_text_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no text file"):
        read(tmp_path / "empty")


def test_the_error_of_a_missing_file_names_a_similar_file(tmp_path):
    (tmp_path / "novel.txt").write_text("x", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"did you mean 'novel\.txt'\?"):
        open_corpus([str(tmp_path / "novle.txt")])
    with pytest.raises(CorpusError, match="no folder"):
        open_corpus([str(tmp_path / "no" / "where.txt")])
    with pytest.raises(CorpusError, match="builtin:python-docs"):
        open_corpus(["python-docs"])
    with pytest.raises(CorpusError, match="did you mean 'python-docs'"):
        open_corpus(["builtin:pyhton-docs"])


def test_standard_input_can_be_read_twice():
    source = PipeSource(stream=io.BytesIO(b"zwei Mal\n"))
    corpus = Corpus(sources=[source])
    assert "".join(corpus.pieces()) == "".join(corpus.pieces()) == "zwei Mal\n"


def test_tables_are_read_by_row(tmp_path):
    rows = [{"n": 1, "text": "erste"}, {"n": 2, "text": "zweite\r\nZeile"}, {"n": 3, "text": None}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read(path, documents="files") == "erste⏹zweite\nZeile⏹"
    assert read(path) == "erste\nzweite\nZeile"
    assert read(path, column="text", documents="files") == "erste⏹zweite\nZeile⏹"
    corpus = open_corpus([str(path)])
    list(corpus.pieces())
    assert corpus.notes() == ["a.jsonl: 3 rows, column text, 1 without text"]
    csv = tmp_path / "a.csv"
    csv.write_text("who,said\nanna,hallo\n", encoding="utf-8")
    assert read(csv, column="said") == "hallo"


def test_parquet_is_read(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"body": ["eins", "zwei"]}), path)
    assert read(path, documents="files") == "eins⏹zwei⏹"


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.csv", "who,said\nanna,hallo\n", None, "which column.*who, said"),
        ("a.csv", "who,said\nanna,hallo\n", "text", "no column 'text'.*who, said"),
        (
            "a.csv",
            "n\n1\n",
            None,
            "no column holds text; choose one with column=.*; there are: n",
        ),
        ("a.csv", "a,b\nx,y\n1,2,3\n", "a", r"a\.csv:3: cannot be read as csv: 3 fields"),
        (
            "a.csv",
            'a\nx\n"open\nend\n',
            None,
            "cannot be read as csv: the quote in line 3 is not closed",
        ),
        ("a.csv", 'a\nx\n"open', None, "cannot be read as csv: the quote in line 3 is not closed"),
        ("a.jsonl", '{"n": 1}\n', "n", "holds int, not text, in row 1"),
        ("a.jsonl", '{"n": 1}\n', None, "no column holds text.*there are: n"),
        ("a.jsonl", '{"n": 1}\n', "text", "no column 'text'; there are: n"),
        ("a.jsonl", '{"n": 1}\n' * 2000, "text", "no column 'text'; there are: n"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', None, r"a\.jsonl:2: cannot be read as jsonl"),
        ("a.jsonl", '{"text": "a"}\n\n["b"]\n', None, r"a\.jsonl:3: cannot be read as jsonl.*list"),
        ("a.jsonl", "", None, "is empty"),
        ("a.parquet", "PAR1 not really", None, "cannot be read as parquet"),
        ("a.jsonl", '{"text":' + "[" * 90_000 + "]" * 90_000 + "}", None, "nested too deeply"),
    ],
)
@pytest.mark.filterwarnings(
    # datasets leaves the file of a table that it gives up on to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_bad_tables_are_an_error_of_one_line(tmp_path, name, content, column, message):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=message) as error:
        read(path, column=column)
    assert "\n" not in str(error.value)
    gc.collect()


@pytest.mark.parametrize("name", ["hf:somebody/something", "builtin:tiny-stories"])
def test_a_missing_network_is_an_error_of_one_line(name):
    with pytest.raises(NetworkError, match=f"^{name}: no network") as error:
        read(name)
    assert "\n" not in str(error.value)


def test_the_built_in_corpora_are_real_text():
    by_name = {recipe.name: recipe for recipe in recipes()}
    assert {"python-docs", "python-code", "tiny-shakespeare", "tiny-stories", "enwik8"} <= set(
        by_name
    )
    docs = read("builtin:python-docs")
    assert 400_000 < len(docs) < 800_000
    assert "Boolean operations" in docs
    assert read() == docs
    assert not by_name["python-docs"].needs_network
    assert by_name["enwik8"].needs_network


def test_the_standard_library_is_a_corpus():
    code = read("builtin:python-code")
    assert len(code) > 5_000_000
    assert "def namedtuple(" in code


def test_a_named_pipe_is_read_once_and_used_twice(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    corpus = open_corpus([str(path)])
    with subprocess.Popen([sys.executable, "-c", f"open({str(path)!r}, 'w').write('durch')"]):
        assert "".join(corpus.pieces()) == "durch"
    assert "".join(corpus.pieces()) == "durch"


@pytest.mark.parametrize("name", ["", "/dev/null", "x" * 300, "a\0b"])
def test_names_that_cannot_be_files_are_refused(name):
    with pytest.raises(CorpusError):
        open_corpus([name])


@pytest.mark.parametrize("encoding", ["utf-16", "punycode", "undefined"])
def test_wrong_encodings_are_an_error_of_one_line(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("naïve – text".encode("cp1252") * 3)
    with pytest.raises(CorpusError, match=r"a\.txt:1: not .*use encoding='cp1252'"):
        read(tmp_path / "a.txt", encoding=encoding)


def test_rows_without_text_are_skipped_until_the_column_is_known(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"t": null}\n{"t": "eins"}\n{"t": null}\n{"t": "zwei"}\n', encoding="utf-8")
    assert read(path) == "eins\nzwei"


@pytest.mark.parametrize("name", ["y[1].csv", "x*.csv", "a::b.csv"])
def test_names_of_tables_are_not_read_as_patterns(tmp_path, name):
    for other in ("y1.csv", "xA.csv", "b.csv"):
        (tmp_path / other).write_text("text\nothers\n", encoding="utf-8")
    (tmp_path / name).write_text("text\nmine\n", encoding="utf-8")
    assert read(tmp_path / name) == "mine"


def test_tables_can_have_another_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé\n".encode("latin-1"))
    assert read(path, encoding="latin-1") == "café"
    path.write_bytes("text\ncafé\n".encode("utf-16"))
    assert read(path) == "café"
    rows = tmp_path / "a.jsonl"
    rows.write_bytes('{"text": "café"}\n'.encode("latin-1"))
    assert read(rows, encoding="latin-1") == "café"
    parquet = tmp_path / "a.parquet"
    parquet.write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="--encoding has no effect"):
        read(parquet, encoding="latin-1")


def test_rows_without_text_are_counted_and_words_such_as_null_are_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n{"text": "b"}\n', encoding="utf-8")
    corpus = open_corpus([str(path)])
    assert "".join(corpus.pieces()) == "a\nb"
    assert corpus.notes() == ["a.jsonl: 3 rows, column text, 1 without text"]
    csv = tmp_path / "a.csv"
    csv.write_text("text\nNA\nnull\nwort\n", encoding="utf-8")
    assert read(csv) == "NA\nnull\nwort"


def test_fields_of_csv_are_not_converted(tmp_path):
    """No number, date or truth value is guessed, in the column that is chosen or beside it."""
    path = tmp_path / "a.csv"
    values = ["007", "1e5", "2020-01-01", "True", "nan", " x ", '"a, ""b""\nc"', "1_000"]
    rows = "".join(f"{number},{value}\n" for number, value in enumerate(values))
    path.write_text(f"id,body\n{rows}", encoding="utf-8")
    expected = [*values[:6], 'a, "b"\nc', "1_000"]
    assert read(path, documents="files") == "".join(f"{value}⏹" for value in expected)
    path.write_text("id,text\n1,007\n2,1e5\n", encoding="utf-8")
    assert read(path) == "007\n1e5", "a column called text holds text, whatever it looks like"
    assert read(path, column="id") == "1\n2"


def test_texts_of_json_lines_are_not_converted(tmp_path):
    path = tmp_path / "a.jsonl"
    values = ["2020-01-01", "1e5", "2020-01-01T00:00:00Z", "NaN", "\ud800x", "ü"]
    rows = [json.dumps({"n": number, "text": value}) for number, value in enumerate(values)]
    path.write_text("\n\n".join(rows), encoding="utf-8-sig")
    assert read(path, documents="files") == "".join(
        f"{value}⏹" for value in [*values[:4], "?x", "ü"]
    )
    corpus = open_corpus([str(path)], reading=Reading(as_bytes=True), documents="files")
    pieces = [piece for piece in corpus.pieces() if piece is not None]
    assert pieces == [value.encode("utf-8", "replace") for value in values]


def test_a_column_may_be_missing_in_some_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n{"n": NaN, "text": "eins"}\n{"text": "zwei", "m": [{}]}\n')
    assert read(path) == read(path, column="text") == "eins\nzwei"


def test_csv_may_have_short_rows_and_long_fields(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n1\r\n2," + b"x" * 300_000 + b"\r\n3,\r\n")
    corpus = open_corpus([str(path)], reading=Reading(encoding="utf-8"))
    assert "".join(corpus.pieces()) == "x" * 300_000
    assert corpus.notes() == ["a.csv: 3 rows, delimiter a comma, column b, 1 without text"]


def test_csv_in_another_encoding_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text\nx\ncafé\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"a\.csv:3: not UTF-8 .*use encoding='cp1252'$"):
        read(path)


def test_lines_and_csv_are_streamed(tmp_path):
    """The first row is there before a damaged last one is read."""
    row = json.dumps({"text": "x" * 1000})
    lines = tmp_path / "a.jsonl"
    lines.write_text(f"{row}\n" * 1000 + "{", encoding="utf-8")
    table = tmp_path / "a.csv"
    table.write_text("text,n\n" + f"{'x' * 1000},1\n" * 2000 + "1,2,3\n", encoding="utf-8")
    for path, line in ((lines, 1001), (table, 2002)):
        rows = open_corpus([str(path)]).pieces()
        assert next(rows) == "x" * 1000
        with pytest.raises(CorpusError, match=f":{line}: cannot be read"):
            list(rows)


def test_an_endless_binary_pipe_is_refused_after_its_first_bytes():
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    with pytest.raises(CorpusError, match="standard input:1: binary"):
        list(Corpus(sources=[PipeSource(stream=Endless())]).pieces())


def shards(folder, count=3, rows=40):
    """Parquet files of text, and what they say, row by row."""
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    texts = [f"shard {number}, row {row}: {'ü' * row}" for number in range(count)
             for row in range(rows)]  # fmt: skip
    for number in range(count):
        part = texts[number * rows : (number + 1) * rows]
        table = pyarrow.table({"id": list(range(rows)), "text": part})
        parquet.write_table(table, folder / f"part-{number:05}.parquet", row_group_size=7)
    return texts


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_folder_of_shards_is_one_table(tmp_path, as_bytes):
    texts = shards(tmp_path / "table")
    reading = Reading(as_bytes=as_bytes)
    corpus = open_corpus([str(tmp_path / "table")], documents="files", reading=reading)
    pieces = list(corpus.pieces())
    expected = [text.encode() if as_bytes else text for text in texts]
    assert pieces[::2] == expected
    assert set(pieces[1::2]) == {None}
    files = sorted(map(str, (tmp_path / "table").iterdir()))
    by_name = open_corpus(files, documents="files", reading=reading)
    assert list(by_name.pieces()) == pieces


def test_each_file_of_a_folder_is_read_as_what_it_is(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    (folder / "b.csv").write_text("id,text\n1,two\n2,three\n")
    (folder / "c.csv").write_text("x,y\n1,2\n")
    corpus = open_corpus([str(folder)])
    assert "".join(corpus.pieces()) == "one\ntwo\nthree"
    assert corpus.notes() == [
        "mixed/b.csv: 2 rows, delimiter a comma, column text",
        f"{folder}: skipped 1 of 3 files: c.csv (no column holds text)",
    ]


def test_tables_are_streamed_and_not_read_at_once(tmp_path, monkeypatch):
    import datasets

    calls = []
    load = datasets.load_dataset

    def watched(*names, **options):
        table = load(*names, **options)
        calls.append((names[0], options["streaming"], type(table)))
        return table

    monkeypatch.setattr(datasets, "load_dataset", watched)
    texts = shards(tmp_path / "table", count=2)
    rows = open_corpus([str(tmp_path / "table" / "part-00000.parquet")]).pieces()
    assert next(rows) == texts[0]
    rows.close()
    rest = open_corpus([str(tmp_path / "table" / "part-00001.parquet")]).pieces()
    assert [piece for piece in rest if piece != "\n"] == texts[40:]
    assert calls == [("parquet", True, datasets.IterableDataset)] * 2
