"""Pipeline runs while everything is killed, paused, filled and cut off; afterwards all must agree.

    python benchmarks/soak.py --runs 100 --minutes 40 --profile team

A stack of its own on free ports, pipelines of a tiny model through Prefect's deployment, and faults
that follow from ``--seed``: kill -9 and SIGSTOP of every service, worker, flow, trainer and judge,
of all of them at once, a full disk, an S3 server that is away. Then ``emsam up``, ``emsam
reconcile``, failed runs are started again as a user would, and all stores are compared. Exit status
1 if anything disagrees. docs/survival.md says what is promised.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from _table import options
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.soak.soak import Plan, show, soak


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # everything is tidied up then too
        signal.signal(number, signal.default_int_handler)
    arguments = parse()
    plan = Plan(
        runs=arguments.runs, minutes=arguments.minutes, seed=arguments.seed,
        profile=arguments.profile, every=arguments.every, parallel=arguments.parallel,
        is_short=arguments.short,
    )  # fmt: skip
    console = Console(stderr=True)
    found = soak(plan, lambda line: console.print(line, highlight=False))
    text = json.dumps(found, indent=2)
    if arguments.report:
        arguments.report.write_text(text + "\n")
    print(text) if arguments.json else show(found, Console())
    sys.exit(0 if found["agrees"] else 1)


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=10, help="pipeline runs")
    parser.add_argument("--minutes", type=float, default=15, help="when nothing new begins")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--profile", choices=("local", "team"), default="local")
    parser.add_argument("--every", type=float, default=20, help="seconds between faults, mean")
    parser.add_argument("--parallel", type=int, default=3, help="runs under way at a time")
    parser.add_argument("--short", action="store_true", help="each kind of fault once")
    parser.add_argument("--report", type=Path, help="file for the JSON report")
    return parser.parse_args()


if __name__ == "__main__":
    main()
