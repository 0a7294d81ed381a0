"""Documents of other programs: their text, what is left out, and damaged ones in one line."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargen.errors import CorpusError
from chargen.text.convert import CONVERTERS, convert
from chargen.text.corpus import open_corpus

HTML = b"""<!DOCTYPE html><html><head><title>Not text</title><style>p {}</style></head>
<body><nav><a href="#">Home</a></nav><h1>The
  Sea</h1><p>A <b>blue</b> sea &amp; a&nbsp;boat.<br>A second line.</p>
<script>var x = 1;</script><ul><li>one</li><li>two</li></ul>
<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>
<pre>  kept
   as it is</pre><img src="x.png"><!-- no --></body></html>"""
HTML_TEXT = """The Sea

A blue sea & a\u00a0boat.
A second line.

one
two

a\tb
c\td

  kept
   as it is
"""
SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Where</i> are we?

2
00:00:03,000 --> 00:00:04,000
- At sea.
- {\\an8}Oh.

3
00:00:05,000 --> 00:00:06,000

"""
VTT = """WEBVTT

NOTE made by hand

00:01.000 --> 00:02.500 align:start
<v Anna>Where are we?

00:03.000 --> 00:04.000
At sea.
"""
NOTEBOOK = json.dumps({
    "nbformat": 4, "nbformat_minor": 5, "metadata": {},
    "cells": [
        {"cell_type": "markdown", "source": ["# Sea\n", "Some text."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "1"}, {}]},
    ],
})  # fmt: skip
LETTER = b"""From: anna@example.org
To: bert@example.org
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="X"

--X
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Dear Bert,
the caf=E9 is closed.
--X
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="a.bin"
Content-Transfer-Encoding: base64

AAEC
--X--
"""
HTML_LETTER = b"""From: bert@example.org
Content-Type: text/html; charset=utf-8

<p>Dear <b>Anna</b>,</p><p>yes.</p>
"""
MBOX = (
    b"From anna@example.org Mon Jan  1 00:00:00 2024\n"
    + LETTER
    + b"\nFrom bert@example.org Tue Jan  2 00:00:00 2024\n"
    + HTML_LETTER
    + b"\nFrom carl@example.org Tue Jan  2 00:00:00 2024\n"
    + b"From: carl@example.org\nSubject: x\n\n>From here on.\n"
)
RTF = (
    rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Times;}}\f0 The \b blue\b0  sea.\par "
    rb"Caf\'e9 \u8211? open.\par}"
)


def problem_of(data: bytes, suffix: str) -> str | None:
    """The error of a conversion; None if it gives a text."""
    try:
        convert(data, f"a{suffix}", suffix)
    except CorpusError as error:
        return str(error)
    return None


