"""The clock of a run: seconds without those in which the process was stopped.

Ctrl-Z, a debugger and a closed lid stop the whole process. That time is not training time: the
schedule goes on where it was. A thread looks at the clock twice a second; when it was kept from
looking for seconds, everything was. A long score or a slow step does not keep it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SECONDS_BETWEEN_LOOKS = 0.5
_MIN_STOP_SECONDS = 5.0
"""A shorter gap between two looks may be a busy machine."""


class RunClock:
    """Call it for the seconds; `close` it at the end.

    Args:
        source: seconds that also count while the process is stopped.
        looks: whether a thread looks at the source; without, `look` must be called.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic, *, looks: bool = True) -> None:
        self._source = source
        self._last = source()
        self._stopped = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        if looks:
            threading.Thread(target=self._run, name="chargen clock", daemon=True).start()

    def __call__(self) -> float:
        """Seconds of the source, less those of all stops."""
        return self.look()

    def look(self) -> float:
        """Notes a stop if there was one; returns the seconds."""
        with self._lock:
            now = self._source()
            gap = now - self._last
            if gap > _MIN_STOP_SECONDS and not self._closed.is_set():
                self._stopped += gap
            self._last = now
            return now - self._stopped

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(_SECONDS_BETWEEN_LOOKS):
            self.look()
