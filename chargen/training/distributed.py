"""Several processes that train one model, each with a share of the batch rows.

torch's process group (NCCL between GPUs, Gloo between CPUs) carries what they share: gradients,
by DistributedDataParallel; scores; and the decisions of the first process, so that a clock or a
signal that only one process saw divides nobody. Every process steps the same weights; only the
states of its rows are its own. Shape letters: L layers, B batch rows, H hidden_size.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from chargen.errors import ChargenError, UsageError
from chargen.hints import ways
from chargen.training.device import is_out_of_memory, smaller_model
from chargen.training.launch import Process, this_process

T = TypeVar("T")
_BUCKET_MEGABYTES = 100
"""Gradients in one message: small models send all at once, which costs least."""

_LOST_PEER = re.compile(
    r"Connection (?:closed|reset) by peer|Connection refused|Broken pipe|Socket closed"
    r"|Timed out waiting \d+ms for|Application timeout caused pair closure"
    r"|Gloo connectFullMesh failed"
)
"""What Gloo's errors say when another process is gone."""
_OWN_NCCL_ERROR = re.compile(r"ncclInvalidUsage|ncclInvalidArgument|ncclUnhandledCudaError")
"""What NCCL's errors say when this process made the mistake."""


class Ranks:
    """This process among all that train. With a count of 1, its methods do nothing."""

    def __init__(self, process: Process | None = None) -> None:
        self.process = process or Process()

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.process.count

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.process.is_first

    def local_rows(self, batch_size: int) -> slice:
        """Which rows of the batch this process reads.

        Raises:
            UsageError: there are fewer rows than processes.
        """
        if batch_size < self.count:
            raise UsageError(
                f"--batch-size {batch_size}: fewer batch rows than the {self.count} processes; "
                "raise it"
            )
        rank = self.process.rank
        return slice(rank * batch_size // self.count, (rank + 1) * batch_size // self.count)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the processes."""
        if self.count == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network, bucket_cap_mb=_BUCKET_MEGABYTES)

    def all_reduce(self, *values: float) -> list[float]:
        """Sums over all processes, in float64."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        with peer_errors():
            distributed.all_reduce(sums)
        return sums.tolist()

    def all_reduce_(self, values: Tensor) -> None:
        """Replaces a tensor by its sum over all processes."""
        if self.count > 1:
            with peer_errors():
                distributed.all_reduce(values)

    def broadcast(self, *values: float) -> list[float]:
        """The values that the first process has."""
        if self.count == 1:
            return list(values)
        sent = torch.tensor(values, dtype=torch.float64)
        with peer_errors():
            distributed.broadcast(sent, 0)
        return sent.tolist()

    def broadcast_object(self, make: Callable[[], T]) -> T:
        """A plain value that the first process makes; it travels as JSON to the others."""
        if self.count == 1:
            return make()
        data = json.dumps(make()).encode() if self.is_first else b""
        (size,) = self.broadcast(len(data))
        buffer = torch.zeros(int(size), dtype=torch.uint8)
        if self.is_first:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with peer_errors():
            distributed.broadcast(buffer, 0)
        value: Any = json.loads(bytes(buffer.tolist()))
        return value  # type: ignore[no-any-return]

    def rank0_first(self, make: Callable[[], T]) -> T:
        """Lets the first process do something, then all others, which find what it left."""
        if self.count == 1:
            return make()
        if self.is_first:
            result = make()
            self.barrier()
            return result
        self.barrier()
        return make()

    def barrier(self) -> None:
        """Waits for the first process."""
        self.broadcast(0)

    def gather_states(self, state: Tensor, batch_size: int) -> Tensor:
        """The states of all rows (L, B, H) from the rows of each process."""
        if self.count == 1:
            return state
        try:
            states = state.new_zeros(state.shape[0], batch_size, state.shape[2])
        except (MemoryError, RuntimeError) as error:
            self.raise_if_shared(error)  # the others wait for this process's rows
            raise
        states[:, self.local_rows(batch_size)] = state
        self.all_reduce_(states)  # each row is zero in every process but the one that reads it
        return states

    def check_same(self, *values: float) -> None:
        """Compares what each process found for itself with what the first one found.

        Raises:
            ChargenError: in all processes, if one of them differs.
        """
        differs = self.broadcast(*values) != list(values)
        if self.all_reduce(differs) != [0]:
            raise ChargenError(
                "the processes of this run read different texts or states; another program may "
                "change them; start all processes again"
            )

    def raise_if_shared(self, error: Exception) -> None:
        """Ends a run of several processes at an error after which one process could go on.

        Raises:
            ChargenError: another process is gone, or memory ran out.
        """
        if self.count == 1:
            return
        if is_out_of_memory(error):
            raise ChargenError(
                f"process {self.process.rank}: not enough memory"
                + ways("free some", smaller_model())
            ) from error
        with peer_errors():
            raise error


ALONE = Ranks()


def init_distributed() -> Ranks:
    """Joins the processes that torchrun started; this process alone where it started none.

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
        with peer_errors():
            # The others wait for the first process, which may encode a large corpus for hours. A
            # process that died is noticed by its connection.
            distributed.init_process_group(backend, timeout=timedelta(days=2))
        atexit.register(_leave)
    return Ranks(process)


def _leave() -> None:
    """Ends the group's threads before Python ends: they may still hold its objects."""
    if distributed.is_initialized():
        gc.collect()  # whatever else refers to the group keeps its threads
        distributed.destroy_process_group()


@contextmanager
def peer_errors() -> Iterator[None]:
    """Turns the errors of a process that is gone into one line.

    Raises:
        ChargenError: another process does not answer.
    """
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
    """Whether an error says that another process does not answer.

    Gloo raises plain RuntimeErrors; only their exact words tell. NCCL raises one type for all
    its errors, and some of them are about this process alone.
    """
    if isinstance(error, distributed.DistBackendError):
        return not _OWN_NCCL_ERROR.search(str(error))
    if isinstance(error, distributed.DistError):
        return True
    return type(error) is RuntimeError and bool(_LOST_PEER.search(str(error)))
