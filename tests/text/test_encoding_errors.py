"""Bytes that are no text: what is refused, replaced, left out, repaired or guessed."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargen.cli.main import run
from chargen.errors import CorpusError, UsageError
from chargen.text.corpus import open_corpus
from chargen.text.reader import TextDecoder
from chargen.text.reading import Reading

BLOCK = 1 << 20


def read(path, **options):
    """The text, and the notes without the path."""
    corpus = open_corpus([str(path)], reading=Reading(**options))
    pieces = [piece for piece in corpus.pieces() if piece is not None]
    notes = [note.replace(f"{path}", path.name) for note in corpus.notes()]
    return (b"" if options.get("as_bytes") else "").join(pieces), notes


def decoded(blocks, reading):
    decoder = TextDecoder("a.txt", reading)
    return "".join(decoder.decode(block) for block in [*(b for b in blocks if b), b""])


def pythons(data: bytes, errors: str) -> str:
    """What Python's own decoder and its universal line ends make of bytes."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors)
    text = text.replace("\0", "\ufffd" if errors == "replace" else "")
    return io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)


ENCODINGS = [None, "auto", "utf-8", "utf-16-le", "utf-32-be", "cp1252", "shift_jis", "gb18030"]
UNMARKED = st.binary(max_size=60).filter(lambda data: data[:2] not in (b"\xff\xfe", b"\xfe\xff"))
# No halves of pairs: those are read, where Python's own decoder finds wrong bytes.
BYTES = UNMARKED.filter(lambda data: b"\xed" not in data)
MIXED = st.lists(st.one_of(st.text(max_size=5).map(
    lambda text: text.encode("utf-8", "replace")), BYTES), max_size=6).map(b"".join).filter(
    lambda data: b"\xed" not in data and data[:2] not in (b"\xff\xfe", b"\xfe\xff"))  # fmt: skip


@settings(max_examples=300)
@given(data=MIXED, cuts=st.lists(st.integers(1, 60), max_size=4), name=st.sampled_from(
    ["replace", "skip"]))  # fmt: skip
def test_any_bytes_are_read_as_python_reads_them(data, cuts, name):
    bounds = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    # The first block must hold a whole mark, as the first block of every file does.
    bounds = [bound for bound in bounds if bound not in (1, 2, 3) or bound == len(data)]
    blocks = [data[a:b] for a, b in pairwise(bounds)]
    expected = pythons(data, {"skip": "ignore"}.get(name, name))
    if not data.startswith(b"\0\0\xfe\xff"):  # the mark of UTF-32
        assert decoded(blocks, Reading(encoding_errors=name)) == expected


@settings(max_examples=100)
@given(data=st.binary(max_size=50), encoding=st.sampled_from(ENCODINGS))
@pytest.mark.parametrize("errors", ["replace", "skip"])
def test_nothing_fails_when_wrong_bytes_are_let_through(errors, data, encoding):
    reading = Reading(encoding=encoding, encoding_errors=errors)
    text = decoded([data], reading)
    assert "\0" not in text
    for sentence in reading.notes:
        assert sentence.startswith("a.txt: ")


def cesu(text: str) -> bytes:
    """Each half of a surrogate pair in three bytes, as Java and old databases write them."""
    halves = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    units = halves.encode("utf-16-be")
    codes = [int.from_bytes(units[k : k + 2], "big") for k in range(0, len(units), 2)]
    return b"".join(chr(code).encode("utf-8", "surrogatepass") for code in codes)


@given(text=st.text("a😀𝄞힣\ud7ff", min_size=1, max_size=8), cuts=st.sets(st.integers(1, 40)))
def test_surrogate_pairs_are_read_wherever_a_block_ends(text, cuts):
    data = b"begin" + cesu(text)
    bounds = sorted({0, len(data), *(5 + cut for cut in cuts if 5 + cut < len(data))})
    blocks = [data[a:b] for a, b in pairwise(bounds)]
    assert decoded(blocks, Reading()) == "begin" + text


@pytest.mark.parametrize("before", range(13))
def test_surrogate_pairs_are_read_across_the_blocks_of_a_file(tmp_path, before):
    path = tmp_path / "a.txt"
    start = "x" * (BLOCK - before)
    path.write_bytes(start.encode() + cesu("😀😀") + "\nEnde 한\n".encode())
    assert read(path)[0] == f"{start}😀😀\nEnde 한\n"


