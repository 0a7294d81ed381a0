"""chargen runs."""

from __future__ import annotations

import json
from typing import Any

import click

from chargen.cli.options import json_option, terminal_options
from chargen.terminal.context import Terminal
from chargen.terminal.progress import is_figure
from chargen.terminal.safetext import safe_line


@click.command()
@json_option
@terminal_options
def command(as_json: bool, terminal: Terminal) -> None:
    """List the runs in ./checkpoints, the newest first."""
    from chargen.model.runs import CHECKPOINTS, list_runs, read_run

    found = list_runs()
    if not found and not as_json:
        terminal.note(f"no run in {CHECKPOINTS}/ yet; train one with: chargen train corpus.txt")
    if found and not as_json:
        terminal.write_line(_row("run", "cell", "size", "validation", "took", "ended", "status"))
    for folder in found:
        run = read_run(folder)
        if as_json:
            terminal.out.write(json.dumps({**run, "name": folder.name}) + "\n")
            continue
        terminal.write_line(_line(folder.name, run))


def _line(name: str, run: dict[str, Any]) -> str:
    """One run; its run.json may be damaged, or anybody's."""
    from chargen.model.runs import size_of
    from chargen.terminal.progress import duration

    model, score = (
        value if isinstance(value, dict) else {}
        for value in (run.get("model"), run.get("validation"))
    )
    bits, seconds = score.get("bits_per_byte"), run.get("seconds")
    quality = f"{bits:.3f} bits/byte" if is_figure(bits) else "no score"
    took = duration(seconds) if is_figure(seconds) else "?"
    shape = size_of(model)
    when = str(run.get("updated", "?"))[:16].replace("T", " ")
    cell, status = model.get("cell", "?"), run.get("status", "?")
    return safe_line(_row(name, cell, shape, quality, took, when, status))


def _row(*cells: object) -> str:
    widths = (24, 9, 8, 18, 8, 17, 0)
    return " ".join(
        f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)
    ).rstrip()
