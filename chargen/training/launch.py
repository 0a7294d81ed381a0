"""Which of several processes this one is, as torch's launcher says in the environment.

Needs no torch: commands ask before anything slow is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One of the processes that torchrun started; alone by default."""

    rank: int = 0
    """Its number over all machines."""
    count: int = 1
    """Processes over all machines."""
    local_rank: int = 0
    """Its number on this machine."""
    local_count: int = 1
    """Processes on this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0


def this_process(environ: Mapping[str, str] | None = None) -> Process:
    """This process as torchrun described it; alone where it did not."""
    environ = os.environ if environ is None else environ
    if not all(environ.get(name) for name in _VARIABLES):
        return Process()
    try:
        rank, count, local_rank, local_count = (int(environ[name]) for name in _VARIABLES[:4])
    except ValueError:
        return Process()
    if not 0 <= rank < count or not 0 <= local_rank < local_count:
        return Process()
    return Process(rank=rank, count=count, local_rank=local_rank, local_count=local_count)
