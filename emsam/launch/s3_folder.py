"""Files below a prefix in S3, sent and fetched so that no part is ever taken for the whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from emsam.data.aws import GONE, WORKERS, aws_errors, open_aws, safe_path
from emsam.errors import InputError

_LAST = ("manifest.json", "status.json")
"""Sent and fetched after what they speak of."""
_WHOLE = "whole.json"
"""Names of all files, once all are there."""


class S3Folder:
    """Files below ``s3://bucket/prefix``.

    Parameters
    ----------
    address
        ``s3://bucket/prefix``.

    Raises
    ------
    InputError
        An address that is none; from all methods, what S3 refuses, in one line.
    """

    def __init__(self, address: str) -> None:
        scheme, _, rest = address.partition("://")
        self._bucket, _, prefix = rest.strip("/").partition("/")
        if scheme != "s3" or not self._bucket or not prefix:
            raise InputError(f"{address}: write it as s3://bucket/folder")
        self.address, self._prefix = address.rstrip("/"), f"{prefix}/"
        with aws_errors(self.address):
            self._client = open_aws("s3")

    def etags(self) -> dict[str, str]:
        """ETag of each file, by its path below the folder."""
        with aws_errors(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            return {
                safe_path(self.address, each["Key"].removeprefix(self._prefix)): each["ETag"]
                for page in pages
                for each in page.get("Contents", ())
            }

    def upload(self, folder: Path, names: Iterable[str]) -> None:
        """Send files; one that is replaced meanwhile goes as it was before."""

        def put(name: str) -> None:
            # by its name boto3 would ask for the size of one file and then read another
            with (folder / name).open("rb") as stream:
                self._client.upload_fileobj(stream, self._bucket, self._prefix + name)

        self._each(put, names)

    def download(self, folder: Path, names: Iterable[str]) -> None:
        """Fetch files; each takes its name when it is whole."""

        def get(name: str) -> None:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            self._client.download_file(self._bucket, self._prefix + name, str(part))
            part.replace(target)

        self._each(get, names)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files."""

        def delete(name: str) -> None:
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

        self._each(delete, names)

    def _each(self, work: Callable[[str], None], names: Iterable[str]) -> None:
        """Several files at a time, the :data:`_LAST` ones one after the other at the end."""
        ranks = {name: _rank(name) for name in names}
        with aws_errors(self.address), ThreadPoolExecutor(WORKERS) as pool:
            for rank in sorted(set(ranks.values())):
                list(pool.map(work, [name for name in ranks if ranks[name] == rank]))

    # -- what never changes -----------------------------------------------------------------------

    def send_once(self, folder: Path, names: Iterable[str]) -> None:
        """Send files that belong together and never change; what is there is not sent again."""
        there = self.etags()
        if _WHOLE in there:
            return
        names = sorted(names)
        self.upload(folder, [name for name in names if name not in there])
        self.replace(_WHOLE, names, None)

    def fetch_once(self, folder: Path) -> None:
        """Fetch what :meth:`send_once` sent; what is here is not fetched again."""
        found = self.read(_WHOLE)
        if found is None:
            raise InputError(f"{self.address}: not there in full; start the job again to send it")
        names = [safe_path(self.address, name) for name in found[0]]
        self.download(folder, [name for name in names if not (folder / name).exists()])

    # -- documents --------------------------------------------------------------------------------

    def read(self, name: str) -> tuple[Any, str, float] | None:
        """A JSON document, its ETag, and its age in seconds by the server's clock."""
        from botocore.exceptions import ClientError

        with aws_errors(self.address):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in GONE:
                    return None
                raise
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = (now - answer["LastModified"]).total_seconds()
            return json.loads(answer["Body"].read()), answer["ETag"], age

    def replace(self, name: str, document: Any, etag: str | None) -> str | None:
        """Write a document if the one there still has ``etag``; with ``None``, if none is there.

        Returns
        -------
        str or None
            Its ETag; ``None`` if somebody else was quicker.
        """
        from botocore.exceptions import ClientError

        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with aws_errors(self.address):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + name,
                    Body=json.dumps(document).encode(), **condition,
                )  # fmt: skip
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status in (404, 409, 412):  # removed, being written, or another one by now
                    return None
                raise
            return str(answer["ETag"])


def _rank(name: str) -> int:
    last = Path(name).name
    return 1 + _LAST.index(last) if last in _LAST else 0
