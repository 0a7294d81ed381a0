"""Ctrl-C and termination while training: finish the step first, leave at once when asked twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from chargen.errors import ExitCode
from chargen.training.processes import this_process

_SIGNALS = {
    "SIGINT": ExitCode.INTERRUPTED,
    "SIGTERM": ExitCode.TERMINATED,
    "SIGHUP": ExitCode.TERMINATED,  # not on Windows
}


class Interrupts:
    """While entered, signals set a flag; before `begin_waiting`, or the second time, they raise."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        self.exit_code = ExitCode.DONE
        self._notice = notice
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take over the signals."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin_waiting(self) -> None:
        """From now on there is something worth saving: the first signal waits for the step."""
        self._waiting = True

    def stop_requested(self) -> bool:
        """Whether a signal came."""
        return self.exit_code != ExitCode.DONE

    def _received(self, number: int, frame: FrameType | None) -> None:
        code = _SIGNALS[signal.Signals(number).name]
        if self.stop_requested() and code == ExitCode.TERMINATED and this_process().count > 1:
            return  # torchrun passes Ctrl-C on in this way, while the step is still being finished
        if self.stop_requested() or not self._waiting:
            if code == ExitCode.INTERRUPTED:
                self._notice("leaving at once" if self._waiting else "nothing was begun or saved")
                raise KeyboardInterrupt
            raise SystemExit(code)
        self.exit_code = code
        if code == ExitCode.INTERRUPTED:
            self._notice("finishing this step and saving; Ctrl-C again leaves at once")
