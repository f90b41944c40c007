"""What the stack asks of a Prefect server, through its REST interface.

Prefect's own client would do as well, and takes as long to import as everything else together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from emsam.errors import StackFailed
from emsam.stack.web import NotThere, answers, ask

ACTIVE = ("PENDING", "RUNNING", "CANCELLING")
"""States of a run that a process works on, or soon will."""
_MOST = 200
"""Rows of one reply, the server's limit."""


@dataclass(frozen=True)
class FlowRun:
    """A flow run that has not ended.

    Attributes
    ----------
    place
        Where its process is: the id, or ``HOST:ID``; empty where nobody noted it.
    worker
        Name of the worker that took it; empty for a run that was started by hand.
    parent
        Task run that stands for it in another flow run; empty for a run of its own.
    pool
        Work pool that it was sent to; empty without a deployment.
    started
        When it began to run (Unix time); ``None`` before.
    """

    id: str
    name: str
    state: str
    place: str
    worker: str
    parent: str
    pool: str
    started: float | None


class PrefectApi:
    """A Prefect server.

    Parameters
    ----------
    url
        Its address, ending in ``/api``.
    auth
        ``user:password``, where it asks for one.
    """

    def __init__(self, url: str, auth: str = "") -> None:
        self.url, self._auth = url, auth

    def is_well(self) -> bool:
        """Whether it answers."""
        return answers(f"{self.url}/health")

    def active_runs(self) -> list[FlowRun]:
        """Runs that are pending, running or being cancelled."""
        found: list[FlowRun] = []
        wanted = {"flow_runs": {"state": {"type": {"any_": list(ACTIVE)}}}, "limit": _MOST}
        while True:
            page = self._ask("POST", "/flow_runs/filter", wanted | {"offset": len(found)})
            found += [_flow_run(each) for each in page]
            if len(page) < _MOST:
                return found

    def set_state(
        self, run: FlowRun, state: str, message: str, *, force: bool = True, scheduled: str = ""
    ) -> None:
        """Move a run to a state, by ``force`` whatever Prefect's rules say of it.

        Parameters
        ----------
        scheduled
            With ``"SCHEDULED"``: when, in ISO 8601.
        """
        wanted: dict[str, Any] = {"type": state, "message": message}
        if scheduled:
            wanted["state_details"] = {"scheduled_time": scheduled}
        document = {"state": wanted, "force": force}
        self._ask("POST", f"/flow_runs/{run.id}/set_state", document)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """What ``prefect deployment run`` does; returns the name of the flow run.

        Raises
        ------
        NotThere
            No such deployment.
        """
        found = self._ask("GET", f"/deployments/name/{deployment}")
        path = f"/deployments/{found['id']}/create_flow_run"
        return str(self._ask("POST", path, {"parameters": parameters})["name"])

    def parent_state(self, run: FlowRun) -> str:
        """State of the flow run in which ``run`` was called; empty if that is gone."""
        try:
            task = self._ask("GET", f"/task_runs/{run.parent}")
            parent = self._ask("GET", f"/flow_runs/{task['flow_run_id']}")
        except NotThere:
            return ""
        return str(parent["state"]["type"])

    def ensure_pool(self, name: str, template: dict[str, Any]) -> None:
        """Create a work pool of processes, or give it the template of this version.

        A pool that somebody made one of another type (Docker, Kubernetes) is left alone.
        """
        try:
            pool = self._ask("GET", f"/work_pools/{name}")
        except NotThere:
            document = {"name": name, "type": "process", "base_job_template": template}
            self._ask("POST", "/work_pools/", document)
            return
        if pool["type"] == "process" and pool["base_job_template"] != template:
            self._ask("PATCH", f"/work_pools/{name}", {"base_job_template": template})

    def worker_is_online(self, pool: str, name: str, since: float) -> bool:
        """Whether a worker has reported since a time (Unix) and is not known to be offline."""
        try:
            workers = self._ask("POST", f"/work_pools/{pool}/workers/filter", {})
        except (NotThere, StackFailed):
            return False
        return any(
            worker["name"] == name
            and worker["status"] == "ONLINE"
            and _unix(worker["last_heartbeat_time"]) >= since
            for worker in workers
        )

    def workers_online(self, pool: str) -> set[str]:
        """Names of a pool's workers that Prefect takes for alive; it learns of a death late."""
        workers = self._ask("POST", f"/work_pools/{pool}/workers/filter", {})
        return {worker["name"] for worker in workers if worker["status"] == "ONLINE"}

    def deployments(self) -> set[str]:
        """Names of all deployments, ``FLOW/NAME``."""
        flows = {
            each["id"]: each["name"]
            for each in self._ask("POST", "/flows/filter", {"limit": _MOST})
        }
        found = self._ask("POST", "/deployments/filter", {"limit": _MOST})
        return {f"{flows.get(each['flow_id'], '')}/{each['name']}" for each in found}

    def _ask(self, method: str, path: str, document: Any = None) -> Any:
        return ask(method, self.url + path, document, self._auth)


def _flow_run(document: dict[str, Any]) -> FlowRun:
    return FlowRun(
        id=document["id"],
        name=document["name"],
        state=document["state"]["type"],
        place=document["infrastructure_pid"] or "",
        worker=(document["labels"] or {}).get("prefect.worker.name", ""),
        parent=document["parent_task_run_id"] or "",
        pool=document["work_pool_name"] or "",
        started=_unix(document["start_time"]) if document["start_time"] else None,
    )


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
