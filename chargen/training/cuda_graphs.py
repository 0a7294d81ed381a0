"""Training steps on a GPU: many of them between two synchronisations, each one a single launch.

A small model's step is over before its hundred kernels have been launched one by one, and asking
for the loss after every step makes both sides wait for each other. So steps are taken in runs: the
windows of a run are sent to the device at once, while the run before is still being computed;
losses and norms stay on the device until the run's end; and where shapes allow, a step is captured
once as a CUDA graph and launched as one
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). A bad loss is noticed at the
end of a run, which is early enough: a copy of the weights from before it exists.

Only the capture needs a GPU: on a CPU the same steps are taken without it.
Shape letters: K steps between two synchronisations, T bptt, B batch rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from chargen.training.device import is_out_of_memory, step_seed
from chargen.training.recovery import Diverged, Recovery
from chargen.training.step import TrainingState, take_step

MAX_STEPS = 32
"""K at most: half as many as lie between two copies of the weights."""
_STEPS_BEFORE_CAPTURE = 3
"""Steps before a capture, as torch asks for: libraries set themselves up in them."""


class GraphedSteps:
    """Steps of a run whose shapes stay the same.

    Args:
        training: what the steps change; this process reads all of its batch rows.
        recovery: judges losses.
        capture: launches each step as one CUDA graph.
    """

    max_steps = MAX_STEPS
    """Steps that `take` may be asked for at once."""

    def __init__(self, training: TrainingState, recovery: Recovery, *, capture: bool) -> None:
        config, device = training.config, training.device
        self._training, self._recovery = training, recovery
        self._capture = capture
        self._graphs: dict[bool, Any] = {}
        self._tokens = torch.zeros(
            config.bptt + 1, config.batch_size, dtype=torch.int64, device=device
        )
        self._rate = torch.zeros((), device=device)
        self._results = torch.zeros(MAX_STEPS, 2, device=device)
        self._last_result = torch.zeros(2, device=device)
        self._prefetched: tuple[int, Tensor] | None = None

    def take(self, rates: Sequence[float], progress: float) -> list[tuple[float, float]]:
        """Takes a step for each rate: (nats per token, gradient norm) of each.

        `progress` has no effect: all layers learn at one rate here, throughout the run.

        Raises:
            Diverged: a step was bad. The position is before it; the weights are not.
        """
        training = self._training
        first = training.step + self._recovery.skipped_windows
        windows = self._windows(first, len(rates))
        muon = training.optimizer.muon
        training.is_updating = True  # until the position knows of these steps
        for number, rate in enumerate(rates):
            self._tokens.copy_(windows[number], non_blocking=True)
            self._rate.fill_(rate)
            step = self._graph_of(muon.orthogonalizes_next) if self._capture else None
            # After a capture, which draws numbers: chance is the same wherever a run was resumed.
            if self._tokens.is_cuda:
                torch.cuda.manual_seed(step_seed(training.config.seed, training.step + number))
            if step is None:
                self._step()
            else:
                step.replay()
                muon.steps += 1
            self._results[number].copy_(self._last_result)
            if training.ema:
                training.ema.update()
        # While the device is at work: the windows of the next run, which is probably as long.
        self._prefetched = first + len(rates), self._send(first + len(rates), len(rates))
        results = self._results[: len(rates)].tolist()  # the only synchronisation
        for nats, norm in results:
            try:
                self._recovery.check(training, nats, norm)
            except Diverged:
                self._prefetched = None
                raise
            training.step += 1
        training.is_updating = False
        return [(nats, norm) for nats, norm in results]

    def _windows(self, first: int, count: int) -> Tensor:
        """Tokens (K, T + 1, B) on the device."""
        if self._prefetched is not None:
            step, windows = self._prefetched
            if step == first and len(windows) >= count:
                return windows
        return self._send(first, count)

    def _send(self, first: int, count: int) -> Tensor:
        windows = self._training.batches.blocks(first, count)
        if not self._tokens.is_cuda:
            return windows
        return windows.pin_memory().to(self._tokens.device, non_blocking=True)

    def _step(self) -> None:
        """One step, from the buffers' contents to the buffers' new contents."""
        training = self._training
        nats, norm, after = take_step(
            training.loss,
            training.optimizer,
            self._tokens[:-1],
            self._tokens[1:],
            training.state,
            self._rate,
        )
        for state, new in zip(training.state, after, strict=True):
            state.copy_(new)
        self._last_result[0].copy_(nats)
        self._last_result[1].copy_(norm)

    def _graph_of(self, orthogonalizes: bool) -> Any:
        """The graph of a step: one with new orthogonal directions for Muon, one without.

        None where a step cannot be captured; its kernels are then launched one by one.
        """
        if orthogonalizes not in self._graphs:
            try:
                self._graphs[orthogonalizes] = self._captured(orthogonalizes)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self._capture = False
                return None
        return self._graphs[orthogonalizes]

    def _captured(self, orthogonalizes: bool) -> Any:
        """A graph of the step. The run's tensors are afterwards as they were before."""
        training, muon = self._training, self._training.optimizer.muon
        live = training.tensors()
        copies = {name: tensor.detach().clone() for name, tensor in live.items()}
        steps = muon.steps
        try:
            return self._capture_step(orthogonalizes)
        finally:
            training.optimizer.forget_gradients()
            muon.steps = steps
            with torch.no_grad():
                for name, tensor in live.items():
                    tensor.copy_(copies[name])

    def _capture_step(self, orthogonalizes: bool) -> Any:
        training, muon = self._training, self._training.optimizer.muon
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_STEPS_BEFORE_CAPTURE):
                muon.steps = muon.example_step(orthogonalizes)
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        training.optimizer.forget_gradients()
        muon.steps = muon.example_step(orthogonalizes)
        graph = torch.cuda.CUDAGraph()
        pool = next((captured.pool() for captured in self._graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool):
            self._step()
        return graph
