"""What a run does when it goes wrong: it goes back to good weights, or saves memory.

A loss or a gradient that is not finite, or a loss far above its average, is noticed before the
weights change. The weights that led there may be bad already, so the run goes back to a copy from
some steps ago, skips the window, and halves its learning rate. When memory runs out, the batch is
read in micro-batches from then on.

The copies are not part of a saved state: a run that was resumed and then diverges may go back to
another step than the run that was never stopped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from chargen.errors import ChargenError
from chargen.hints import any_of, ways
from chargen.training.device import is_out_of_memory
from chargen.training.kernels import native
from chargen.training.step import TrainingState

STEPS_BETWEEN_COPIES = 64
_STEPS_BEFORE_JUDGING = 100
"""Steps before a loss can be called unusual."""
_MIN_TOKENS_TO_JUDGE = 512
"""Tokens of a window from which its loss says something about the network, not about the text."""
_MAX_FAILURES = 3
"""Failures in a row after which the run ends."""


class Diverged(Exception):
    """The next update would ruin the weights."""


@dataclass
class Recovery:
    """What went wrong so far. `counters` is the part that a saved state needs."""

    rate: float = 1.0
    """Factor on the learning rate."""
    skipped_windows: int = 0
    micro_batches: int = 1
    """Parts into which a batch is divided, to save memory."""
    loss_ema: float = 0.0
    """Moving average of the loss; 0 before the first step."""
    _failures: int = 0
    _copy: dict[str, Tensor] = field(default_factory=dict)
    _copied_step: int = -1
    _copied_counts: tuple[int, int] = (0, 0)
    _copied_loss_ema: float = 0.0

    def counters(self) -> dict[str, float | int]:
        """Plain values, under the names that saved states use."""
        return {
            "rate": self.rate,
            "skipped": self.skipped_windows,
            "parts": self.micro_batches,
            "usual": self.loss_ema,
        }

    def restore(self, counters: dict[str, float | int]) -> None:
        """Puts back what `counters` said."""
        self.rate, self.loss_ema = counters["rate"], counters["usual"]
        self.skipped_windows = int(counters["skipped"])
        self.micro_batches = int(counters["parts"])

    def remember(self, training: TrainingState) -> None:
        """Copies, every so many steps, what may have to be put back."""
        if training.step < self._copied_step + STEPS_BETWEEN_COPIES and self._copy:
            return
        if self._copy:
            self._failures = 0  # so many good steps: what comes now is another trouble
        self._copied_step = training.step
        live = training.tensors()
        if self._copy.keys() == live.keys():
            torch._foreach_copy_(
                list(self._copy.values()), [tensor.detach() for tensor in live.values()]
            )
        else:
            self._copy = {name: tensor.detach().clone() for name, tensor in live.items()}
        updates = training.ema.updates if training.ema else 0
        self._copied_counts = updates, training.optimizer.muon.steps
        self._copied_loss_ema = self.loss_ema

    def check(self, training: TrainingState, loss: float, norm: float) -> None:
        """Looks at a step before its update.

        Raises:
            Diverged: the loss or the gradient is not finite, or the loss is far above its average.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"the loss was {loss:.4g} and the gradient's norm {norm:.4g}")
        judges = training.step > _STEPS_BEFORE_JUDGING and self.loss_ema
        judges = judges and training.batches.tokens_per_step >= _MIN_TOKENS_TO_JUDGE
        if judges and loss > 2 * self.loss_ema + 1:
            raise Diverged(f"the loss jumped from {self.loss_ema:.3f} to {loss:.3f}")
        self.loss_ema = loss if not self.loss_ema else 0.95 * self.loss_ema + 0.05 * loss

    def go_back(self, training: TrainingState, problem: Diverged) -> str:
        """Puts the copy back, skips the window and halves the rate; says so in a line.

        Raises:
            ChargenError: the third time in a row.
        """
        self._failures += 1
        failed = training.step + 1
        if self._failures >= _MAX_FAILURES:
            way = ("lower", any_of("--learning-rate", "--clip"))
            raise ChargenError(
                f"step {failed}: {problem}, for the {_MAX_FAILURES}rd time in a row; weights saved "
                "before are kept"
                + ways(way if way[1] else "begin a new run with a lower learning rate")
            )
        self._put_back(training)
        self.skipped_windows += failed - self._copied_step
        self.rate /= 2
        return (
            f"step {failed}: {problem}; back to step {self._copied_step} with half the learning "
            "rate"
        )

    @torch.no_grad()
    def _put_back(self, training: TrainingState) -> None:
        """Puts the copy back, and the position that it was made at."""
        training.optimizer.forget_gradients()
        live = training.tensors()
        for name, copy in self._copy.items():
            live[name].copy_(copy)
        training.step = self._copied_step
        updates, training.optimizer.muon.steps = self._copied_counts
        if training.ema:
            training.ema.updates = updates
        training.is_updating = False

    def split(self, training: TrainingState, error: Exception) -> str:
        """Halves the rows that are read at a time; says so in a line.

        If memory ran out while the weights changed, the copy is put back first: a second update
        on top of half a first one would be another step than the one that was asked for.

        Raises:
            Exception: `error` is about something else, or a single row is too much.
        """
        batch_size = training.config.batch_size
        if not is_out_of_memory(error) or self.micro_batches >= batch_size:
            raise error
        failed, back = training.step + 1, ""
        if training.is_updating:
            self._put_back(training)
            self.loss_ema = self._copied_loss_ema
            back = f"back to step {training.step}, "
        training.optimizer.forget_gradients()
        native.release()  # memory for windows of the full width
        self.micro_batches = min(batch_size, self.micro_batches * 2)
        rows = math.ceil(batch_size / self.micro_batches)
        plural = "s" if rows > 1 else ""
        return f"step {failed}: out of memory; {back}{rows} batch row{plural} at a time from now on"
