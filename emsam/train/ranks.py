"""torchrun, here: an agent that starts a process for each device and ends all with one.

torchrun gives each of them a session of its own, where no signal of ours would reach them, so
they die with the agent, and the agent hands SIGTERM on.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from emsam.train.run_directory import DONE, FAILED, RUNNING, STARTING, STOPPED, RunDirectory
from emsam.train.stop import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_STOPPED, StopRequest, heed_signals

_PR_SET_PDEATHSIG = 1


def run_ranks(
    run: RunDirectory, options: argparse.Namespace, slots: Sequence[str], stop: StopRequest
) -> int:
    """Train with ``options.devices`` processes on this host; returns the exit status.

    Parameters
    ----------
    slots
        Those that are held; their GPUs are all that the processes see.
    """
    gpus = [name.removeprefix("gpu-") for name in slots if name.startswith("gpu-")]
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // options.devices)))
    command = ["-m", "emsam.train", str(run.path), "--agent", str(os.getpid())]
    try:
        _raise_on_signal()
        if stop:
            raise SignalException("asked before the start", signal.SIGTERM)
        elastic_launch(_configure(options), sys.executable)(*command)
    except SignalException:
        pass
    except ChildFailedError as failed:
        return _tell_failure(run, failed)
    finally:
        heed_signals()
    return _tell_end(run)


def die_with(agent: int) -> None:
    """The kernel kills this process when its parent ``agent`` is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:  # it was gone before that
        sys.exit(EXIT_FAILED)


def leave(status: int) -> NoReturn:
    """End this process, one of a team, as it is; nothing is torn down.

    Where DDP is the last to hold the group, torch 2.13 waits for gloo's threads without giving up
    the GIL. One of them may need it to free the tensors of the last collective, and neither would
    ever end.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _configure(options: argparse.Namespace) -> LaunchConfig:
    place: dict[str, Any] = {
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "127.0.0.1:0",
        "local_addr": "127.0.0.1",  # a host need not know its own name
    }
    if options.nodes > 1:
        place = {
            "rdzv_backend": "static",
            "rdzv_endpoint": options.rendezvous,
            "rdzv_configs": {"rank": options.node_rank},
        }
    return LaunchConfig(
        min_nodes=options.nodes,
        max_nodes=options.nodes,
        nproc_per_node=options.devices,
        run_id="emsam" if options.nodes > 1 else uuid.uuid4().hex,
        max_restarts=0,  # the launcher's next call goes on from a checkpoint
        shutdown_timeout=options.shutdown,
        **place,
    )


def _raise_on_signal() -> None:
    """As torchrun's own handlers do, which come later."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SignalException("asked to stop", signal.Signals(number))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _tell_end(run: RunDirectory) -> int:
    """All ended by themselves or on a signal; the first one wrote how far it came."""
    status = run.status()
    if status["state"] == DONE:
        return 0
    if status["state"] == RUNNING:
        run.update_status(state=FAILED, error="the team did not save in time when asked to stop")
    elif status["state"] == STARTING:
        run.update_status(state=STOPPED)
    return EXIT_STOPPED if run.status()["state"] == STOPPED else EXIT_FAILED


def _tell_failure(run: RunDirectory, failed: ChildFailedError) -> int:
    # one that was killed is the cause; the others fail because they miss it
    rank, failure = min(
        failed.failures.items(), key=lambda each: (each[1].exitcode >= 0, each[1].timestamp)
    )
    if failure.exitcode < 0 or run.status()["state"] != FAILED:
        name = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else ""
        cause = f"killed by {name}" if name else f"exit status {failure.exitcode}"
        run.update_status(state=FAILED, error=f"process {rank} of the team: {cause}")
    return EXIT_BAD_INPUT if failure.exitcode == EXIT_BAD_INPUT else EXIT_FAILED


def _cores() -> int:
    return len(os.sched_getaffinity(0))
