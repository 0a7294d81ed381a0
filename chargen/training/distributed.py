"""Several processes that train one model, each with a share of the lanes.

torch's process group (NCCL between GPUs, Gloo between CPUs) carries what they share: gradients,
by DistributedDataParallel; scores; and the first one's decisions, so that a clock or a signal that
only one of them saw divides nobody. Every rank steps the same weights; only its lanes' states are
its own. Shape letters: L layers, B lanes, H hidden_size.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from chargen.errors import ChargenError, UsageError
from chargen.training.launch import Process, this_process
from chargen.training.recovery import is_out_of_memory

T = TypeVar("T")
_BUCKET = 100
"""Megabytes of gradients in one message: small models send all at once, which costs least."""


class Ranks:
    """This process among all that train; with a count of 1, everything below does nothing."""

    def __init__(self, process: Process | None = None) -> None:
        self.process = process or Process()

    @property
    def count(self) -> int:
        """Processes."""
        return self.process.count

    @property
    def is_first(self) -> bool:
        """Whether this one records, and talks."""
        return self.process.is_first

    def share(self, lanes: int) -> slice:
        """Which of the lanes are this one's.

        Raises:
            UsageError: there are fewer lanes than processes.
        """
        if lanes < self.count:
            raise UsageError(
                f"--batch-size {lanes}: fewer places than the {self.count} processes; raise it"
            )
        rank = self.process.rank
        return slice(rank * lanes // self.count, (rank + 1) * lanes // self.count)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the processes."""
        if self.count == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network, bucket_cap_mb=_BUCKET)

    def total(self, *values: float) -> list[float]:
        """Sums over all processes, in float64."""
        if self.count == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        with lost():
            distributed.all_reduce(found)
        return found.tolist()

    def decided(self, *values: float) -> list[float]:
        """What the first process says."""
        if self.count == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        with lost():
            distributed.broadcast(found, 0)
        return found.tolist()

    def told(self, make: Callable[[], T]) -> T:
        """A plain value that the first process makes, as JSON, and all others are given."""
        if self.count == 1:
            return make()
        data = json.dumps(make()).encode() if self.is_first else b""
        (size,) = self.decided(len(data))
        buffer = torch.zeros(int(size), dtype=torch.uint8)
        if self.is_first:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with lost():
            distributed.broadcast(buffer, 0)
        value: Any = json.loads(bytes(buffer.tolist()))
        return value  # type: ignore[no-any-return]

    def first(self, make: Callable[[], T]) -> T:
        """Let the first process do something, then all others: they find what it left."""
        if self.count == 1:
            return make()
        if self.is_first:
            found = make()
            self.decided(0)
            return found
        self.decided(0)
        return make()

    def check(self, error: Exception) -> None:
        """Stop at an error that only a run of one process could go on after.

        Raises:
            ChargenError: another process is gone, or memory is short.
        """
        if self.count == 1:
            return
        if is_out_of_memory(error):
            raise ChargenError(
                f"process {self.process.rank}: not enough memory; lower --batch-size, --bptt or "
                "--hidden-size"
            ) from error
        with lost():
            raise error

    def gathered(self, state: Tensor, lanes: int) -> Tensor:
        """The states of all lanes (L, B, H) from each process's own."""
        if self.count == 1:
            return state
        whole = state.new_zeros(state.shape[0], lanes, state.shape[2])
        whole[:, self.share(lanes)] = state
        self.add(whole)  # every lane is zero everywhere but where it is read
        return whole

    def add(self, values: Tensor) -> None:
        """In place: the sum over all processes."""
        if self.count > 1:
            with lost():
                distributed.all_reduce(values)


ALONE = Ranks()


def init_distributed() -> Ranks:
    """The processes that torchrun started, this one among them; or this one alone.

    They find each other once; a second run in the same processes uses the same group.

    Raises:
        ChargenError: they do not find each other.
    """
    process = this_process()
    if process.count == 1:
        return ALONE
    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(process.local_rank)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        # Loaded later, its functions would keep the group as the default of an argument, and with
        # it Gloo's threads, which crash a process that ends around them.
        importlib.import_module("torch.distributed.nn.functional")
        with lost():
            # The others wait for the first one, which may encode a large corpus for hours; that one
            # of them died is known by its connection.
            distributed.init_process_group(backend, timeout=timedelta(days=2))
        atexit.register(_leave)
    return Ranks(process)


def _leave() -> None:
    """End the group's threads before Python ends: they may still have its objects to let go."""
    if distributed.is_initialized():
        gc.collect()  # whatever else knows the group keeps its threads
        distributed.destroy_process_group()


@contextmanager
def lost() -> Iterator[None]:
    """A process that is gone becomes one line."""
    try:
        yield
    except RuntimeError as error:
        if not is_peer_error(error):
            raise
        raise ChargenError(
            "another process of this run is gone; what was saved is kept: chargen resume goes on "
            "from there"
        ) from error


def is_peer_error(error: Exception) -> bool:
    """Whether an error says that another process does not answer."""
    text = str(error).lower()
    words = ("connection", "peer", "gloo", "nccl", "timed out", "store", "rendezvous")
    return isinstance(error, distributed.DistError) or any(one in text for one in words)
