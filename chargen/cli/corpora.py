"""chargen corpora: lists the named corpora."""

from __future__ import annotations

import click

from chargen.cli.options import json_option, terminal_options, write_json
from chargen.terminal.context import Terminal


@click.command()
@json_option
@terminal_options
def command(as_json: bool, terminal: Terminal) -> None:
    """List the named corpora, for `chargen train builtin:NAME`."""
    from chargen.text.recipes import recipes

    for recipe in recipes():
        if as_json:
            value = {
                "name": recipe.name,
                "description": recipe.description,
                "size": recipe.size,
                "license": recipe.license,
                "needs_network": recipe.needs_network,
            }
            write_json(terminal, value)
        else:
            network = ", needs a network" if recipe.needs_network else ""
            terminal.write_line(
                f"builtin:{recipe.name:<17}{recipe.description} ({recipe.size}{network})"
            )
