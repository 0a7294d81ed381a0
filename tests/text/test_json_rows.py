"""JSON: lists of rows wherever they are, paths to texts, lines, and what is refused."""

from __future__ import annotations

import json

import pytest

from chargen.cli.main import run
from chargen.errors import CorpusError
from chargen.text.corpus import open_corpus
from chargen.text.reading import Reading


def read(path, **options):
    """The text of each row, and the notes."""
    corpus = open_corpus([str(path)], documents="files", reading=Reading(**options))
    pieces = [piece.decode() if isinstance(piece, bytes) else piece for piece in corpus.pieces()]
    texts = "".join("⏹" if piece is None else piece for piece in pieces)
    return texts.split("⏹")[:-1], corpus.notes()


CONVERSATION = [{"role": "user", "content": "Hi there"}, {"role": "bot", "content": "Hello you"}]
PARTS = [{"type": "text", "text": "part one, "}, {"type": "text", "text": "part two"}]


@pytest.mark.parametrize(
    ("value", "column", "texts", "told"),
    [
        (["eins", "zwei"], None, ["eins", "zwei"], "2 rows, column text"),
        ([["a", "b"], ["c"]], None, ["a\nb", "c"], "2 rows, column text"),
        (["eins", None], None, ["eins"], "2 rows, column text, 1 without text"),
        ([{"n": 1, "body": "x"}], None, ["x"], "1 row, column body"),
        # The answer of an API: its rows are in a list beside other things.
        (
            {"status": "ok", "message": "fine", "data": [{"id": 1, "body": "x"}], "next": None},
            None,
            ["x"],
            "1 row, list data, column body",
        ),
        (
            {"data": [{"body": "x"}], "links": [{"rel": "self"}]},
            None,
            ["x"],
            "1 row, list data, column body",
        ),
        (
            {"data": {"children": [{"kind": "t3", "data": {"selftext": "a story"}}]}},
            "data.children.data.selftext",
            ["a story"],
            "1 row, list data.children, column data.selftext",
        ),
        ({"data": {"texts": ["a", "b"]}}, "data.texts", ["a", "b"], "list data.texts, column text"),
        # Conversations, and messages in parts.
        (
            [{"id": "q", "messages": CONVERSATION}],
            "messages.content",
            ["Hi there\nHello you"],
            "1 row, column messages.content",
        ),
        (
            {"messages": CONVERSATION},
            "messages.content",
            ["Hi there", "Hello you"],
            "2 rows, list messages, column content",
        ),
        ([{"id": 1, "msg": {"body": "x"}}], None, ["x"], "1 row, column msg.body"),
        ([{"id": 1, "content": PARTS}], None, ["part one, part two"], "1 row, column content"),
        # Rows by their names; one document; the texts of a program.
        (
            {"p1": {"text": "eins", "tags": ["x"]}, "p2": {"text": "zwei"}},
            None,
            ["eins", "zwei"],
            "2 rows, column text",
        ),
        (
            {"title": "T", "text": "one document", "tags": ["a", "b"]},
            None,
            ["one document"],
            "1 row, column text",
        ),
        ({"hello": "Hallo", "bye": "Tschüss"}, None, ["Hallo", "Tschüss"], "2 rows, column text"),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_rows_are_found(tmp_path, value, column, texts, told, as_bytes):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    found, (note,) = read(path, column=column, as_bytes=as_bytes)
    assert found == texts
    assert note.startswith("a.json: ")
    assert note.endswith(told)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_can_have_another_encoding(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(["Größe"], ensure_ascii=False).encode(encoding))
    assert read(path)[0] == ["Größe"]
    path.write_bytes('["Größe"]'.encode("latin-1"))
    assert read(path, encoding="latin-1")[0] == ["Größe"]


def test_lines_of_objects_may_be_called_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"text": "eins"}\n\n{"text": "zwei"}\n', encoding="utf-8")
    assert read(path)[0] == ["eins", "zwei"]
    path.write_text('{"text": "eins"}\n', encoding="utf-8")
    assert read(path)[0] == ["eins"]


def test_lines_may_be_strings(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text('"eins"\n"zwei"\n', encoding="utf-8")
    assert read(path) == (["eins", "zwei"], ["a.ndjson: 2 rows, column text"])


def nested(levels, inner="[]"):
    return "[" * levels + inner + "]" * levels


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.json", "", None, r"the file is empty$"),
        ("a.json", " \n", None, r"the file is empty$"),
        ("a.json", "[]", None, r"the table has no rows$"),
        ("a.json", "{}", None, r"no list of rows in it; give a list of texts"),
        ("a.json", "null", None, r"no list of rows in it"),
        ("a.json", '["a", "b', None, r"cannot be read as json: it is cut off$"),
        ("a.json", '{"a": [1, ', None, r"cannot be read as json: it is cut off$"),
        ("a.json", "id,text\n1,a\n", None, r"cannot be read as json: Expecting value in line 1$"),
        ("a.json", "1 2", None, r"Extra data in line 1; if each line .* name the file \.jsonl$"),
        ("a.json", "hello", None, r"cannot be read as json: Expecting value in line 1$"),
        ("a.json", "[1, 2]", None, r"no column holds text"),
        ("a.json", '["a", 5]', None, r"column 'text' holds int, not text, in row 2"),
        ("a.json", "[{}]", None, r"no column holds text; give another file; there are: none$"),
        ("a.json", nested(500), None, r"no column holds text"),
        ("a.json", nested(100_000), None, r"nested too deeply$"),
        ("a.json", '{"a":' * 500 + "1" + "}" * 500, None, r"no list of rows in it"),
        ("a.json", "[1" + "0" * 5000 + "]", None, r"cannot be read as json: "),
        (
            "a.json",
            json.dumps([{"id": "q", "messages": CONVERSATION}]),
            None,
            r"which column holds the text\?.*there are: id, messages.role, messages.content$",
        ),
        (
            "a.json",
            json.dumps([{"id": 1, "data": {"x": "a", "y": "b"}}]),
            None,
            r"no column holds text.*with column='NAME'; there are: id, data\.x, data\.y$",
        ),
        (
            "a.json",
            json.dumps({"a": [{"body": "x"}], "b": [{"body": "y"}]}),
            None,
            r"which list holds the text\?.*column='LIST.NAME'; there are: a, b$",
        ),
        ("a.json", '[{"body": "x"}]', "bdy", r"no column 'bdy'; there are: body$"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b', None, r"a\.jsonl:2: .*the line is cut off$"),
        ("a.jsonl", '{"text": "a"}\n{"text": ', None, r"a\.jsonl:2: .*the line is cut off$"),
        ("a.jsonl", '{"text": "a"}\n{"text": "\\u00', None, r"a\.jsonl:2: .*the line is cut off$"),
        ("a.jsonl", '[\n{"text": "a"}\n]\n', None, r"a\.jsonl:1: .*name the file \.json$"),
        ("a.jsonl", '[{"text": "a"}]\n', None, r"a\.jsonl:1: .*name the file \.json$"),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_bad_json_is_an_error_of_one_line(tmp_path, name, content, column, message, as_bytes):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=message) as error:
        read(path, column=column, as_bytes=as_bytes)
    assert "\n" not in str(error.value)


def test_texts_nested_too_deeply_are_no_texts(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'[{{"text": {nested(500, chr(34) * 2)}}}]', encoding="utf-8")
    assert read(path, column="text") == ([], ["a.json: 1 row, column text, 1 without text"])


@pytest.mark.parametrize("content", ['["a", "b', "[1, 2]", "", nested(100_000)])
def test_bad_json_leaves_nothing_behind(tmp_path, capsys, content):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert run(["train", "a.json", "--steps", "2", "--hidden-size", "8"]) == 3
    assert capsys.readouterr().err.startswith("chargen: a.json: ")
    assert not (tmp_path / "checkpoints").exists()
