"""Where things live. Every field can be set by an environment variable ``EMSAM_<FIELD>``."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from emsam.errors import InputError
from emsam.services import address_of


def _cache(name: str) -> Path:
    """Where the XDG base directory specification has a user's caches."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "emsam" / name


class Settings(BaseSettings):
    """Folders and addresses; relative paths start at the current folder."""

    model_config = SettingsConfigDict(env_prefix="EMSAM_", frozen=True)

    home: Path = Path(".emsam")
    """State of the services: MLflow's database and artifacts, Prefect's, the default remote."""
    data_root: Path = Path("data")
    """One folder a volume: ``<data_root>/<name>/volume.zarr``."""
    runs_root: Path = Path("runs")
    """One folder a run."""
    mlflow_uri: str = ""
    """Tracking server; empty means the stack's, if it runs, else SQLite in ``home``."""
    ledger_uri: str = ""
    """Database of the ledger, ``postgresql://…`` for a team; empty means SQLite in ``home``."""
    approval: Literal["none", "required"] = "none"
    """Whether a person must approve a decision before the champion moves."""
    notify: SecretStr = SecretStr("")
    """Addresses, as Apprise has them and separated by blanks, that hear of verdicts and moves."""
    dvc_remote: str = ""
    """Where published data goes (a folder or ``s3://…``); empty means a folder in ``home``."""
    experiment: str = "emsam"
    """MLflow experiment that holds the runs."""
    weights_root: Path = Field(default_factory=lambda: _cache("weights"))
    """Pretrained weights, which all checkouts share."""
    weights_url: str = "https://dl.fbaipublicfiles.com/segment_anything"
    """Folder on the web with Meta's weights, or a mirror of it."""
    listen: str = "127.0.0.1"
    """Address on which the services of ``emsam up`` listen; they ask nobody for a password."""
    prefect_port: int = Field(4200, ge=1, le=65535)
    """Port of Prefect's server."""
    mlflow_port: int = Field(5000, ge=1, le=65535)
    """Port of MLflow's server."""
    dashboard_port: int = Field(8501, ge=1, le=65535)
    """Port of the dashboard."""
    people: str = ""
    """Who may sign in to the dashboard, and as what: ``ada@lab.org=admin, *@lab.org=viewer``; the
    roles are viewer, reviewer (approves, comments, starts jobs) and admin (moves champions)."""
    read_only: bool = False
    """The dashboard shows everything and changes nothing."""
    pools: str = ""
    """Work pools that this machine serves, such as ``cpu,gpu``; empty means what it has."""
    on_publish: str = ""
    """Deployment that each new data set version starts, such as ``fine-tune/gpu``."""

    downloads_root: Path = Field(default_factory=lambda: _cache("downloads"))
    """Files of published data sets, as their sources have them; may be removed at any time."""
    downloads_url: str = ""
    """Mirror of these files, ``<data set>/<file>`` in a folder on the web; empty: the sources."""
    devices: int = Field(1, ge=1)
    """GPUs, or processes on CPUs, that share each batch of a job."""
    cpu_slots: int = Field(1, ge=1)
    """Jobs that this host's CPUs train at a time; each GPU always has one."""
    slots: Path | None = None
    """Folder of the slots' locks; all who share a host's devices must name the same. Empty means
    one in the host's folder for temporary files, for each user and ``home``."""
    deadline_minutes: float | None = Field(None, gt=0)
    """Time that a job may train in one go; it stops at a checkpoint then."""
    heartbeat_seconds: float = Field(900, gt=0)
    """A trainer that says nothing for so long hangs, and is ended."""
    grace_seconds: float = Field(20, gt=0)
    """Time for a step and its checkpoint after SIGTERM; Prefect's own patience ends after 30."""
    launcher: Literal["process", "batch"] = "process"
    """Where jobs train: a process of this host, or a job of AWS Batch."""
    batch_queue: str = ""
    """AWS Batch: job queue."""
    batch_definition: str = ""
    """AWS Batch: job definition, with an image in which EM-SAM is installed."""
    batch_root: str = ""
    """AWS Batch: ``s3://bucket/folder`` for volumes, weights and run directories."""
    batch_attempts: int = Field(5, ge=1, le=10)
    """AWS Batch: how often a job begins when its machine is taken away."""
    sync_seconds: float = Field(10, gt=0)
    """Between two looks at a run in training for what MLflow does not have yet."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = f"EMSAM_{'_'.join(map(str, first['loc']))}".upper()
            raise InputError(
                f"{name} = {first['input']!r}: {first['msg'].lower()}; set it anew, or unset it"
            ) from None

    @property
    def slots_root(self) -> Path:
        if self.slots:
            return self.slots
        # not in home, which hosts may share: what is taken is a matter of one host
        home = hashlib.sha256(str(self.home.absolute()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"emsam-{os.getuid()}" / home

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is: the address that was set, the stack's server, or the database alone."""
        return self.mlflow_uri or address_of("mlflow", self.home) or self.database_uri

    @property
    def database_uri(self) -> str:
        """MLflow's database in ``home``, which its server and those without one share."""
        return f"sqlite:///{(self.home / 'mlflow.db').absolute()}"

    @property
    def ledger_url(self) -> str:
        """The ledger's database: the address that was set, else a file in ``home``."""
        return self.ledger_uri or f"sqlite:///{(self.home / 'ledger.db').absolute()}"

    @property
    def artifact_root(self) -> str:
        return (self.home / "artifacts").absolute().as_uri()

    @property
    def features_root(self) -> Path:
        return self.home / "features"

    @property
    def remote_url(self) -> str:
        return self.dvc_remote or str((self.home / "dvc-remote").absolute())

    def check_file(self, name: str) -> Path:
        """Where the last report of ``emsam data check`` on a volume is kept."""
        return self.home / "checks" / f"{name}.json"

    def volume_path(self, name: str) -> Path:
        """Store of the volume called ``name``."""
        return self.data_root / name / "volume.zarr"

    def model_name(self, task: str) -> str:
        """Name under which models of a task are registered."""
        return f"emsam-{task}"
