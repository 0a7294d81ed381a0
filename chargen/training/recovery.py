"""When memory runs out: how that is known, and how it is said.

What a run does when it goes wrong: back to good weights, smaller steps, smaller batches.

A loss or gradient that is no finite number, or a loss far above the usual, has ruined nothing yet:
it is noticed before the optimizer's step. But the weights that led there may be bad already, so
the run goes back to a copy of some steps ago, passes over the window, and halves its rate. (The
copies are not part of a snapshot: a run that was taken up again and then diverges may go back to
another step than the run that never stopped.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chargen.errors import ChargenError
from chargen.training.events import Recovered
from chargen.training.kernels import native

if TYPE_CHECKING:
    from chargen.training.trainer import Trainer


def is_out_of_memory(error: Exception) -> bool:
    """Torch reports it on CPU as a plain RuntimeError, known by its text alone."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "invalid buffer size" in text


@contextmanager
def enough_memory() -> Iterator[None]:
    """The several ways in which memory runs out become one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise ChargenError(
                "not enough memory for this model; choose a smaller --hidden-size, --batch-size "
                "or --bptt"
            ) from error
        raise


_EVERY = 64
"""Steps between two copies in memory."""
_SETTLED = 100
"""Steps before a loss can be unusual."""
_MANY = 512
"""Tokens in a window from which its loss says something about the network, not about the text."""
_ATTEMPTS = 3


class Diverged(Exception):
    """The next step would ruin the weights."""


@dataclass
class Recovery:
    """What went wrong so far; `counters()` is all of it that a snapshot needs."""

    rate: float = 1.0
    """Factor on the learning rate."""
    skipped: int = 0
    """Windows that were passed over."""
    parts: int = 1
    """Into which the lanes of a step are divided, for want of memory."""
    usual: float = 0.0
    """The running mean of the loss; 0 before the first step."""
    _failures: int = 0
    _good: dict[str, Tensor] = field(default_factory=dict)
    _step: int = -1
    _counts: tuple[int, int] = (0, 0)

    def counters(self) -> dict[str, float | int]:
        """Plain values for a snapshot."""
        return {
            "rate": self.rate,
            "skipped": self.skipped,
            "parts": self.parts,
            "usual": self.usual,
        }

    def remember(self, trainer: Trainer) -> None:
        """Now and then: copy what may have to be put back."""
        if trainer.step < self._step + _EVERY and self._good:
            return
        if self._good:
            self._failures = 0  # so many good steps: what comes now is another trouble
        self._step = trainer.step
        live = trainer.tensors()
        if self._good.keys() == live.keys():
            torch._foreach_copy_(list(self._good.values()), [one.detach() for one in live.values()])
        else:
            self._good = {name: one.detach().clone() for name, one in live.items()}
        updates = trainer.average.updates if trainer.average else 0
        self._counts = updates, trainer.optimizer.muon.steps

    def check(self, trainer: Trainer, loss: float, norm: float) -> None:
        """Before the optimizer's step.

        Raises:
            Diverged: loss or gradient is not finite, or the loss is far above the usual.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"the loss was {loss:.4g} and the gradient's norm {norm:.4g}")
        judges = trainer.step > _SETTLED and self.usual and trainer.stream.tokens_a_step >= _MANY
        if judges and loss > 2 * self.usual + 1:
            raise Diverged(f"the loss jumped from {self.usual:.3f} to {loss:.3f}")
        self.usual = loss if not self.usual else 0.95 * self.usual + 0.05 * loss

    @torch.no_grad()
    def go_back(self, trainer: Trainer, problem: Diverged) -> Recovered:
        """Put the copy back, pass over the window, halve the rate.

        Raises:
            ChargenError: the third time in a row.
        """
        self._failures += 1
        failed = trainer.step + 1
        if self._failures >= _ATTEMPTS:
            raise ChargenError(
                f"step {failed}: {problem}, for the {_ATTEMPTS}rd time in a row; weights saved "
                "before are kept; lower --learning-rate or --clip"
            )
        trainer.optimizer.forget_gradients()
        live = trainer.tensors()
        for name, kept in self._good.items():
            live[name].copy_(kept)
        self.skipped += failed - self._step
        trainer.step = self._step
        updates, trainer.optimizer.muon.steps = self._counts
        if trainer.average:
            trainer.average.updates = updates
        self.rate /= 2
        return Recovered(
            step=trainer.step,
            what=f"step {failed}: {problem}; back to step {self._step} with half the learning rate",
            seconds=trainer.seconds(),
        )

    def split(self, trainer: Trainer, error: Exception) -> Recovered:
        """Out of memory: fewer lanes at a time from now on.

        Raises:
            Exception: it was another error, or a single lane is too much.
        """
        if not is_out_of_memory(error) or self.parts >= trainer.config.batch_size:
            raise error
        trainer.optimizer.forget_gradients()
        native.release()  # memory for windows of the full width
        self.parts = min(trainer.config.batch_size, self.parts * 2)
        lanes = math.ceil(trainer.config.batch_size / self.parts)
        return Recovered(
            step=trainer.step,
            what=f"step {trainer.step + 1}: out of memory; {lanes} lanes at a time from now on",
            seconds=trainer.seconds(),
        )
