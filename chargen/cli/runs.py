"""chargen runs."""

from __future__ import annotations

import json

import click

from chargen.cli.options import json_option, terminal_options
from chargen.terminal.context import Terminal


@click.command()
@json_option
@terminal_options
def command(as_json: bool, terminal: Terminal) -> None:
    """List the runs in ./checkpoints, the newest first."""
    from chargen.model.runs import CHECKPOINTS, list_runs, read_run
    from chargen.terminal.figures import duration

    found = list_runs()
    if not found and not as_json:
        terminal.note(f"no run in {CHECKPOINTS}/ yet; train one with: chargen train corpus.txt")
    for folder in found:
        run = read_run(folder)
        if as_json:
            terminal.out.write(json.dumps({"name": folder.name, **run}) + "\n")
            continue
        model, score = run.get("model") or {}, run.get("validation") or {}
        shape = f"{model.get('num_layers', '?')}x{model.get('hidden_size', '?')}"
        bits = score.get("bits_per_byte")
        quality = f"{bits:.3f} bits/byte" if isinstance(bits, float) else "no score"
        seconds = run.get("seconds")
        took = duration(seconds) if isinstance(seconds, int | float) else "?"
        terminal.write_line(
            f"{folder.name:<24} {model.get('cell', '?'):<9}{shape:<8} {quality:<18} {took:<8} "
            f"{run.get('status', '?')}".replace("\n", " ")
        )
