"""How a training process is asked to stop, and what its exit status says."""

from __future__ import annotations

import signal
from types import FrameType

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_HELD, EXIT_STOPPED = 1, 2, 3, 75


class StopRequest:
    """Becomes true when the process is asked to stop; the step in hand is finished first."""

    asked = False

    def __bool__(self) -> bool:
        return self.asked


def heed_signals() -> StopRequest:
    """From now on SIGTERM and SIGINT end nothing: they ask to stop."""
    stop = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop
