"""Subtitles by pysubs2, and Jupyter notebooks, which are JSON (nbformat 4)."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from chargen.errors import CorpusError
from chargen.text.convert.converted import Converted, count_words, join_blocks
from chargen.text.convert.office import decoded

_TAGS = re.compile(r"<[^>\n]*>|\{[^}\n]*\}")
_TIME_LINE = "-->"


def convert_subtitles(data: bytes, name: str, encoding: str | None) -> Converted:
    """What is said, a line for each line on the screen.

    Raises:
        CorpusError: there are no subtitles in it.
    """
    import pysubs2

    text = decoded(data, name, encoding)
    if _TIME_LINE not in text:
        raise CorpusError(f"{name}: no subtitles in it (no line with {_TIME_LINE})")
    kind = "vtt" if text.lstrip().startswith("WEBVTT") else "srt"
    try:
        subtitles = pysubs2.SSAFile.from_string(text, format_=kind)
    except (pysubs2.Pysubs2Error, ValueError, OverflowError) as error:
        raise CorpusError(f"{name}: these subtitles are damaged ({error})") from error
    lines = [_TAGS.sub("", event.plaintext).strip() for event in subtitles]
    spoken = [line for line in lines if line]
    counts = Counter({"time stamp": len(lines), "empty subtitle": len(lines) - len(spoken)})
    return Converted(
        texts=["\n".join(spoken) + "\n" if spoken else ""],
        left_out=count_words(counts),
        advice="give another file",
    )


def convert_notebook(data: bytes, name: str, encoding: str | None) -> Converted:
    """The cells of a notebook, text and code, without what the code wrote.

    Raises:
        CorpusError: it is no notebook.
    """
    try:
        notebook = json.loads(decoded(data, name, encoding))
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        raise CorpusError(f"{name}: not a Jupyter notebook ({reason}); is it cut off?") from error
    cells = _cells(notebook)
    if cells is None:
        raise CorpusError(f"{name}: not a Jupyter notebook (it has no cells)")
    counts: Counter[str] = Counter()
    blocks = []
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        outputs = cell.get("outputs")
        counts["output"] += len(outputs) if isinstance(outputs, list) else 0
        attachments = cell.get("attachments")
        counts["attachment"] += len(attachments) if isinstance(attachments, dict) else 0
        source = cell.get("source", cell.get("input"))
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if isinstance(source, str):
            blocks.append(source)
    return Converted(
        texts=[join_blocks(blocks)],
        left_out=count_words(counts),
        advice="its cells are empty",
    )


def _cells(notebook: Any) -> list[Any] | None:
    if not isinstance(notebook, dict):
        return None
    cells = notebook.get("cells")
    if isinstance(cells, list):
        return cells
    sheets = notebook.get("worksheets")  # nbformat 3
    if isinstance(sheets, list):
        return [
            cell
            for sheet in sheets
            if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
            for cell in sheet["cells"]
        ]
    return None
