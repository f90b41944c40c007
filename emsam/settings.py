"""Where things live: environment variables ``EMSAM_<FIELD>``, else a team's file, else defaults."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import yaml
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from emsam.errors import InputError, one_line
from emsam.services import address_of


def require_plain_name(name: str) -> None:
    """Raise :class:`InputError` for the name of a volume that leads to another folder."""
    if name in ("", ".", "..") or not name.isprintable() or "/" in name or "\\" in name:
        raise InputError(f"{name!r} is no name of a volume; it has letters, digits, '-' and '_'")


def without_userinfo(address: str) -> str:
    """The address of a server without name and password, as it may be kept and shown."""
    scheme, mark, rest = address.partition("://")
    if scheme not in ("http", "https"):  # that of a database is no use without
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _cache(name: str) -> Path:
    """Where the XDG base directory specification has a user's caches."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "emsam" / name


TEAM_FILE = "team.yaml"


def _team_file(values: dict[str, Any]) -> Path:
    """Where a team's settings are, for the home folder that was passed or is set."""
    return Path(values.get("home") or os.environ.get("EMSAM_HOME") or ".emsam") / TEAM_FILE


def _read_team_file(file: Path) -> dict[str, Any]:
    """The settings in a team's file; none where there is no file."""
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: {one_line(error)}; mend it") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InputError(f"{file}: holds no settings; write lines such as 'mlflow_port: 5001'")
    if "home" in document:
        raise InputError(f"{file}: home = {document['home']!r}: this file lies in it; remove it")
    return document


class Settings(BaseSettings):
    """Folders and addresses; relative paths start at the current folder."""

    model_config = SettingsConfigDict(env_prefix="EMSAM_", frozen=True)

    home: Path = Path(".emsam")
    """State of the services: MLflow's database and artifacts, Prefect's, the default remote."""
    profile: Literal["local", "team"] = "local"
    """What ``emsam up`` starts; a team has PostgreSQL, an S3 server and passwords."""
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
    """Address on which the services of ``emsam up`` listen; only a team's ask for a password."""
    prefect_port: int = Field(4200, ge=1, le=65535)
    """Port of Prefect's server."""
    mlflow_port: int = Field(5000, ge=1, le=65535)
    """Port of MLflow's server."""
    dashboard_port: int = Field(8501, ge=1, le=65535)
    """Port of the dashboard."""
    postgres_port: int = Field(5433, ge=1, le=65535)
    """Port of a team's PostgreSQL."""
    s3_port: int = Field(8333, ge=1024, le=55_000)
    """Port of a team's S3 server, which also takes the next four, and all five plus 10,000."""
    people: str = ""
    """Who may sign in to the dashboard, and as what: ``ada@lab.org=admin, *@lab.org=viewer``; the
    roles are viewer, reviewer (approves, comments, starts jobs) and admin (moves champions)."""
    read_only: bool = False
    """The dashboard shows everything and changes nothing."""
    pools: str = ""
    """Work pools that this machine serves, such as ``cpu,gpu``; empty means what it has."""
    on_publish: str = ""
    """Deployment that the flow ``publish-dataset`` starts on each new version, such as
    ``fine-tune/gpu``."""

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
            key = "_".join(map(str, first["loc"]))
            name = f"EMSAM_{key}".upper()
            if name not in os.environ and key not in values:
                name = f"{_team_file(values)}: {key}"
            raise InputError(
                f"{name} = {first['input']!r}: {first['msg'].lower()}; set it anew, or unset it"
            ) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was passed, the environment, the file of a team."""
        assert isinstance(init_settings, InitSettingsSource)
        file = _team_file(init_settings.init_kwargs)
        return init_settings, env_settings, InitSettingsSource(settings_cls, _read_team_file(file))

    @property
    def is_team(self) -> bool:
        return self.profile == "team"

    @property
    def team_file(self) -> Path:
        """Settings of a team's folder, made by the first ``emsam up --profile team``."""
        return self.home / TEAM_FILE

    @property
    def reachable(self) -> str:
        """Address at which this machine reaches what listens on ``listen``."""
        return "127.0.0.1" if self.listen in ("0.0.0.0", "::") else self.listen

    @property
    def slots_root(self) -> Path:
        if self.slots:
            return self.slots
        # not in home, which hosts may share: what is taken is a matter of one host
        home = hashlib.sha256(str(self.home.absolute()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"emsam-{os.getuid()}" / home

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is: the address that was set, the stack's server, or the database alone.

        A team's database is never used without its server, which knows who may do what.
        """
        without = self.own_mlflow_url if self.is_team else self.database_uri
        address = without_userinfo(self.mlflow_uri)
        return address or address_of("mlflow", self.home) or without

    @property
    def own_prefect_url(self) -> str:
        """Where the stack's own Prefect server runs, or would run."""
        planned = f"http://{self.reachable}:{self.prefect_port}/api"
        return address_of("prefect", self.home) or planned

    @property
    def own_mlflow_url(self) -> str:
        """Where the stack's own MLflow runs, or would run."""
        return f"http://{self.reachable}:{self.mlflow_port}"

    @property
    def database_uri(self) -> str:
        """MLflow's database: of one person a file that its server and those without one share."""
        if self.is_team:
            return self.postgres_url("mlflow")
        return f"sqlite:///{self.mlflow_file}"

    @property
    def mlflow_file(self) -> Path:
        """The SQLite file that is MLflow's database of one person."""
        return (self.home / "mlflow.db").absolute()

    @property
    def ledger_url(self) -> str:
        """The ledger's database: the address that was set, a team's, else a file in ``home``."""
        if self.ledger_uri:
            return self.ledger_uri
        if self.is_team:
            return self.postgres_url("ledger")
        return f"sqlite:///{(self.home / 'ledger.db').absolute()}"

    def postgres_url(self, database: str, driver: str = "psycopg2") -> str:
        """URL of one of a team's databases, whose owner has its name.

        The password is in the file that it names, so the URL may be shown to anybody.
        """
        place = f"{database}@{self.reachable}:{self.postgres_port}/{database}"
        return f"postgresql+{driver}://{place}?passfile={quote(str(self.password_file))}"

    @property
    def password_file(self) -> Path:
        """PostgreSQL's passwords, in libpq's format."""
        return (self.home / "secrets" / "pgpass").absolute()

    @property
    def s3_url(self) -> str:
        """Endpoint of a team's S3 server."""
        return f"http://{self.reachable}:{self.s3_port}"

    @property
    def artifact_root(self) -> str:
        return (self.home / "artifacts").absolute().as_uri()

    @property
    def features_root(self) -> Path:
        return self.home / "features"

    @property
    def remote_url(self) -> str:
        if self.dvc_remote:
            return self.dvc_remote
        return "s3://datasets" if self.is_team else str((self.home / "dvc-remote").absolute())

    def check_file(self, name: str) -> Path:
        """Where the last report of ``emsam data check`` on a volume is kept."""
        return self.home / "checks" / f"{name}.json"

    def volume_path(self, name: str) -> Path:
        """Store of the volume called ``name``; :class:`InputError` if that is a path."""
        require_plain_name(name)
        return self.data_root / name / "volume.zarr"

    def model_name(self, task: str) -> str:
        """Name under which models of a task are registered."""
        return f"emsam-{task}"