def zipped(members: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()


def epub() -> bytes:
    page = "<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{}</p></body></html>"
    container = (
        "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><rootfiles>"
        "<rootfile full-path='OEBPS/book.opf'/></rootfiles></container>"
    )
    package = (
        "<package xmlns='http://www.idpf.org/2007/opf'><manifest>"
        "<item id='b' href='b%20two.xhtml'/><item id='a' href='a.xhtml'/>"
        "<item id='n' href='nav.xhtml' properties='nav'/><item id='x' href='gone.xhtml'/>"
        "</manifest><spine><itemref idref='n'/><itemref idref='a'/><itemref idref='b'/>"
        "<itemref idref='x'/></spine></package>"
    )
    return zipped({
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": container,
        "OEBPS/book.opf": package,
        "OEBPS/nav.xhtml": page.format("Contents"),
        "OEBPS/b two.xhtml": page.format("Chapter two."),
        "OEBPS/a.xhtml": page.format("Chapter one."),
    })  # fmt: skip


def docx() -> bytes:
    import docx as library

    document = library.Document()
    document.add_heading("The sea", 1)
    document.add_paragraph("A blue sea.")
    document.add_paragraph("")
    table = document.add_table(2, 2)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = "abcd"[number]
    document.add_paragraph("one", style="List Bullet")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def odt() -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
    text = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    content = (
        f"<office:document-content xmlns:office='{office}' xmlns:text='{text}'>"
        "<office:body><office:text><text:h>The sea</text:h>"
        "<text:p>A <text:span>blue</text:span><text:s text:c='2'/>sea.<text:line-break/>Yes."
        "</text:p>"
        "<text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>"
        "<text:p>With<text:note><text:note-body><text:p>small</text:p></text:note-body></text:note>"
        " a note.</text:p></office:text></office:body></office:document-content>"
    )
    return zipped({
        "mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content,
    })  # fmt: skip


def pdf(*pages: list[str]) -> bytes:
    """A PDF by hand: each page has lines of text, or nothing but a drawn rectangle."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for lines in pages:
        shown = "".join(f"({line}) Tj T* " for line in lines)
        stream = f"BT /F1 12 Tf 72 700 Td 14 TL {shown}ET" if lines else "0 0 100 100 re f"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream".encode())
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica "
            ">> >> >> >>".encode()
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    out, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\n".encode()
    return out + f"startxref\n{start}\n%%EOF\n".encode()


PDF_LINES = ["The boat went out to the open sea, and all", "its sails were white. The men sang.",
             "Evening came.", "They went on and on through the night, un-", "til morning.",
             "17"]  # fmt: skip
SAMPLES: dict[str, bytes] = {
    ".html": HTML,
    ".epub": epub(),
    ".docx": docx(),
    ".odt": odt(),
    ".rtf": RTF,
    ".pdf": pdf(PDF_LINES, []),
    ".srt": SRT.encode("utf-8-sig"),
    ".vtt": VTT.encode(),
    ".ipynb": NOTEBOOK.encode(),
    ".eml": LETTER,
    ".mbox": MBOX,
}
EXPECTED: dict[str, tuple[list[str], str]] = {
    ".html": ([HTML_TEXT], "1 menu, 1 script, 1 picture"),
    ".epub": (["Chapter one.\n\nChapter two.\n"], "1 table of contents, 1 missing chapter"),
    ".docx": (["The sea\nA blue sea.\na\tb\nc\td\none\n"], ""),
    ".odt": (["The sea\nA blue  sea.\nYes.\none\nWith a note.\n"], "1 footnote"),
    ".rtf": (["The blue sea.\nCafé – open.\n"], ""),
    ".pdf": (
        [
            "The boat went out to the open sea, and all its sails were white. The men sang. "
            "Evening came.\nThey went on and on through the night, until morning.\n"
        ],
        "1 page number, 1 page without text",
    ),
    ".srt": (["Where are we?\n- At sea.\n- Oh.\n"], "3 time stamps, 1 empty subtitle"),
    ".vtt": (["Where are we?\nAt sea.\n"], "2 time stamps"),
    ".ipynb": (["# Sea\nSome text.\n\nprint(1)\n"], "2 outputs"),
    ".eml": (["Dear Bert,\nthe café is closed.\n"], "5 headers, 1 attachment"),
    ".mbox": (
        ["Dear Bert,\nthe café is closed.\n", "Dear Anna,\n\nyes.\n", "From here on.\n"],
        "9 headers, 1 attachment",
    ),
}


@pytest.mark.parametrize("suffix", SAMPLES)
def test_each_kind_gives_its_text(suffix):
    converted = convert(SAMPLES[suffix], f"a{suffix}", suffix)
    assert (list(converted.texts), converted.left_out) == EXPECTED[suffix]


def test_every_converter_is_tested():
    assert CONVERTERS.keys() - SAMPLES.keys() == {".htm", ".xhtml"}


@pytest.mark.parametrize("suffix", SAMPLES)
def test_a_corpus_reads_each_kind_and_says_what_it_left_out(suffix):
    Path(f"a{suffix}").write_bytes(SAMPLES[suffix])
    corpus = open_corpus([f"a{suffix}"], documents="files")
    texts, left_out = EXPECTED[suffix]
    pieces = list(corpus.pieces())
    assert pieces[::2] == texts
    assert set(pieces[1::2]) == {None}
    assert corpus.notes() == ([f"a{suffix}: left out: {left_out}"] if left_out else [])


@pytest.mark.parametrize("suffix", [".docx", ".epub", ".odt", ".pdf", ".rtf"])
def test_a_wrong_ending_does_not_matter_where_the_content_tells(suffix):
    Path("a.txt").write_bytes(SAMPLES[suffix])
    text = "".join(piece for piece in open_corpus(["a.txt"]).pieces() if isinstance(piece, str))
    assert text == "".join(EXPECTED[suffix][0])


@pytest.mark.parametrize("suffix", SAMPLES)
@pytest.mark.parametrize(
    "content", [b"", b"Just a text.\n", b"\x89PNG\r\n\x1a\n\0\0", b"PK\x03\x04"]
)
def test_what_is_not_what_its_ending_says_is_told_in_one_line(suffix, content):
    problem = problem_of(content, suffix)
    if suffix == ".html" and content:  # HTML is whatever it is
        return
    assert problem is not None
    assert problem.startswith(f"a{suffix}:")
    assert "\n" not in problem


@pytest.mark.parametrize("suffix", SAMPLES)
def test_what_is_cut_off_is_told_in_one_line_or_read_as_far_as_it_goes(suffix):
    data = SAMPLES[suffix]
    for share in (0.2, 0.5, 0.9):
        problem = problem_of(data[: int(share * len(data))], suffix)
        assert problem is not None or suffix not in (".docx", ".epub", ".odt", ".rtf", ".ipynb")
        assert problem is None or (problem.startswith(f"a{suffix}: ") and "\n" not in problem)


def test_an_old_word_document_is_called_that():
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    with pytest.raises(CorpusError, match=r"^a\.docx: an old Office file .* save it as \.docx"):
        convert(old, "a.docx", ".docx")
    Path("a.doc").write_bytes(old)
    with pytest.raises(CorpusError, match=r"^a\.doc: an old Office file"):
        list(open_corpus(["a.doc"]).pieces())


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".pdf", pdf([], []), "no text in this PDF document; its pages are pictures; OCR it first"),
        (".html", b"<html><script>1</script></html>", "no text in this HTML page; it consists of"),
        (".rtf", b"{\\rtf1 }", "no text in this RTF document"),
        (".ipynb", b'{"cells": []}', "no text in this Jupyter notebook"),
        (".srt", b"1\n00:00:01,000 --> 00:00:02,000\n\n", "no text in this subtitle file"),
        (".eml", b"Subject: x\n\n", "no text in this letter"),
    ],
)
def test_documents_without_text_say_what_to_do(suffix, content, message):
    with pytest.raises(CorpusError, match=rf"^a\{suffix}: {message}"):
        convert(content, f"a{suffix}", suffix)


@pytest.mark.parametrize("suffix", [".odt", ".epub", ".docx"])
def test_entities_are_refused(suffix):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    members = {".odt": "content.xml", ".epub": "META-INF/container.xml",
               ".docx": "word/document.xml"}  # fmt: skip
    with pytest.raises(CorpusError, match="declares entities"):
        convert(zipped({members[suffix]: bomb}), f"a{suffix}", suffix)


def test_deep_pages_are_one_line_or_read():
    deep = b"<div>" * 5000 + b"text" + b"</div>" * 5000
    with pytest.raises(CorpusError, match="nested too deeply"):
        convert(deep, "a.html", ".html")


@pytest.mark.parametrize("suffix", [".html", ".docx", ".rtf", ".pdf", ".srt"])
def test_a_missing_package_is_named_with_the_command(suffix, monkeypatch):
    import sys

    for package in ("bs4", "docx", "docx.opc.exceptions", "striprtf", "pypdf", "pysubs2"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CorpusError, match=r"pip install 'chargen\[documents\]'"):
        convert(SAMPLES[suffix], f"a{suffix}", suffix)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_damage_is_always_told_in_one_line(suffix, data):
    content = bytearray(SAMPLES[suffix])
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    problem = problem_of(bytes(content), suffix)
    assert problem is None or (problem.startswith(f"a{suffix}") and "\n" not in problem)
