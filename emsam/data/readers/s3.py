"""``s3://bucket/key``: listed first, then fetched file by file into a folder of ours."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from emsam.data.aws import GONE, WORKERS, aws_errors, open_aws, safe_path
from emsam.data.readers.opening import S3, is_known, split_location
from emsam.data.readers.zarr_array import find_array
from emsam.errors import InputError
from emsam.progress import Progress

_BLOCK = 1 << 20
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json")
_CONTAINERS = (".zarr", ".n5")


@dataclass(frozen=True)
class RemoteFile:
    """An object; ``path`` is where it belongs, relative to the folder of its stack."""

    key: str
    path: str
    size: int
    etag: str


@dataclass(frozen=True)
class Remote:
    """What is behind an address.

    Attributes
    ----------
    address
        As the user wrote it.
    location
        Of the stack, relative to the folder into which :func:`fetch` puts ``files``.
    """

    address: str
    bucket: str
    location: str
    files: tuple[RemoteFile, ...]

    @property
    def identity(self) -> str:
        """Digest of names, ETags and sizes, and what is meant in the file."""
        entries = [[each.path, each.etag, each.size] for each in self.files]
        text = json.dumps([self.location, *entries]).encode()
        return f"s3:{hashlib.md5(text, usedforsecurity=False).hexdigest()}"


def is_remote(location: str | Path) -> bool:
    """Whether a location is in S3."""
    return str(location).startswith(S3)


def list_remote(address: str) -> Remote:
    """Ask the server what is behind ``address``: an object, or all below a prefix.

    Raises
    ------
    InputError
        An address that is none, boto3 that is not installed, no such bucket or object, no
        credentials, refused access, a server that does not answer, and keys that no file can
        have.
    """
    bucket, _, rest = address.removeprefix(S3).partition("/")
    file, inner = split_location(rest)
    key = file.as_posix() if inner else rest
    if not bucket or not (key or address.endswith("/")):
        raise InputError(f"{address}: write it as s3://bucket/key")
    with aws_errors(address):
        client = open_aws("s3")
        found = None if key.endswith("/") or not key else _head(client, bucket, key)
        if found is not None:
            _refuse_unknown(address, [found.path])
            return Remote(address, bucket, found.path + (f":{inner}" if inner else ""), (found,))
        if inner:
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)  # says if there is no such bucket
            raise InputError(f"{address}: no such object; check the key")
        return _list_folder(client, address, bucket, key.strip("/"))


def fetch(remote: Remote, folder: Path, progress: Progress | None = None) -> Path | str:
    """Fetch what is missing into ``folder``; returns the local location of the stack.

    A file that is there in full stays, one in part is continued. ``folder`` must belong to this
    ``remote.identity`` alone. Of a Zarr group only the array that is read is fetched.

    Parameters
    ----------
    progress
        Called with (done, total) in MB.

    Raises
    ------
    InputError
        As :func:`list_remote`; a disk that is full; an object that changed meanwhile. What has
        come stays for the next call.
    """
    location = f"{folder}/{remote.location}"
    with aws_errors(remote.address):
        client = open_aws("s3")
        files = remote.files
        metadata = [each for each in files if PurePosixPath(each.path).name in _METADATA]
        if metadata and ".n5" not in remote.location:
            _fetch_all(client, remote, metadata, folder, None)
            array = find_array(Path(location), remote.address).relative_to(folder).as_posix()
            files = tuple(each for each in files if each.path.startswith(f"{array}/"))
        _refuse_full_disk(remote.address, files, folder)
        _fetch_all(client, remote, files, folder, progress)
    return location


def _head(client: Any, bucket: str, key: str) -> RemoteFile | None:
    """The object ``key``; ``None`` if there is none of this very name."""
    from botocore.exceptions import ClientError

    try:
        answer = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in GONE:
            return None
        raise
    name = PurePosixPath(key).name
    return RemoteFile(key, name, int(answer["ContentLength"]), answer["ETag"].strip('"'))


def _list_folder(client: Any, address: str, bucket: str, prefix: str) -> Remote:
    """All below a prefix, and the metadata of Zarr groups above it."""
    parts = prefix.split("/")
    tops = [i for i, part in enumerate(parts) if Path(part).suffix.lower() in _CONTAINERS]
    top = tops[0] if tops else len(parts) - 1
    root = "".join(f"{part}/" for part in parts[:top])
    files = []
    for page in client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""
    ):
        for each in page.get("Contents", ()):
            if not each["Key"].endswith("/"):
                path = safe_path(address, each["Key"].removeprefix(root))
                files.append(RemoteFile(each["Key"], path, each["Size"], each["ETag"].strip('"')))
    if not files:
        raise InputError(f"{address}: no such object, and none below it; check the key")
    above = ["/".join(parts[: end + 1]) for end in range(top, len(parts) - 1)]
    for key in (f"{group}/{name}" for group in above for name in _METADATA):
        found = _head(client, bucket, key)
        if found is not None:
            path = safe_path(address, key.removeprefix(root))
            files.append(RemoteFile(key, path, found.size, found.etag))
    if not tops and not any(PurePosixPath(each.path).name in _METADATA for each in files):
        _refuse_unknown(address, [each.path for each in files])
    location = prefix.removeprefix(root) or "."
    return Remote(address, bucket, location, tuple(sorted(files, key=lambda each: each.path)))


def _refuse_unknown(address: str, paths: Sequence[str]) -> None:
    """What no reader takes is refused before it is fetched."""
    for path in map(PurePosixPath, paths):
        if not path.name.startswith(".") and not is_known(path.suffix):
            raise InputError(
                f"{address}: {path.name} is in no format that is known; name an image, a prefix "
                "of slices, or a Zarr or N5 folder"
            )


def _refuse_full_disk(address: str, files: Sequence[RemoteFile], folder: Path) -> None:
    missing = sum(each.size for each in files if not _is_whole(folder / each.path, each))
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise InputError(
            f"{address}: {missing / 1e9:.1f} GB to fetch, {free / 1e9:.1f} GB free at {folder}; "
            "make room"
        )


def _is_whole(path: Path, remote: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == remote.size


def _fetch_all(
    client: Any,
    remote: Remote,
    files: Sequence[RemoteFile],
    folder: Path,
    progress: Progress | None,
) -> None:
    """Fetch several files at a time; the first error ends all."""
    total, done = sum(each.size for each in files), 0
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            tasks = {
                pool.submit(_fetch_file, client, remote.bucket, each, folder): each
                for each in files
            }
            for task in as_completed(tasks):
                task.result()
                done += tasks[task].size
                if progress:
                    progress(done // 1_000_000, total // 1_000_000)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _fetch_file(client: Any, bucket: str, remote: RemoteFile, folder: Path) -> None:
    """Fetch or continue one file; it gets its name when it is whole."""
    target = folder / remote.path
    if _is_whole(target, remote):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    start = part.stat().st_size if part.exists() else 0
    if start > remote.size:
        part.unlink()
        start = 0
    with part.open("ab") as stream:
        if start < remote.size:
            wanted = {"Range": f"bytes={start}-"} if start else {}
            answer = client.get_object(
                Bucket=bucket, Key=remote.key, IfMatch=f'"{remote.etag}"', **wanted
            )
            for block in answer["Body"].iter_chunks(_BLOCK):
                stream.write(block)
    if part.stat().st_size != remote.size:
        raise ConnectionError(f"{part.stat().st_size} of {remote.size} bytes came")
    part.rename(target)
