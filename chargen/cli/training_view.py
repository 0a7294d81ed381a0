"""How a person follows a training run, and stops it.

`TrainingView` shows the events of a run on the display, and ends with a summary. `Interrupts` makes
Ctrl-C and termination signals finish the step first; a second one leaves at once. The loop over the
events is `show_events` of cli/train.py. This file does not know the options of a run.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from chargen.errors import ChargenError, ExitCode
from chargen.hints import spelled
from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.model.config import ModelConfig
from chargen.model.runs import CHECKPOINTS, MODEL
from chargen.model.stored_weights import Weights
from chargen.terminal.context import Terminal
from chargen.terminal.progress import duration, plural, size
from chargen.terminal.training_display import TrainingProgress, open_display
from chargen.text.tokenizer import Tokenizer
from chargen.training.events import (
    Evaluated,
    Finished,
    Planned,
    Recovered,
    StepDone,
    TrainEvent,
)
from chargen.training.launch import this_process

_SIGNALS = {
    "SIGINT": ExitCode.INTERRUPTED,
    "SIGTERM": ExitCode.TERMINATED,
    "SIGHUP": ExitCode.TERMINATED,  # not on Windows
}
_SAMPLE_TOKENS = 240


class Interrupts:
    """A context in which a signal asks the run to stop instead of ending the process.

    A signal before `begin_waiting`, or a second one, ends the process at once; but a window
    that closes asks only once.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        """`notice` shows a line to the person."""
        self.exit_code = ExitCode.DONE
        self._notice = notice
        self._waiting = False
        self._last: int | None = None
        """The signal that came last; SIGHUP only if no other came."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Install the handlers."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # nohup, cron and `&` start a process with signals that it must go on to ignore.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin_waiting(self) -> None:
        """Let the first signal wait for the step from now on: there is something to save."""
        self._waiting = True

    def stop_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.exit_code != ExitCode.DONE

    def _received(self, number: int, frame: FrameType | None) -> None:
        code = _SIGNALS[signal.Signals(number).name]
        if self.stop_requested() and code == ExitCode.TERMINATED and this_process().count > 1:
            return  # torchrun passes Ctrl-C on as SIGTERM while the step is still being finished
        if self.stop_requested() and self._is_same_wish(number):
            return
        if self.stop_requested() or not self._waiting:
            if code == ExitCode.INTERRUPTED:
                self._notice(
                    "leaving at once" if self._waiting else "stopped before anything was saved"
                )
                raise KeyboardInterrupt
            raise SystemExit(code)
        self._last = number
        self.exit_code = code
        if code == ExitCode.INTERRUPTED:
            self._notice("finishing this step and saving; Ctrl-C again leaves at once")

    def _is_same_wish(self, number: int) -> bool:
        """Whether a further signal asks for nothing new.

        A window that closes sends several: SIGHUP from the shell and from the system, and bash
        adds SIGTERM for a job that is stopped.
        """
        hangup = getattr(signal, "SIGHUP", None)
        same = number == hangup or (number == signal.SIGTERM and self._last == hangup)
        if number != hangup:
            self._last = number
        return same


class TrainingView:
    """What a person sees of a run: the live display or plain lines, and the summary."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._progress = TrainingProgress(title="")
        self._display = open_display(terminal, self._progress)
        self._planned: Planned | None = None
        self._finished: Finished | None = None
        self._problem: str | None = None
        """Why the last save failed; None if it did not."""

    def close(self) -> None:
        """Stop the display and leave the terminal as it was; may be called twice."""
        self._display.stop()

    def notice(self, text: str) -> None:
        """Show a line: within the live display if there is one, else on stderr."""
        if self._planned is not None and self._terminal.is_live:
            self._progress.notice = text
        else:
            self._terminal.note(text)

    def show(self, event: TrainEvent) -> None:
        """Show what an event changes."""
        progress = self._progress
        if isinstance(event, Planned):
            self._planned = event
            progress.title = event.folder.name
            self._announce(event)
            progress.steps = event.train.steps
            progress.budget_seconds = event.train.minutes and event.train.minutes * 60
            self._display.start()
        elif isinstance(event, StepDone):
            progress.advance(
                step=event.step,
                steps=event.steps,
                loss=event.loss,
                tokens=event.tokens,
                seconds=event.seconds,
            )
            self._display.stepped()
        elif isinstance(event, Evaluated):
            progress.bits_per_byte = event.score.bits_per_byte
            if progress.best_bits_per_byte is None or event.best:
                progress.best_bits_per_byte = event.score.bits_per_byte
            if self._terminal.is_live:
                progress.sample = self._sample(event)
        elif isinstance(event, Finished):
            self._finished = event
            self._display.stop()
        elif isinstance(event, Recovered):
            self.notice(event.what)
        elif event.problem is not None:
            if self._problem != event.problem:
                self.notice(f"not saved, will be tried again: {event.problem}")
            self._problem = event.problem
        elif self._problem is not None:
            self.notice("saved again")
            self._problem = None

    def summarise(self) -> None:
        """Write the summary: where the model is, how good it is, what to do next."""
        event, terminal = self._finished, self._terminal
        if event is None or self._planned is None:
            return
        folder = self._planned.folder
        path = folder / MODEL
        took = f"{plural(event.step, 'step')} in {duration(event.seconds)}"
        if event.reason == "early stop":
            took += ", ended early: the validation score had stopped improving"
        if event.reason == "interrupted":
            took += ", interrupted"
        score = event.score
        if score is None:
            terminal.note(f"{path}: {took}; not scored, because there is no validation part")
        else:
            terminal.note(
                f"{path}: {score.bits_per_byte:.3f} bits per byte, "
                f"{score.nats_per_token:.4f} nats per token on the validation part "
                f"(lower is better); {took}"
            )
        name = folder.name if folder.parent == CHECKPOINTS else str(folder)
        if event.memory is not None:
            terminal.note(event.memory)
        if event.verdict is not None:
            terminal.note(event.verdict)
        if event.reason == "interrupted":
            resume = spelled("chargen", "resume", name)
            terminal.note(f"go on with it: {resume}", wraps=False)
        terminal.note(f"write with it: {spelled('chargen', 'repl', name)}", wraps=False)

    def _announce(self, event: Planned) -> None:
        model, train = event.model, event.train
        self._terminal.note(
            f"{model.cell_row.label}, {model.units_label}, "
            f"{size(model.num_parameters)} weights, {plural(model.vocab_size, 'token')} of "
            f"vocabulary; {event.train_tokens:,} tokens to train on, {event.valid_tokens:,} to "
            "validate on"
        )
        length = duration(train.minutes * 60) if train.minutes else plural(train.steps, "step")
        batch = f"batch {train.batch_size} x {train.bptt} tokens"
        self._terminal.note("; ".join((f"{length}, {batch}", *event.reasons)))

    def _sample(self, event: Evaluated) -> str:
        assert self._planned is not None
        try:
            return write_sample(self._planned.model, event.weights, self._planned.tokenizer)
        except ChargenError:
            return ""  # weights that overflow in mid-training are for the trainer to handle


def write_sample(config: ModelConfig, weights: Weights, tokenizer: Tokenizer) -> str:
    """Write a short text with the weights of a run in training.

    Raises:
        ChargenError: the weights overflow.
    """
    stepper = Stepper(config, weights)
    settings = SampleConfig(length=_SAMPLE_TOKENS)
    steps = generate(stepper, tokenizer, np.empty(0, np.int64), settings)
    text = "".join(step.text for step in steps)
    # The text begins in the middle of a word, because the state is empty, and ends in one.
    start, end = text.find(" ") + 1, text.rfind(" ")
    return text[start:end].strip("\n") if start < end else text
