"""Faults that tests put into a training process; Python imports this file by itself.

``FAULT`` says which: ``ignore-sigterm``, ``hold-step-N`` (before the line of step N is written),
``hold-checkpoint`` (with its files written, not yet safe) or ``hold-teardown`` (whatever a process
of a team tears down in the end). Who holds makes the file ``held`` in ``FAULT_FOLDER`` and goes on
once there is a file ``go``.
"""

import atexit
import json
import os
import pathlib
import signal
import sys
import time

FAULT = os.environ.get("FAULT", "")
FOLDER = pathlib.Path(os.environ.get("FAULT_FOLDER", "."))


def hold():
    if not (FOLDER / "go").exists():
        (FOLDER / "held").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.02)


def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    real = signal.signal
    signal.signal = lambda number, handler: (
        signal.SIG_IGN if number == signal.SIGTERM else real(number, handler)
    )


def hold_at_step(step):
    real = json.dumps

    def dumps(document, *args, **options):
        if isinstance(document, dict) and "train/loss" in document and document["step"] == step:
            hold()
        return real(document, *args, **options)

    json.dumps = dumps


def hold_at_checkpoint():
    real = os.fsync

    def fsync(descriptor):
        hold()
        real(descriptor)

    os.fsync = fsync


def hold_at_teardown():
    real = json.dumps

    def dumps(document, *args, **options):
        if isinstance(document, dict) and document.get("state") == "done":
            sys.modules["torch.distributed"].destroy_process_group = hold
        return real(document, *args, **options)

    json.dumps = dumps
    atexit.register(hold)


if "emsam.train" in sys.orig_argv:
    if FAULT == "ignore-sigterm":
        ignore_sigterm()
    elif FAULT == "hold-checkpoint":
        hold_at_checkpoint()
    elif FAULT == "hold-teardown" and "--agent" in sys.orig_argv:
        hold_at_teardown()
    elif FAULT.startswith("hold-step-"):
        hold_at_step(int(FAULT.removeprefix("hold-step-")))
