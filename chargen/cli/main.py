"""The outermost layer: the table of commands, and errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from chargen._version import __version__
from chargen.errors import ChargenError, ExitCode, unknown_name
from chargen.terminal.context import Terminal

# Name to one line of help. The module chargen.cli.NAME is imported when the command is used,
# so that `chargen --help` reads this table and nothing else.
COMMANDS: dict[str, str] = {
    "demo": "Train for a minute on the built-in corpus, then write.",
    "train": "Train a model on your text.",
    "sample": "Write with a model.",
    "eval": "Score a text: nats, perplexity, bits per byte and character.",
    "info": "What a model file or a run is.",
    "runs": "List the runs in ./checkpoints.",
    "corpora": "List the named corpora.",
    "completion": "Print the completion script of a shell.",
}


class LazyGroup(click.Group):
    """Commands by name from `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"chargen.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for one that is not there."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(unknown_name("command", args[0], COMMANDS), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: chargen demo, or chargen train corpus.txt. Each command has a --help.",
)
@click.version_option(__version__, prog_name="chargen", message="%(prog)s %(version)s")
def cli() -> None:
    """Train small recurrent language models on your own text, and write with them."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run the command line; every failure becomes one line on stderr and an exit code."""
    _prepare_streams()
    terminal = Terminal()
    debug = "--debug" in args
    try:
        result: Any = cli.main(args, prog_name="chargen", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else ExitCode.DONE
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.err.write(error.format_message() + "\n")
        return ExitCode.USAGE
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" (see {where} --help)" if where else ""
        terminal.complain(f"chargen: {_one_line(error.format_message())}{hint}")
        return error.exit_code
    except ChargenError as error:
        if debug:
            raise
        terminal.complain(f"chargen: {_one_line(str(error))}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if debug:
            raise
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        terminal.complain(
            f"chargen: internal error: {kind}: {_one_line(str(error))} "
            "(a mistake of chargen's; run again with --debug for the traceback)"
        )
        return ExitCode.FAILURE


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")).strip()


def _prepare_streams() -> None:
    """Text that the terminal's encoding lacks is replaced instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
