"""The outermost layer: the table of commands, and errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from contextlib import suppress
from typing import NoReturn

import click

from chargen._version import __version__
from chargen.errors import ChargenError, ExitCode, unknown_name
from chargen.terminal.context import Terminal
from chargen.terminal.safetext import safe
from chargen.training.launch import this_process

# Name to one line of help. The module chargen.cli.NAME is imported when the command is used,
# so that `chargen --help` reads this table and nothing else.
COMMANDS: dict[str, str] = {
    "demo": "Train for a minute on the built-in corpus, then write.",
    "train": "Train a model on your text.",
    "finetune": "Go on training a model on a text of yours.",
    "resume": "Go on with a run, exactly where it stopped.",
    "repl": "Write with a model, and watch its memory while it writes.",
    "sample": "Write with a model.",
    "eval": "Score a text: how well a model predicts it.",
    "heatmap": "A picture of a model's memory while it reads a text.",
    "compare": "Train cells side by side on one text, at equal cost.",
    "gradients": "How far back the gradient reaches: does it vanish?",
    "step": "One time step taken apart, in the order of the equations.",
    "horizon": "How far back a model remembers.",
    "saturation": "How often each gate is shut and open.",
    "units": "Find units that track something, and name them.",
    "why": "Which earlier tokens a prediction rests on.",
    "surprise": "Mark a text by the model's surprise, and list the most surprising places.",
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
    # Weights of a damaged model overflow; the engine notices, numpy need not say so as well.
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run the command line; every failure becomes one line on stderr and an exit code."""
    _prepare_streams()
    terminal = Terminal()
    try:
        code = _invoke(args)
        sys.stdout.flush()
        return code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.err.write(error.format_message() + "\n")
        return ExitCode.USAGE
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" (see {where} --help)" if where else ""
        # click breaks a line before each choice; here every message is one line.
        message = " ".join(error.format_message().split())
        return _fail(terminal, f"{message}{hint}", error.exit_code, args)
    except ChargenError as error:
        return _fail(terminal, str(error), error.exit_code, args)
    except (KeyboardInterrupt, click.Abort):
        if terminal.err.isatty():
            terminal.err.write("\n")  # the terminal's own ^C stands on this line
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()  # whoever read the output has enough
        return ExitCode.DONE
    except OSError as error:
        _silence_stdout()
        what = f"{error.filename}: cannot be used" if error.filename else "cannot write"
        return _fail(terminal, f"{what} ({error.strerror or error})", ExitCode.FAILURE, args)
    except Exception as error:
        message = (
            f"internal error: {type(error).__name__}: {error} "
            "(a mistake of chargen's; run again with --debug for the traceback)"
        )
        return _fail(terminal, message, ExitCode.FAILURE, args)


def _invoke(args: list[str]) -> int:
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    if args[:1] == ["info"] and args[1:2] in (["runs"], ["corpora"]):
        args = args[1:]
    if "_CHARGEN_COMPLETE" in os.environ:
        cli.main(args, prog_name="chargen")
    # Not cli.main(): it answers a closed pipe with exit code 1 before we see it.
    with cli.make_context("chargen", list(args)) as context:
        result: object = cli.invoke(context)
    return result if isinstance(result, int) else ExitCode.DONE


def _fail(terminal: Terminal, message: str, code: int, args: list[str]) -> int:
    """Say what failed; with --debug, where."""
    if "--debug" in args:
        terminal.err.write(safe(traceback.format_exc()))
    terminal.complain(f"chargen: {' '.join(message.split(chr(10))).strip()}")
    return int(code)


def _silence_stdout() -> None:
    """What could not be written stays unwritten: Python would complain once more at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    """Text that the terminal's encoding lacks is replaced; a closed stream takes nothing.

    Of several processes that torchrun started, only the first one talks.
    """
    if not this_process().is_first:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
