"""``emsam up``, ``down`` and ``status``: the services as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from emsam.errors import StackFailed
from emsam.locks import try_lock
from emsam.services import RunningService, read_state, write_state
from emsam.settings import Settings
from emsam.stack import plan, process, runs, team
from emsam.stack.deploy import create_deployments, create_pools
from emsam.stack.prefect_api import PrefectApi
from emsam.stack.service import Service

Say = Callable[[str], None]
"""Called with a line on each thing that was done."""

LOCK_IN = 600.0
"""Seconds to wait for another ``emsam up`` or ``down``."""
STORES = ["postgres", "s3"]
_SERVERS = ["prefect", "mlflow"]
"""Stores are what servers need, and servers what the others need: started first, stopped last."""


def up(settings: Settings, say: Say = lambda line: None) -> list[dict[str, Any]]:
    """Start what does not run, adopt what does; returns what :func:`status` does.

    First a team's stores, then the servers, then work pools, deployments and the states of runs
    whose process has died, then workers and the dashboard. Interrupted anywhere, the next call
    goes on.

    Raises
    ------
    InputError
        A port is taken, or a setting does not fit; nothing was started.
    StackFailed
        A service does not start. What runs by then goes on.
    """
    with alone(settings.home):
        if settings.is_team:
            team.create(settings)
        require_ports(settings)
        names = plan.planned(settings)
        if settings.is_team:
            start_stores(settings, say)
        _bring_up([name for name in names if name in _SERVERS], settings, say)
        _prepare(plan.prefect_api(settings), settings, say)
        _bring_up([name for name in names if name not in STORES + _SERVERS], settings, say)
        return status(settings)


def require_ports(settings: Settings) -> None:
    """Refuse ports of the services that somebody else has; what a killed service left is ended."""
    for name in plan.planned(settings):
        _clear_away(plan.build(name, settings), settings)


def start_stores(settings: Settings, say: Say) -> None:
    """A team's PostgreSQL and S3 server, with their databases and buckets.

    Only to be called by whoever holds the lock of :func:`alone`.
    """
    _bring_up(STORES, settings, say)
    team.prepare(settings)


def stop_services(names: Sequence[str], settings: Settings, say: Say) -> None:
    """Stop services one after the other; only under the lock of :func:`alone`."""
    services = read_state(settings.home).services
    for name in [each for each in names if each in services]:
        say(f"stopping {name}")
        service = plan.build(name, settings)
        process.stop(services[name], service.grace, service.stop_signal)
        _forget(settings.home, name)


def _clear_away(service: Service, settings: Settings) -> None:
    """End what a killed service left behind, and see that the port is free."""
    running = read_state(settings.home).services.get(service.name)
    if running and running.is_alive():
        return
    if running and not service.pool:  # the runs of a killed worker go on
        process.end_left_over(service, running)
    process.require_free_port(service, settings.listen)


def _bring_up(names: list[str], settings: Settings, say: Say) -> None:
    """Start what does not run, all together, then wait for each."""
    services = [plan.build(name, settings) for name in names]
    for service in services:
        running = read_state(settings.home).services.get(service.name)
        if not (running and running.is_alive()):
            say(f"starting {service.name}")
            _start(service, settings)
    for service in services:
        running = read_state(settings.home).services[service.name]
        process.wait_until_well(service, running)
        if not running.ready:
            _remember(settings.home, service.name, replace(running, ready=True))


def _start(service: Service, settings: Settings) -> None:
    """Start a service and remember it; one that cannot be remembered is not left behind."""
    running = process.start(service, _logs(settings))
    try:
        _remember(settings.home, service.name, running)
    except BaseException:
        process.stop(running, service.grace)
        raise


def _prepare(api: PrefectApi, settings: Settings, say: Say) -> None:
    """Work pools, deployments, and runs as they really are."""
    create_pools(api)
    state = read_state(settings.home)
    say("creating deployments")
    digest = create_deployments(api, settings, state.deployed)
    write_state(settings.home, replace(state, deployed=digest))
    for name, change in runs.reconcile(api):
        say(f"{name}: {change}")
    for pool in plan.pools(settings):
        worker = state.services.get(f"worker-{pool}")
        others = api.workers_online(pool) - {plan.worker_name(pool)}
        if not others and not (worker and worker.is_alive()):
            for line in runs.release_taken(api, pool):
                say(line)


def down(settings: Settings, say: Say = lambda line: None) -> list[str]:
    """Cancel the runs of this machine's workers, then stop all services; returns their names.

    Raises
    ------
    InputError
        A flow that somebody started by hand still runs; nothing was stopped.
    """
    with alone(settings.home):
        services = read_state(settings.home).services
        _cancel_runs(services, settings, say)
        first = STORES + _SERVERS
        order = sorted(services, key=lambda name: first.index(name) if name in first else 9)
        stop_services(order[::-1], settings, say)
        return order[::-1]


def _cancel_runs(services: dict[str, RunningService], settings: Settings, say: Say) -> None:
    """While Prefect's server can be told; without it, runs end with their worker's session."""
    workers = [name.removeprefix("worker-") for name in services if name.startswith("worker-")]
    api = plan.prefect_api(settings)
    if not workers or not api.is_well():
        return
    for line in runs.cancel_runs(api, [plan.worker_name(pool) for pool in workers]):
        say(line)
    for name, change in runs.reconcile(api):
        say(f"{name}: {change}")


def status(settings: Settings) -> list[dict[str, Any]]:
    """What runs and since when.

    Returns
    -------
    list of dict
        ``name``, ``state`` (running, starting, no answer, died, stopped), ``pid``, ``since`` (Unix
        time), ``url`` and ``log`` of each service; the last four are ``None`` of one that is
        stopped.
    """
    services = read_state(settings.home).services
    names = dict.fromkeys([*plan.planned(settings), *services])
    return [_row(plan.build(name, settings), services.get(name)) for name in names]


def _row(service: Service, running: RunningService | None) -> dict[str, Any]:
    if running is None:
        nothing = dict.fromkeys(("pid", "since", "url", "log"))
        return {"name": service.name, "state": "stopped"} | nothing
    if not running.is_alive():
        state = "died"
    elif service.is_well(running):
        state = "running"
    else:
        state = "no answer" if running.ready else "starting"
    return {
        "name": service.name,
        "state": state,
        "pid": running.pid,
        "since": running.started,
        "url": running.url or None,
        "log": running.log,
    }


def _remember(home: Path, name: str, running: RunningService) -> None:
    state = read_state(home)
    write_state(home, replace(state, services=state.services | {name: running}))


def _forget(home: Path, name: str) -> None:
    state = read_state(home)
    left = {key: value for key, value in state.services.items() if key != name}
    write_state(home, replace(state, services=left))


def _logs(settings: Settings) -> Path:
    return settings.home / "logs"


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """One ``emsam up`` or ``down`` at a time; the second waits for the first."""
    home.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + LOCK_IN
    while True:
        with try_lock(home / "stack.lock") as free:
            if free:
                yield
                return
        if time.monotonic() > until:
            raise StackFailed(f"{home / 'stack.lock'}: another 'emsam up' or 'down' still runs")
        time.sleep(0.5)