@pytest.mark.parametrize("half", ["\ud83d", "\ude00\ud83d"])
def test_half_of_a_pair_is_wrong(tmp_path, half):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n" + half.encode("utf-8", "surrogatepass"))
    with pytest.raises(CorpusError, match=r"a\.txt:2: not UTF-8 \(byte 0xED\)"):
        read(path)
    assert read(path, encoding_errors="skip")[0] == "one\n"


def test_what_was_wrong_is_counted_and_placed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("gut\r\nz\0ero\r\nschlecht \xff\xfe\nEnde\0\n".encode("latin-1"))
    told = "(2 not UTF-8 and 2 zero), the first at a.txt:2"
    text = "gut\nz\ufffdero\nschlecht \ufffd\ufffd\nEnde\ufffd\n"
    assert read(path, encoding_errors="replace") == (
        text, [f"a.txt: wrong bytes replaced {told}"])  # fmt: skip
    assert read(path, encoding_errors="skip") == (
        text.replace("\ufffd", ""), [f"a.txt: wrong bytes left out {told}"])  # fmt: skip
    data, _ = read(path, encoding_errors="replace", as_bytes=True)
    assert data == text.encode()
    assert read(path, as_bytes=True) == (path.read_bytes(), [])


def test_the_place_is_right_in_later_blocks(tmp_path):
    path = tmp_path / "a.txt"
    line = b"0123456789\r\n"
    lines = BLOCK // len(line) + 100
    for encoding_line, wrong in ((line, b"\xff"), ("über\n".encode(), b"\xff"), (line, b"\0")):
        path.write_bytes(encoding_line * lines * 3 + b"bad " + wrong + b"\n")
        with pytest.raises(CorpusError, match=rf"a\.txt:{lines * 3 + 1}: "):
            read(path)
        _, (note,) = read(path, encoding_errors="skip")
        assert note.endswith(f"the first at a.txt:{lines * 3 + 1}")


@pytest.mark.parametrize("position", [0, 5, BLOCK - 1, BLOCK, 2 * BLOCK + 7])
def test_zeros_are_judged_alike_wherever_they_stand(tmp_path, position):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * position + b"\0" + b"y" * 10)
    message = r"a\.txt:1: binary, not text \(a zero byte\); use encoding_errors='skip'"
    with pytest.raises(CorpusError, match=message):
        read(path)
    assert read(path, encoding_errors="skip")[0] == "x" * position + "y" * 10


def test_a_strict_error_names_the_way_out_first(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo \xff\n")
    with pytest.raises(CorpusError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}:2: not UTF-8 (byte 0xFF): it may be cp1252; use encoding_errors='replace', or "
        "use encoding='cp1252', or use tokenizer='byte'"
    )


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Ein Café über der Straße\nund noch eine Zeile\n", "cp1252"),
        ("Слово о полку Игореве, Игоря сына Святославля\n" * 3, "cp1251"),
        ("a wide text without a mark\n", "utf-16-le"),
        ("a wide text without a mark\n", "utf-16-be"),
    ],
)
def test_an_encoding_is_guessed_only_when_asked_for(tmp_path, text, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(CorpusError):
        read(path)
    assert read(path, encoding="auto") == (text, [f"a.txt: read as {encoding}, which is a guess"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_is_known_is_not_guessed(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("Größe 文字\n".encode(encoding))
    assert read(path, encoding="auto") == ("Größe 文字\n", [])


def test_the_guess_waits_for_the_first_bytes_that_tell(tmp_path):
    path = tmp_path / "a.txt"
    start = ("x" * 63 + "\n") * (BLOCK // 64 + 1)
    path.write_bytes(start.encode() + "Ein Café über der Straße\n".encode("cp1252"))
    text, notes = read(path, encoding="auto")
    assert text == start + "Ein Café über der Straße\n"
    assert notes == ["a.txt: read as cp1252, which is a guess"]


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match=r"encoding-errors.*replace.*skip.*strict"):
        Reading(encoding_errors="ignore")


def test_a_cut_text_leaves_nothing_behind(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(("Straße " * 40).encode() + "ß".encode()[:1])
    command = ["train", "a.txt", "--steps", "2", "--hidden-size", "8"]
    assert run(command) == 3
    assert capsys.readouterr().err == (
        "chargen: a.txt:1: not UTF-8 (byte 0xC3): it ends inside a character; "
        "use --encoding-errors replace\n"
    )
    assert not (tmp_path / "checkpoints").exists()
