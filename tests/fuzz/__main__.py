"""``python -m tests.fuzz``: many cases of every reader, a line each and a table at the end."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.farm import Result, run_reader
from tests.fuzz.preload import preload
from tests.fuzz.readers import COSTS, READERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1500, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--reader", action="append", choices=list(READERS), help="repeatable; all by default"
    )
    parser.add_argument(
        "--room", type=Path, help="folder that keeps the last case; a temporary one by default"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    preload()
    began = time.monotonic()
    memory = Path("/dev/shm")  # several files a case, none larger than 4 MB
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        room = (options.room or Path(temporary)).absolute()
        results = []
        for reader in options.reader or READERS:
            cases = max(1, options.cases // COSTS.get(reader, 1))
            numbers = range(options.first, options.first + cases)
            results.append(run_reader(reader, numbers, options.seed, room))
            if not options.json:
                print(_line(results[-1]), flush=True)
    if options.json:
        print(json.dumps([vars(each) | {"cases": each.cases} for each in results], indent=1))
    else:
        total = sum(each.cases for each in results)
        print(f"{total:,} cases, {sum(len(r.findings) for r in results)} findings, "
              f"{time.monotonic() - began:.0f} s")  # fmt: skip
    return int(any(each.findings for each in results))


def _line(result: Result) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(result.outcomes.items()))
    lines = [f"{result.reader}: {result.cases} cases, {counts}; {result.commands} through the "
             f"command; slowest {result.slowest:.1f} s; {result.seconds:.0f} s"]  # fmt: skip
    lines += [
        f"  case {each['case']}: {each['kind']}: {each['detail']}" for each in result.findings
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
