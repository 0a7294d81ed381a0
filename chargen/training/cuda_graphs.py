"""Training steps on a GPU: many of them between two looks at it, each one a single launch.

A small model's step is over before its hundred kernels are launched one by one, and asking for the
loss after every step makes both sides wait for each other. So steps go in strides: the windows of
a stride are sent at once, while the one before is still being computed; losses and norms stay on
the device until its end; and where shapes allow, a step is captured once as a CUDA graph and
launched as one (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). A bad loss is
noticed a stride late, which is early enough: there is a copy of the weights from before.

Nothing here needs a GPU but the capture itself: on a CPU a stride takes the same steps.
Shape letters: K steps of a stride, T bptt, B lanes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from chargen.training.network import detach
from chargen.training.recovery import Diverged, is_out_of_memory

if TYPE_CHECKING:
    from chargen.training.trainer import Trainer


LONGEST = 32
"""Steps of a stride; half as many as lie between two copies of the weights."""
_WARM_UP = 3
"""Steps before a capture, as torch asks for: libraries set themselves up in them."""


class Strides:
    """Steps of a trainer whose shapes stay the same."""

    def __init__(self, trainer: Trainer, *, capture: bool) -> None:
        """Make room on the device.

        Args:
            trainer: all of its lanes are read here.
            capture: launch each step as one CUDA graph.
        """
        network, config = trainer.network, trainer.config
        device = network.head.bias.device
        self._trainer = trainer
        self._capture = capture
        self._graphs: dict[bool, Any] = {}
        self._tokens = torch.zeros(
            config.bptt + 1, config.batch_size, dtype=torch.int64, device=device
        )
        self._rate = torch.zeros((), device=device)
        self._found = torch.zeros(LONGEST, 2, device=device)
        self._now = torch.zeros(2, device=device)
        self._ahead: tuple[int, Tensor] | None = None

    def take(self, rates: Iterable[float]) -> list[tuple[float, float]]:
        """A step for each rate: (nats per token, gradient norm) of each.

        Raises:
            Diverged: one of them was bad; the trainer stands before it, the weights do not.
        """
        trainer, wished = self._trainer, list(rates)
        first = trainer.step + trainer.healing.skipped
        windows = self._windows(first, len(wished))
        muon = trainer.optimizer.muon
        for number, rate in enumerate(wished):
            self._tokens.copy_(windows[number], non_blocking=True)
            self._rate.fill_(rate)
            if self._tokens.is_cuda:  # so that chance is the same, wherever a run was taken up
                torch.cuda.manual_seed((trainer.config.seed << 32) + trainer.step + number)
            if self._capture:
                self._launch(muon.turns)
            else:
                self._step()
            self._found[number].copy_(self._now)
            if trainer.average:
                trainer.average.update()
        # While the device is at work: the windows of the next stride.
        self._ahead = first + len(wished), self._send(first + len(wished), LONGEST)
        found = self._found[: len(wished)].tolist()  # the only wait
        for nats, norm in found:
            try:
                trainer.healing.check(trainer, nats, norm)
            except Diverged:
                self._ahead = None
                raise
            trainer.step += 1
        return [(nats, norm) for nats, norm in found]

    def _windows(self, first: int, count: int) -> Tensor:
        """Tokens (K, T + 1, B) on the device."""
        if self._ahead is not None and self._ahead[0] == first and len(self._ahead[1]) >= count:
            return self._ahead[1]
        return self._send(first, count)

    def _send(self, first: int, count: int) -> Tensor:
        blocks = [self._trainer.stream.block(step) for step in range(first, first + count)]
        whole = torch.stack(blocks)
        if not self._tokens.is_cuda:
            return whole
        return whole.pin_memory().to(self._tokens.device, non_blocking=True)

    def _step(self) -> None:
        """One step from what lies in the buffers to what lies in them after it."""
        trainer = self._trainer
        loss, after = trainer.loss(self._tokens[:-1], self._tokens[1:], trainer.state)
        loss.backward()
        norm = trainer.optimizer.clip()
        trainer.optimizer.step(self._rate)
        for own, new in zip(trainer.state, detach(after), strict=True):
            own.copy_(new)
        self._now[0].copy_(loss.detach())
        self._now[1].copy_(norm)

    def _launch(self, turns: bool) -> None:
        """The step as a graph: one with Muon's new directions, one with those it has."""
        if turns not in self._graphs:
            try:
                self._graphs[turns] = self._captured(turns)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                # Something in the step cannot be captured here; launched one by one, it can be run.
                self._capture = False
                self._step()
                return
        self._graphs[turns].replay()
        self._trainer.optimizer.muon.steps += 1

    def _captured(self, turns: bool) -> Any:
        """A graph of the step; whatever comes of it, nothing has changed."""
        trainer, muon = self._trainer, self._trainer.optimizer.muon
        live = trainer.tensors()
        kept, steps = {name: one.detach().clone() for name, one in live.items()}, muon.steps
        try:
            return self._capture_step(turns)
        finally:
            trainer.optimizer.forget_gradients()
            muon.steps = steps
            with torch.no_grad():
                for name, one in live.items():
                    one.copy_(kept[name])

    def _capture_step(self, turns: bool) -> Any:
        trainer, muon = self._trainer, self._trainer.optimizer.muon
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                muon.steps = muon.example(turns)
                self._step()
        torch.cuda.current_stream().wait_stream(beside)
        trainer.optimizer.forget_gradients()
        muon.steps = muon.example(turns)
        graph = torch.cuda.CUDAGraph()
        pool = next((one.pool() for one in self._graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool):
            self._step()
        return graph
