"""Which of several processes this one is, as torch's launcher says by the environment; no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One of those that torchrun started; or the only one."""

    rank: int = 0
    """Its number over all machines."""
    count: int = 1
    """Of all."""
    local_rank: int = 0
    """Its number on this machine."""
    local_count: int = 1
    """On this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes, and talks."""
        return self.rank == 0


def this_process(environ: Mapping[str, str] | None = None) -> Process:
    """As torchrun set the environment; alone where it did not."""
    environ = os.environ if environ is None else environ
    if not all(environ.get(one) for one in _NAMES):
        return Process()
    try:
        rank, count, local_rank, local_count = (int(environ[one]) for one in _NAMES[:4])
    except ValueError:
        return Process()
    if not 0 <= rank < count or not 0 <= local_rank < local_count:
        return Process()
    return Process(rank=rank, count=count, local_rank=local_rank, local_count=local_count)
