"""A soak from its first run to its report."""

from __future__ import annotations

import platform
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from emsam.errors import InputError
from tests.soak.audit import audit, orphans
from tests.soak.chaos import Chaos, full_deck, schedule, short_deck
from tests.soak.jobs import Office
from tests.soak.lab import SoakLab, soak_lab


@dataclass(frozen=True)
class Plan:
    """What is asked of a soak.

    Attributes
    ----------
    runs
        Pipeline runs; more if these end before each fault has come once.
    minutes
        After which nothing new begins, and a part of that again for what is unfinished.
    every
        Seconds between faults, in the mean.
    parallel
        Runs under way at a time.
    is_short
        Each kind of fault once, in an order that strikes while there is something to strike.
    """

    runs: int
    minutes: float
    seed: int = 0
    profile: str = "local"
    every: float = 20.0
    parallel: int = 3
    is_short: bool = False


_REST = 8.0
"""Minutes for what is unfinished once the faults have ended, and for the checks."""


def soak(plan: Plan, say: Any = lambda line: None) -> dict[str, Any]:
    """Run it; returns the report, whose ``agrees`` says whether all is well."""
    began = time.monotonic()
    with soak_lab(plan.profile) as lab:
        first = lab.emsam("up", "--profile", plan.profile)
        if first.returncode:
            raise InputError(f"the stack does not start: {first.stderr.strip()[-500:]}")
        deck = short_deck(plan.profile) if plan.is_short else full_deck(plan.profile)
        faults = schedule(plan.seed, deck, plan.every, shuffle=not plan.is_short)
        chaos = Chaos(lab, faults, len(deck), only_once=plan.is_short)
        chaos.patience = 240.0 if plan.is_short else chaos.patience
        office = Office(lab, plan.parallel)
        say(f"{lab.path}: the stack runs after {time.monotonic() - began:.0f} s")
        disturb(plan, lab, chaos, office, say)
        say(f"the faults are over; {len(office.unfinished)} jobs are unfinished")
        repairs = recover(lab, chaos, office)
        say("checking")
        checks = audit(lab, office)
        say("stopping")
        down = lab.emsam("down")
        checks |= end_checks(lab, chaos, down)
        minutes = (time.monotonic() - began) / 60
        return report(plan, lab, chaos, office, checks, repairs, minutes)


def disturb(plan: Plan, lab: SoakLab, chaos: Chaos, office: Office, say: Any) -> None:
    """Runs and faults, until there were enough of both or the time is up."""
    until, said = time.monotonic() + 60 * plan.minutes, 0.0
    chaos.start()
    while time.monotonic() < until:
        done = len(office.jobs) - len(office.unfinished)
        if done >= plan.runs and chaos.dealt.is_set():
            break
        # while faults are still to come there is something for them to strike
        wanted = plan.runs if chaos.dealt.is_set() else max(plan.runs, done + plan.parallel)
        office.feed(wanted)
        lab.processes()  # so that each is known
        if time.monotonic() - said > 30:
            said = time.monotonic()
            say(f"{done} of {plan.runs} runs done, {len(chaos.struck)} faults")
        time.sleep(0.5)
    chaos.stop()


def recover(lab: SoakLab, chaos: Chaos, office: Office) -> list[str]:
    """What a user does afterwards; returns what ``emsam reconcile`` said."""
    until = time.monotonic() + 60 * _REST
    while not chaos.up() and time.monotonic() < until:
        time.sleep(3)
    lines = [lab.emsam("reconcile").stdout.strip()]
    office.settle(until)
    lines.append(lab.emsam("reconcile").stdout.strip())
    return lines


def end_checks(lab: SoakLab, chaos: Chaos, down: Any) -> dict[str, dict[str, Any]]:
    """What can be seen only once the stack is down."""
    said = [f"emsam down: exit {down.returncode}: {down.stderr[-500:]}"] if down.returncode else []
    count, wrong = orphans(lab)
    return {
        "commands end with one line": {
            "checked": len(chaos.ups) + 1, "wrong": chaos.complaints + said,
        },
        "no process is left": {"checked": count, "wrong": wrong},
    }  # fmt: skip


def report(
    plan: Plan, lab: SoakLab, chaos: Chaos, office: Office, checks: dict[str, Any],
    repairs: list[str], minutes: float,
) -> dict[str, Any]:  # fmt: skip
    """The document."""
    ends = Counter(state for job in office.jobs for state, _ in job.ends)
    struck = [each for each in chaos.struck if each.hit]
    return {
        "agrees": not any(check["wrong"] for check in checks.values()),
        "seed": plan.seed,
        "profile": plan.profile,
        "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
        "minutes": round(minutes, 1),
        "runs": {
            "asked": plan.runs,
            "begun": len(office.jobs),
            "finished": len(office.jobs) - len(office.unfinished),
            "flow runs": sum(len(job.flow_runs) for job in office.jobs),
            "ends": dict(ends),
        },
        "faults": {
            "hits": dict(Counter(f"{e.fault.kind} {e.fault.target}".strip() for e in struck)),
            "missed": len(chaos.struck) - len(struck),
            "all": [each.document() for each in chaos.struck],
        },
        "repairs": repairs,
        "ups": chaos.ups,
        "failures": [
            {"job": job.number, "state": state, "said": said}
            for job in office.jobs for state, said in job.ends if state != "COMPLETED"
        ],
        "checks": checks,
    }  # fmt: skip


def show(found: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    runs, hits = found["runs"], found["faults"]["hits"]
    console.print(
        f"soak of seed {found['seed']}, profile {found['profile']}: {runs['finished']} of "
        f"{runs['begun']} pipeline runs finished ({runs['asked']} asked) in "
        f"{runs['flow runs']} flow runs ({_listed(runs['ends'])}), {found['minutes']} minutes"
    )
    console.print(f"{sum(hits.values())} faults, {found['faults']['missed']} more met nobody")
    table = Table("fault", "times")
    for name, count in sorted(hits.items()):
        table.add_row(name, str(count))
    console.print(table)
    table = Table("check", "looked at", "wrong")
    for name, check in found["checks"].items():
        table.add_row(name, str(check["checked"]), "\n".join(check["wrong"][:8]) or "-")
    console.print(table)
    console.print("all agree" if found["agrees"] else "NOT all agree")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
