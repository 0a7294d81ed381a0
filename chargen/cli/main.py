"""The entry point: the table of commands, and every error as one line and an exit code.

This file does not know what any command does: `chargen.cli.NAME` is imported when it is used.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from typing import NoReturn

import click

from chargen import hints
from chargen._version import __version__
from chargen.errors import ChargenError, ExitCode, UnseenWarning, unknown_name
from chargen.terminal.context import Terminal
from chargen.terminal.messages import silence
from chargen.terminal.safetext import safe
from chargen.training.launch import this_process

# The name of each command and its line of help. `chargen --help` reads this table and imports no
# command, so that it is quick.
COMMANDS: dict[str, str] = {
    "demo": "Let the model in the box write, teach it for a minute, and let it write again.",
    "look": "Show what would be read of a text, without training.",
    "train": "Train a model on your text.",
    "finetune": "Continue training a model on your own text.",
    "distil": "Make one network that predicts as a larger model does.",
    "resume": "Continue a run exactly where it stopped.",
    "repl": "Write with a model, and watch its memory while it writes.",
    "sample": "Write with a model.",
    "eval": "Score how well a model predicts a text.",
    "heatmap": "Draw a model's memory while it reads a text.",
    "compare": "Train several cells on one text at equal cost, and compare them.",
    "gradients": "Measure how far back the gradient reaches: does it vanish?",
    "step": "Show one time step, equation by equation.",
    "horizon": "Measure how far back a model remembers.",
    "saturation": "Measure how often each gate is shut and open.",
    "units": "Find units that follow a property of the text, and name them.",
    "why": "Show which earlier tokens a prediction depends on.",
    "surprise": "Show where a text surprises a model.",
    "guess": "Guess a text character by character, beside a model.",
    "info": "Show what a model or a run is, or what this machine can train with.",
    "runs": "List the runs in ./checkpoints.",
    "corpora": "List the named corpora.",
    "completion": "Print the completion script of a shell.",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used; the names come from `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"chargen.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command as click does, but suggest the nearest name for an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(unknown_name("command", args[0], COMMANDS), ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            hints.has_options(option for row in command.params for option in row.opts)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the table, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: chargen demo, or chargen train corpus.txt. Every command has --help.",
)
@click.version_option(__version__, prog_name="chargen", message="%(prog)s %(version)s")
def cli() -> None:
    """Train small recurrent language models on your own text, and write with them."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # If the weights of a model overflow, the engine raises an error; numpy's warning adds nothing.
    warnings.simplefilter("ignore", RuntimeWarning)
    # Threads that wait for each other give way soon: on a busy machine, each turn of waiting in
    # place takes the core from the thread that is waited for. Read when torch loads libgomp.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "30000"
    code = run(sys.argv[1:] if args is None else args)
    # Python flushes both again at exit; a failure there would change the exit code to 120.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
    sys.exit(code)


def run(args: list[str]) -> int:
    """Run the command line; turn every failure into one line on stderr and an exit code."""
    _prepare_streams()
    terminal = Terminal()
    try:
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        if args[:1] == ["info"] and args[1:2] in (["runs"], ["corpora"]):
            args = args[1:]
        if "_CHARGEN_COMPLETE" in os.environ:
            cli.main(args, prog_name="chargen")
        # Not cli.main(): it would end the process with code 1 when a pipe is closed.
        with (
            warnings.catch_warnings(),
            hints.read_by("command"),
            cli.make_context("chargen", list(args)) as group,
        ):
            warnings.simplefilter("ignore", UnseenWarning)  # commands tell it in a line
            result: object = cli.invoke(group)
        code = result if isinstance(result, int) else ExitCode.DONE
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            silence(sys.stdout)
        return code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.err.write(error.format_message() + "\n")
        return ExitCode.USAGE
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see {context.command_path} --help)" if context else ""
        # click begins a new line for each choice; here every message is one line.
        message = " ".join(error.format_message().split())
        return _fail(terminal, f"{message}{hint}", error.exit_code, args)
    except ChargenError as error:
        return _fail(terminal, str(error), error.exit_code, args)
    except (KeyboardInterrupt, click.Abort):
        if terminal.err.isatty():
            terminal.err.write("\n")  # the terminal has written ^C on this line
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)  # the reader of the pipe has closed it
        return ExitCode.DONE
    except OSError as error:
        silence(sys.stdout)
        problem = f"{error.filename}: cannot be used" if error.filename else "cannot write"
        return _fail(terminal, f"{problem} ({error.strerror or error})", ExitCode.FAILURE, args)
    except Exception as error:
        message = (
            f"internal error: {type(error).__name__}: {error} "
            "(a fault in chargen; run again with --debug for the traceback)"
        )
        return _fail(terminal, message, ExitCode.FAILURE, args)


def _fail(terminal: Terminal, message: str, code: int, args: list[str]) -> int:
    """Report a failure in one line; with --debug, write the traceback first."""
    if "--debug" in args:
        terminal.err.write(safe(traceback.format_exc()))
    terminal.complain(f"chargen: {' '.join(message.split(chr(10))).strip()}")
    return int(code)


def _prepare_streams() -> None:
    """Replace characters that the terminal's encoding lacks, and closed streams by an empty one.

    Of several processes that torchrun started, only the first one writes anything.
    """
    if not this_process().is_first:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
