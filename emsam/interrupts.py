"""Ctrl-C that is noticed even where a library swallows it.

Prefect drops a ``KeyboardInterrupt`` that arrives after a flow has reported its final state, and
the flow around it would go on as if nothing had been pressed.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_pressed = threading.Event()


def watch_for_ctrl_c() -> None:
    """Note SIGINT from now on; it still raises ``KeyboardInterrupt``."""

    def note(number: int, frame: FrameType | None) -> None:
        _pressed.set()
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, note)


def interrupted() -> bool:
    """Whether SIGINT arrived since :func:`watch_for_ctrl_c`."""
    return _pressed.is_set()


def raise_if_interrupted() -> None:
    """Raise the ``KeyboardInterrupt`` that somebody swallowed."""
    if interrupted():
        raise KeyboardInterrupt


def forget_caught_interrupts() -> None:
    """Let a process that handled ``KeyboardInterrupt`` end with the status that it names.

    CPython notes an interrupt that leaves code run by ``exec``, as named tuples and data classes
    are made, takes the note back only where such code runs again, and at the end of ``python -m``
    dies of SIGINT for it, whatever the status (``run_eval_code_obj`` and ``Py_RunMain``).
    """
    exec("")
