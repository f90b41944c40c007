"""boto3's clients, and one clear line for whatever goes wrong with them.

Endpoint and credentials are boto3's own: ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, or ``AWS_PROFILE``. In a team's folder S3 is the team's
where none of these is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emsam.credentials import s3_client_options
from emsam.errors import InputError, one_line
from emsam.settings import Settings

WORKERS = 8
"""Objects that are on their way at a time."""
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403",
            "Forbidden", "InvalidToken", "RequestTimeTooSkewed"}  # fmt: skip
GONE = {"NoSuchKey", "404", "NotFound"}


def open_aws(service: str) -> Any:
    """A client of ``s3`` or another service, as the environment says."""
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        raise InputError(
            "AWS and s3:// need boto3, which is not installed: pip install -e '.[platform]'"
        ) from None
    config = Config(
        connect_timeout=10, read_timeout=60, max_pool_connections=WORKERS,
        retries={"max_attempts": 3, "mode": "standard"},
    )  # fmt: skip
    team = s3_client_options(Settings()) if service == "s3" else {}
    return boto3.session.Session().client(service, config=config, **team)


def safe_path(address: str, path: str) -> str:
    """A key as a relative path that stays in its folder."""
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        raise InputError(f"{address}: the key {path[:80]!r} is no path of a file; rename it")
    return path


@contextmanager
def aws_errors(address: str) -> Iterator[None]:
    """Whatever goes wrong between here and the server becomes one clear line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = _explanation(error)
        if said is None:
            raise
        raise InputError(f"{address}: {said}") from None


def _explanation(error: Exception) -> str | None:
    """What to do about an error of boto3 or of the disk; ``None`` for a bug of ours."""
    try:
        from boto3.exceptions import Boto3Error
        from botocore import exceptions as known
    except ModuleNotFoundError:
        return None
    if isinstance(error, known.ClientError):
        return _answered(error)
    if isinstance(
        error,
        (known.NoCredentialsError, known.PartialCredentialsError, known.CredentialRetrievalError),
    ):
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, (known.ProfileNotFound, known.ConfigParseError, known.NoRegionError)):
        return f"{one_line(error)}; check AWS_PROFILE and AWS_REGION"
    if isinstance(error, known.ParamValidationError):
        return f"no name that S3 allows ({one_line(error)}); write it as s3://bucket/key"
    if isinstance(error, Boto3Error):
        return f"{one_line(error)}; check the credentials, AWS_ENDPOINT_URL and the network"
    if isinstance(error, (known.BotoCoreError, ConnectionError)):
        return (
            f"the server cannot be reached or broke off ({one_line(error)}); check "
            "AWS_ENDPOINT_URL and the network, then run the same command again to go on"
        )
    if isinstance(error, OSError):
        return f"cannot be kept here ({one_line(error)}); make room, then run it again"
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return f"{one_line(error)}; check AWS_ENDPOINT_URL"
    return None


def _answered(error: Any) -> str:
    code = str(error.response.get("Error", {}).get("Code"))
    if code == "NoSuchBucket":
        return "no such bucket; check its name and AWS_ENDPOINT_URL"
    if code in GONE:
        return "the object is gone; check the key"
    if code in _REFUSED:
        return f"access is refused ({code}); check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE)"
    if code in ("PreconditionFailed", "412", "InvalidRange", "416"):
        return "changed while it was fetched; run the same command again"
    return f"the server answers {code} ({one_line(error)}); check AWS_ENDPOINT_URL and AWS_REGION"
