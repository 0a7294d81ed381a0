"""Compressed files and archives: read as what they hold; damage and bombs are told in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargen.errors import CorpusError
from chargen.text import compressed
from chargen.text.compressed import find_compression, inner_name, output_limit
from chargen.text.corpus import open_corpus
from chargen.text.reading import Reading

TEXT = "".join(f"line {number} of the text, é\n" for number in range(3000))
PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def read(name: str, documents: str = "whole", **reading: object) -> str:
    corpus = open_corpus([name], documents=documents, reading=Reading(**reading))
    return "".join("⏹" if item is None else str(item) for item in corpus.pieces())


def zipped(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", ["a.txt.{}", "a.txt", "a"])
def test_a_compressed_text_is_read_whatever_its_name(kind, name):
    path = Path(name.format(kind))
    path.write_bytes(PACK[kind](TEXT.encode()))
    assert read(str(path)) == TEXT


@pytest.mark.parametrize("kind", PACK)
def test_several_parts_one_after_the_other_are_one_text(kind):
    Path("a").write_bytes(PACK[kind](b"one\n") + PACK[kind](b"two\n"))
    assert read("a") == "one\ntwo\n"


@pytest.mark.parametrize("kind", PACK)
def test_tables_and_documents_may_be_compressed(kind):
    Path(f"a.csv.{kind}").write_bytes(PACK[kind](b"id;text\n1;first\n2;second\n"))
    assert read(f"a.csv.{kind}", "files") == "first⏹second⏹"
    Path(f"a.html.{kind}").write_bytes(PACK[kind](b"<p>text</p>"))
    assert read(f"a.html.{kind}") == "text\n"


@pytest.mark.parametrize("kind", PACK)
def test_what_is_cut_off_is_told_and_nothing_is_kept(kind):
    data = PACK[kind](TEXT.encode())
    Path("a.txt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorpusError, match=r"^a\.txt: this \w+ file is (cut off|damaged)") as error:
        read("a.txt")
    assert "\n" not in str(error.value)


def test_the_same_text_has_the_same_fingerprint_packed_or_not():
    Path("a.txt").write_text(TEXT, encoding="utf-8", newline="\n")
    Path("b.gz").write_bytes(gzip.compress(TEXT.encode()))
    (plain,), (packed,) = (open_corpus([name]).fingerprints() for name in ("a.txt", "b.gz"))
    assert (plain.sha256, plain.bytes) == (packed.sha256, packed.bytes)


def test_an_archive_is_read_like_a_folder():
    data = zipped({
        "ch10.txt": "ten\n", "ch2.txt": "two\n", "sub/a.csv": "n,text\n1,row\n",
        "__MACOSX/ch2.txt": "junk", "sub/.DS_Store": "junk", "p.png": b"\x89PNG\r\n\x1a\n\0",
    })  # fmt: skip
    Path("a.zip").write_bytes(data)
    assert read("a.zip", "files") == "two\n⏹ten\n⏹row⏹"
    assert read("a.zip", "files", include=("*.txt",)) == "two\n⏹ten\n⏹"
    corpus = open_corpus(["a.zip"])
    list(corpus.pieces())
    assert corpus.notes() == [
        "a.zip/sub/a.csv: 1 row, delimiter a comma, column text",
        "a.zip: skipped 1 of 4 files: p.png (binary)",
    ]


@pytest.mark.parametrize("name", ["/etc/passwd", "../../up.txt", "C:\\x.txt", "a\x1b[31m.txt"])
def test_odd_names_in_an_archive_are_only_names(name):
    Path("a.zip").write_bytes(zipped({name: "text\n", "b.txt": "more\n"}))
    before = sorted(Path().rglob("*"))
    assert sorted(read("a.zip").split()) == ["more", "text"]
    assert sorted(Path().rglob("*")) == before


def test_archives_within_archives_are_told():
    Path("a.zip").write_bytes(zipped({"in.zip": zipped({"a.txt": "x"}), "b.txt": "text\n"}))
    assert read("a.zip") == "text\n"
    corpus = open_corpus(["a.zip"])
    list(corpus.pieces())
    assert "in.zip (an archive within an archive)" in corpus.notes()[0]
    Path("b.gz").write_bytes(gzip.compress(zipped({"a.txt": "x"})))
    with pytest.raises(CorpusError, match=r"^b\.gz: an archive within an archive; unpack it first"):
        read("b.gz")
    tar = bytes(257) + b"ustar\x00" + bytes(300)
    Path("c.tar.gz").write_bytes(gzip.compress(tar))
    with pytest.raises(CorpusError, match="a tar archive; unpack it, and give its folder"):
        read("c.tar.gz")


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_is_refused_by_what_comes_out(kind, monkeypatch):
    monkeypatch.setattr(compressed, "_ALWAYS_ALLOWED_BYTES", 1000)
    Path("a").write_bytes(PACK[kind](b"\n" * 5_000_000))
    with pytest.raises(CorpusError, match=r"unpacks to more than .* bytes, which no text"):
        read("a")


def test_a_bomb_of_an_archive_is_refused_by_what_it_says_and_by_what_comes_out(monkeypatch):
    monkeypatch.setattr(compressed, "_ALWAYS_ALLOWED_BYTES", 1000)
    monkeypatch.setattr("chargen.text.file_kinds.MAX_WHOLE_BYTES", 1000)
    honest = zipped({"a.txt": b"\n" * 5_000_000})
    Path("a.zip").write_bytes(honest)
    with pytest.raises(CorpusError, match="unpacks to more than"):
        read("a.zip")
    # The directory of the archive says 10 bytes: zipfile stops there, and the checksum is wrong.
    forged = honest.replace(struct.pack("<L", 5_000_000), struct.pack("<L", 10))
    Path("a.zip").write_bytes(forged)
    with pytest.raises(CorpusError, match=r"a\.zip.*(damaged|unpacks|no text file)"):
        read("a.zip")


def test_an_encrypted_archive_is_told():
    data = bytearray(zipped({"a.txt": "text\n"}))
    data[6] |= 1  # the flag of the local header
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    Path("a.zip").write_bytes(data)
    with pytest.raises(CorpusError, match=r"a\.zip.*encrypted"):
        read("a.zip")


def test_an_empty_archive_is_told():
    Path("a.zip").write_bytes(zipped({}))
    with pytest.raises(CorpusError, match=r"^a\.zip: the archive holds no files"):
        read("a.zip")


def test_zstandard_without_its_package_names_the_command(monkeypatch):
    import sys

    Path("a.zst").write_bytes(PACK["zst"](b"text"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CorpusError, match=r"pip install 'chargen\[documents\]'"):
        read("a.zst")


def test_names_limits_and_marks():
    assert inner_name("a.txt.gz") == "a.txt"
    assert inner_name(".gz") == ".gz"
    assert output_limit(1) == 4 << 30
    assert output_limit(1 << 30) == 100 << 30
    assert find_compression(b"BZh9 is a text") is None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([*PACK, "zip"]), st.data())
def test_any_damage_is_one_line(kind, data):
    text = TEXT[:2000].encode()
    content = bytearray(
        zipped({"a.txt": text, "b.txt": text}) if kind == "zip" else PACK[kind](text)
    )
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    Path("any").write_bytes(content)
    try:
        read("any")
    except CorpusError as error:
        problem = str(error)
    else:
        return
    assert "\n" not in problem
    assert problem.startswith("any")
