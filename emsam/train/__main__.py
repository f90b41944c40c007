"""The training process: ``python -m emsam.train RUN``.

Exit status: 0 done, 75 stopped and resumable, 2 bad input, 3 another process holds the run,
1 failed.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from emsam.errors import InputError
from emsam.train.run_directory import DONE, FAILED, RunDirectory

EXIT_BAD_INPUT, EXIT_HELD, EXIT_STOPPED = 2, 3, 75


def main(path: str) -> int:
    run = RunDirectory(Path(path)).require()
    with run.lock() as free:
        if not free:
            print(f"emsam: {run.path}: another process is training this run", file=sys.stderr)
            return EXIT_HELD
        try:
            from emsam.train.loop import train

            return 0 if train(run) == DONE else EXIT_STOPPED
        except Exception as error:
            traceback.print_exc()
            run.write_status(
                **run.status() | {"state": FAILED, "pid": os.getpid(), "error": str(error)}
            )
            return EXIT_BAD_INPUT if isinstance(error, InputError) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except InputError as error:
        print(f"emsam: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
