"""The clock of a run: seconds without those in which the process was stopped.

Ctrl-Z, a debugger and a closed lid stop the whole process. That time is not training time: the
schedule goes on where it was. A slow step, a slow score and a loaded machine are training time.

What tells them apart is that a process that was stopped neither ran nor wanted to. A thread looks
at two measures twice a second: the time that passed, and the time that the process was busy. When
much time passed between two looks, the process was busy for as much of it as usual, or it was
stopped for the rest. A signal would not tell: a debugger sends none, and the handlers belong to
the host program.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_SECONDS_BETWEEN_LOOKS = 0.5
_MIN_STOP_SECONDS = 5.0
"""A shorter stop is taken for training time."""
_MEMORY_SECONDS = 10.0
"""How long the usual share of busy time goes back."""
_MIN_SHARE = 0.05
"""The share that is assumed at least: a process that only waits wakes up now and then."""
_QUEUE = Path("/proc/self/schedstat")
"""Linux tells here how long a thread ran, and how long it waited for a processor."""


def busy_seconds() -> float:
    """Seconds in which this process ran, on all processors, or waited for one.

    The waiting is that of the main thread, and only on Linux.
    """
    try:
        waited = int(_QUEUE.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        waited = 0.0
    return time.process_time() + waited


class RunClock:
    """Call it for the seconds; `close` it at the end, or use it as a context.

    Args:
        source: seconds that also count while the process is stopped.
        busy: seconds in which the process ran or waited for a processor.
        looks: whether a thread looks at the clock; without, it must be called often.
    """

    def __init__(
        self,
        source: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = busy_seconds,
        *,
        looks: bool = True,
    ) -> None:
        self._source, self._busy = source, busy
        self.began = source()
        """What the clock showed first."""
        self._called = self._looked = self._shown = self.began
        self._busy_before = busy()
        self._share = 1.0
        """Busy seconds per second of late, at most 1: several threads count as one."""
        self._compared = 0.0
        """The seconds that this share is an average of."""
        self._stopped = 0.0
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = threading.Event()
        if looks:
            threading.Thread(target=self._run, name="chargen clock", daemon=True).start()

    def __call__(self) -> float:
        """Seconds of the source, less those of all stops."""
        with self._lock:
            now = self._source()
            if now - self._looked >= _SECONDS_BETWEEN_LOOKS / 2:  # a look costs more than a call
                self._look(now)
            self._called = now
            self._shown = max(self._shown, now - self._stopped)  # rounding does not turn it back
            return self._shown

    def __enter__(self) -> RunClock:
        """Changes nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Ends the thread."""
        if os.getpid() == self._process:  # a fork has no such thread, but may have its locks
            self._closed.set()

    def _look(self, now: float) -> None:
        """Compares the time since the last look with the time that the process was busy."""
        passed, busy_now = now - self._looked, self._busy()
        busy = max(0.0, busy_now - self._busy_before)
        # One thread can keep the looking one from looking, so only one is sure to have been busy.
        ran = max(busy / self._share, self._called - self._looked)
        if passed - ran > _MIN_STOP_SECONDS:
            self._stopped += passed - ran
        else:
            self._compared = min(_MEMORY_SECONDS, self._compared + passed)
            weight = passed / self._compared
            share = min(1.0, self._share + weight * (busy / passed - self._share))
            self._share = max(_MIN_SHARE, share)
        self._looked, self._busy_before = now, busy_now

    def _run(self) -> None:
        while not self._closed.wait(_SECONDS_BETWEEN_LOOKS):
            self()
