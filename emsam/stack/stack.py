"""``emsam up``, ``down`` and ``status``: the services as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from emsam.errors import StackFailed
from emsam.locks import try_lock
from emsam.services import RunningService, read_state, write_state
from emsam.settings import Settings
from emsam.stack import plan, process, runs
from emsam.stack.deploy import create_deployments, create_pools
from emsam.stack.plan import Service
from emsam.stack.prefect_api import PrefectApi

Say = Callable[[str], None]
"""Called with a line on each thing that was done."""

LOCK_IN = 600.0
"""Seconds to wait for another ``emsam up`` or ``down``."""
_SERVERS = ["prefect", "mlflow"]
"""What the others need: started first, stopped last."""


def up(settings: Settings, say: Say = lambda line: None) -> list[dict[str, Any]]:
    """Start what does not run, adopt what does; returns what :func:`status` does.

    First the servers, then work pools, deployments and the states of runs whose process has died,
    then workers and the dashboard. Interrupted anywhere, the next call goes on.

    Raises
    ------
    InputError
        A port is taken, or a setting does not fit; nothing was started.
    StackFailed
        A service does not start. What runs by then goes on.
    """
    with _alone(settings.home):
        names = plan.planned(settings)
        for name in names:
            _clear_away(plan.build(name, settings), settings)
        servers = [name for name in names if name in _SERVERS]
        _bring_up(servers, settings, say)
        _prepare(PrefectApi(plan.prefect_url(settings)), settings, say)
        _bring_up([name for name in names if name not in _SERVERS], settings, say)
        return status(settings)


def _clear_away(service: Service, settings: Settings) -> None:
    """End what a killed service left behind, and see that the port is free."""
    running = read_state(settings.home).services.get(service.name)
    if running and running.is_alive():
        return
    if running and not service.pool:  # the runs of a killed worker go on
        process.stop(running, service.grace)
    process.require_free_port(service, settings.listen)


def _bring_up(names: list[str], settings: Settings, say: Say) -> None:
    """Start what does not run, all together, then wait for each."""
    services = [plan.build(name, settings) for name in names]
    for service in services:
        running = read_state(settings.home).services.get(service.name)
        if not (running and running.is_alive()):
            say(f"starting {service.name}")
            _remember(settings.home, service.name, process.start(service, _logs(settings)))
    for service in services:
        running = read_state(settings.home).services[service.name]
        process.wait_until_well(service, running)
        if not running.ready:
            _remember(settings.home, service.name, replace(running, ready=True))


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
    with _alone(settings.home):
        services = read_state(settings.home).services
        _cancel_runs(services, settings, say)
        order = sorted(services, key=lambda name: _SERVERS.index(name) if name in _SERVERS else 9)
        for name in reversed(order):
            say(f"stopping {name}")
            process.stop(services[name], plan.build(name, settings).grace)
            _forget(settings.home, name)
        return order[::-1]


def _cancel_runs(services: dict[str, RunningService], settings: Settings, say: Say) -> None:
    """While Prefect's server can be told; without it, runs end with their worker's session."""
    workers = [name.removeprefix("worker-") for name in services if name.startswith("worker-")]
    api = PrefectApi(plan.prefect_url(settings))
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
def _alone(home: Path) -> Iterator[None]:
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
