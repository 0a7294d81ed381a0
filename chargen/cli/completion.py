"""chargen completion: prints the shell script that click makes for the commands."""

from __future__ import annotations

import click

from chargen.cli.options import terminal_options
from chargen.terminal.context import Terminal

_COMPLETION_HELP = """Print the completion script of a shell.

\b
  eval "$(chargen completion bash)"                   # in ~/.bashrc
  eval "$(chargen completion zsh)"                    # in ~/.zshrc
  chargen completion fish > ~/.config/fish/completions/chargen.fish
"""


@click.command(help=_COMPLETION_HELP)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@terminal_options
def command(shell: str, terminal: Terminal) -> None:
    """Print the script; see _COMPLETION_HELP."""
    from click.shell_completion import get_completion_class

    from chargen.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    terminal.out.write(kind(cli, {}, "chargen", "_CHARGEN_COMPLETE").source() + "\n")
    if shell == "bash":
        # Otherwise bash splits builtin:NAME at the colon and completes each half.
        terminal.out.write("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}\n")
