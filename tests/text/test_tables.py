"""Tables of text: what is found in them, what is said of it, and what is refused."""

from __future__ import annotations

import codecs
import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.errors import CorpusError
from chargen.text.corpus import open_corpus
from chargen.text.reading import Reading


def read(path, **options):
    """The text of each row, and the notes."""
    corpus = open_corpus([str(path)], documents="files", reading=Reading(**options))
    texts = "".join("⏹" if piece is None else piece for piece in corpus.pieces())
    return texts.split("⏹")[:-1], corpus.notes()


@pytest.mark.parametrize(
    ("content", "texts", "told"),
    [
        # As Excel writes it: the delimiter in the first line, decimal commas, \r\n.
        (
            'sep=;\r\nPreis;Ware\r\n1,50;"Brot, frisch"\r\n2,30;Milch\r\n',
            ["Brot, frisch", "Milch"],
            "2 rows, delimiter ;, column Ware",
        ),
        ("sep=\t\nid\ttext\n1\thallo\n", ["hallo"], "1 row, delimiter tab, column text"),
        ("\n\nid;text\n1;hallo\n", ["hallo"], "1 row, delimiter ;, column text"),
        ("text|lang\nhallo|de\n", ["hallo"], "1 row, delimiter |, column text"),
        # Commas of numbers and of prose divide nothing where something else does.
        ("1,50;Brot\n2,30;Milch\n", ["Brot", "Milch"], "2 rows, delimiter ;, no header, column 2"),
        (
            "1;Hello, world\n2;Foo, bar\n",
            ["Hello, world", "Foo, bar"],
            "2 rows, delimiter ;, no header, column 2",
        ),
        # pandas leaves the name of its index empty.
        (
            ",text,label\n0,hello there,1\n1,good bye,0\n",
            ["hello there", "good bye"],
            "2 rows, delimiter a comma, column text",
        ),
        ("id,text,text\n1,first,second\n", ["first"], "1 row, delimiter a comma, column text"),
        (" id , text\n1, x\n", [" x"], "1 row, delimiter a comma, column text"),
        ("id;text\n1;x;\n2;y;\n", ["x", "y"], "2 rows, delimiter ;, column text"),
        ("id,text\r1,old mac\r2,lines\r", ["old mac", "lines"], "delimiter a comma, column text"),
        ('id,text\n1,"two\nlines"\n', ["two\nlines"], "1 row, delimiter a comma, column text"),
        # Rows without a header are all kept.
        (
            "Roses are red\nViolets are blue\n",
            ["Roses are red", "Violets are blue"],
            "2 rows, delimiter a comma, no header, column 1",
        ),
        (
            "2020-01-01,a note\n2020-01-02,one more\n",
            ["a note", "one more"],
            "no header, column 2",
        ),
        ('"text"\n"a, b"\n"c"\n', ["a, b", "c"], "2 rows, delimiter a comma, column text"),
        # A first row that may be data is named.
        ("Wer,n\nanna,1\n", ["anna"], "1 row, delimiter a comma, column Wer"),
        ("Wer,Was\nanna,\n", ["anna"], "first row taken as header (Wer | Was), column Wer"),
    ],
)
def test_a_table_is_read_as_its_program_wrote_it(tmp_path, content, texts, told):
    path = tmp_path / "a.csv"
    path.write_text(content, encoding="utf-8", newline="")
    found, (note,) = read(path)
    assert found == texts
    assert note.startswith("a.csv: ")
    assert note.endswith(told)
    for encoding, mark in (("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE)):
        path.write_bytes(mark + content.encode(encoding))
        assert read(path) == (texts, [note])


def test_quotes_of_tab_tables_are_text_if_they_are_not_closed(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('1\t"Hello" he said\n2\tplain\n', encoding="utf-8")
    texts, notes = read(path)
    assert texts == ['"Hello" he said', "plain"]
    told = "a.tsv: 2 rows, delimiter tab, no header, quotes taken as text, column 2"
    assert notes == [told]
    path.write_text('id\ttext\n1\t"a\nb"\n2\tplain\n', encoding="utf-8")
    assert read(path)[0] == ["a\nb", "plain"]


def test_columns_are_named_by_number_where_they_have_no_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Haus;house\nBaum;tree\n", encoding="utf-8")
    assert read(path, column="2")[0] == ["house", "tree"]
    assert read(path, column="Haus")[0] == ["Baum"], "who names a column names the header"
    with pytest.raises(CorpusError, match=r"which column.*there are: Haus, house"):
        read(path)
    path.write_text("PIN;text\n0001;x\n", encoding="utf-8")
    assert read(path, column="1")[0] == read(path, column="PIN")[0] == ["0001"]


def test_a_delimiter_can_be_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text\nHello, world\nBar, baz, qux\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.csv:2: .*read whole lines with delimiter='tab'$"):
        read(path)
    assert read(path, delimiter="tab")[0] == ["Hello, world", "Bar, baz, qux"]
    path.write_text("id:text\n1:a,b;c\n", encoding="utf-8")
    assert read(path, delimiter=":")[0] == ["a,b;c"]


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\x1a\ufeff"), max_size=12)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS.filter(bool)), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|:"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_csv_writes_is_read_back(tmp_path, rows, delimiter, quoting, encoding, line_end):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerows([("note", "text"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    texts, _ = read(path, column="text", delimiter="tab" if delimiter == "\t" else delimiter)
    assert texts == [text for _, text in rows]


@settings(max_examples=40)
@given(
    texts=st.lists(st.text("abc ,;'\"\n", min_size=1, max_size=9), min_size=3, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
)
def test_the_delimiter_is_found_if_every_row_has_it(tmp_path, texts, delimiter):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("id", "text"), *enumerate(texts)])
    path = tmp_path / "a.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    assert read(path, column="text")[0] == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r": the file is empty$"),
        (b"\n\n", r": the file is empty$"),
        (b"sep=;\n", r": the table has no rows$"),
        (b"id,text\n", r": the table has no rows$"),
        (b"id,n\n1,2\n", r"no column holds text.*there are: id, n$"),
        (b'id,text\n1,"cut', r"the quote in line 2 is not closed$"),
        (b"id,text\n1,a\n2,a\0b\n", r"a\.csv:3: binary, not text \(a zero byte\).*'skip'"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"binary, not text.*it is an image"),
        (b"id,text\n1,caf\xe9\n", r"a\.csv:2: not UTF-8 \(byte 0xE9\).*encoding='cp1252'$"),
        (b'{"text": "a"}\n{"text": "b"}\n', r": holds JSON, and no table; name the file \.json$"),
        (b'[\n {"text": "a"}\n]\n', r": holds JSON, and no table; name the file \.json$"),
        (b"PAR1\x15\x04\0\0", r"it is a parquet table; name it \.parquet"),
        (b"a,b\n1,2,3\n", r"a\.csv:2: cannot be read as csv: 3 fields, but 2 columns"),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_bad_tables_are_an_error_of_one_line(tmp_path, content, message, as_bytes):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message) as error:
        read(path, as_bytes=as_bytes)
    assert "\n" not in str(error.value)


def test_zeros_and_wrong_bytes_of_a_table_can_be_replaced(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n1,a\0b\n2,caf\xe9\n")
    texts, notes = read(path, encoding_errors="skip")
    assert texts == ["ab", "caf"]
    assert f"{path}: wrong bytes left out (1 not UTF-8 and 1 zero), the first at {path}:2" in notes
