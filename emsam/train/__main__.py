"""The training process: ``python -m emsam.train RUN``.

Exit status: 0 done, 75 stopped and resumable, 2 bad input, 3 another process holds the run,
1 failed. With ``--devices`` it is torchrun's agent and starts a process for each device.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from emsam.errors import InputError
from emsam.train.stop import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_HELD,
    EXIT_STOPPED,
    StopRequest,
    heed_signals,
)

if TYPE_CHECKING:  # a signal is heeded before torch is there, which takes seconds
    from emsam.train.run_directory import RunDirectory

_Work = Callable[["RunDirectory", argparse.Namespace, StopRequest], int]


def main(words: list[str], stop: StopRequest) -> int:
    options = _parse(words)
    from emsam.train.run_directory import RunDirectory

    run = RunDirectory(options.run).require()
    if options.agent:
        from emsam.train.ranks import die_with, leave

        die_with(options.agent)
        leave(_guarded(run, _train_rank, options, stop))
    leads = options.node_rank == 0
    with run.lock() if leads else nullcontext(True) as free:
        if not free:
            print(f"emsam: {run.path}: another process is training this run", file=sys.stderr)
            return EXIT_HELD
        return _guarded(run, _train_job, options, stop)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m emsam.train", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, help="run directory that was prepared")
    add("--slots", type=Path, help="folder of this host's slot locks; without it no slot is held")
    add("--cpu-slots", type=int, default=1, help="jobs that this host's CPUs may have at a time")
    add("--devices", type=int, default=1, help="processes on this host")
    add("--nodes", type=int, default=1, help="hosts; each runs this command on the same directory")
    add("--node-rank", type=int, default=0, help="0 on the first host")
    add("--rendezvous", default="", help="HOST:PORT of the first host, for several hosts")
    add("--shutdown", type=int, default=15, help="seconds for a step and its checkpoint")
    add("--agent", type=int, default=0, help="set by the agent: its pid")
    return parser.parse_args(words)


def _train_job(run: RunDirectory, options: argparse.Namespace, stop: StopRequest) -> int:
    """Wait for slots, then train, here or in a process for each device."""
    from emsam.processes import identify
    from emsam.train.run_directory import DONE, STARTING, STOPPED, WAITING
    from emsam.train.slots import require_shares, slot_names, uses_gpu

    budget = run.params().train
    require_shares(budget.batch_size, options.devices * options.nodes)
    leads = options.node_rank == 0
    me = identify(os.getpid()) | {"host": socket.gethostname(), "devices": options.devices}
    me["launcher"] = identify(os.getppid())

    def say(state: str, **more: object) -> None:
        if leads:
            run.update_status(**me | {"state": state, "note": None} | more)

    say(STARTING, slots=[])
    names = slot_names(budget, options.cpu_slots)
    with _slots(run, options, names, stop, lambda note: say(WAITING, slots=[], note=note)) as held:
        if not held:
            say(STOPPED)
            return EXIT_STOPPED
        say(STARTING, slots=held)
        if options.devices * options.nodes > 1:
            from emsam.train.ranks import run_ranks

            return run_ranks(run, options, held, stop)
        from emsam.train.loop import train

        device = names.index(held[0]) if options.slots and uses_gpu(budget) else None
        return 0 if train(run, stop, device=device) == DONE else EXIT_STOPPED


def _slots(
    run: RunDirectory,
    options: argparse.Namespace,
    names: list[str],
    stop: StopRequest,
    waiting: Callable[[str], None],
) -> AbstractContextManager[list[str]]:
    """A slot for each device, from the names of this host's; without ``--slots`` none is held."""
    if options.slots is None:
        return nullcontext([""] * options.devices)
    from emsam.train.slots import hold_slots, require_slots

    require_slots(names, options.devices)
    return hold_slots(
        options.slots, names, options.devices, holder=str(run.path), stop=stop, waiting=waiting
    )


def _train_rank(run: RunDirectory, options: argparse.Namespace, stop: StopRequest) -> int:
    """One process of a team; the agent reads from the status whether the job is done."""
    from emsam.train.loop import train

    train(run, stop)
    return 0


def _guarded(run: RunDirectory, work: _Work, options: argparse.Namespace, stop: StopRequest) -> int:
    from emsam.train.run_directory import FAILED

    try:
        return work(run, options, stop)
    except Exception as error:
        traceback.print_exc()
        if options.node_rank == 0 and os.environ.get("RANK", "0") == "0":
            with suppress(OSError):  # the disk may be full; the launcher tries again
                run.update_status(state=FAILED, error=str(error))
        return EXIT_BAD_INPUT if isinstance(error, InputError) else EXIT_FAILED


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], heed_signals()))
    except InputError as error:
        print(f"emsam: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
