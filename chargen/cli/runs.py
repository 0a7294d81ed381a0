"""chargen runs: lists the runs in ./checkpoints."""

from __future__ import annotations

from typing import Any

import click

from chargen.cli.options import json_option, terminal_options, write_json
from chargen.files import is_plain_number
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe_line


@click.command()
@json_option
@terminal_options
def command(as_json: bool, terminal: Terminal) -> None:
    """List the runs in ./checkpoints, the newest first."""
    from chargen.model.bases import BASES, base_path
    from chargen.model.run_states import describe_run
    from chargen.model.runs import CHECKPOINTS, TRAIN_ONE, list_begun

    folders = list_begun()
    if not folders and not as_json:
        terminal.note(f"no run in {CHECKPOINTS}/ yet{TRAIN_ONE}")
        boxed = [name for name in BASES if base_path(name) is not None]
        if boxed:
            terminal.note(f"models in the box: {', '.join(boxed)}")
    if folders and not as_json:
        terminal.write_line(
            _columns("run", "cell", "size", "validation", "took", "ended", "status")
        )
    for folder in folders:
        record = describe_run(folder)
        if as_json:
            write_json(terminal, {**record, "name": folder.name})
            continue
        terminal.write_line(_run_line(folder.name, record))


def _run_line(name: str, record: dict[str, Any]) -> str:
    """One run of the list. Its run.json may be damaged, so values of a wrong type become `?`."""
    from chargen.model.runs import size_label
    from chargen.terminal.progress import duration

    model, score = (
        value if isinstance(value, dict) else {}
        for value in (record.get("model"), record.get("validation"))
    )
    bits, seconds = score.get("bits_per_byte"), record.get("seconds")
    quality = f"{bits:.3f} bits/byte" if is_plain_number(bits) else "no score"
    took = duration(seconds) if is_plain_number(seconds) else "?"
    shape = size_label(model)
    when = str(record.get("updated", "?"))[:16].replace("T", " ")
    cell, status = model.get("cell", "?"), record.get("status", "?")
    return safe_line(_columns(name, cell, shape, quality, took, when, status))


def _columns(*cells: object) -> str:
    """The cells of one line, aligned."""
    widths = (24, 9, 8, 18, 8, 17, 0)
    return " ".join(
        f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)
    ).rstrip()
