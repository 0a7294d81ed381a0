"""chargen corpora."""

from __future__ import annotations

import json

import click

from chargen.cli.options import json_option, terminal_options
from chargen.terminal.context import Terminal


@click.command()
@json_option
@terminal_options
def command(as_json: bool, terminal: Terminal) -> None:
    """List the named corpora, for `chargen train builtin:NAME`."""
    from chargen.text.recipes import recipes

    for one in recipes():
        if as_json:
            value = {
                "name": one.name,
                "description": one.description,
                "size": one.size,
                "license": one.license,
                "needs_network": one.needs_network,
            }
            terminal.out.write(json.dumps(value) + "\n")
        else:
            network = ", needs a network" if one.needs_network else ""
            terminal.write_line(f"builtin:{one.name:<17}{one.description} ({one.size}{network})")
