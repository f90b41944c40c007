"""A Zarr array in S3 whose chunks are fetched as they are read; nothing is kept on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from emsam.data.aws import GONE, aws_errors, open_aws, safe_path
from emsam.data.digest import file_xxh3
from emsam.data.readers.chunks import read_json
from emsam.data.readers.opening import S3
from emsam.data.readers.stack import FileDigest, reading
from emsam.data.readers.zarr_array import ZarrStack, find_array
from emsam.data.readers.zarr_metadata import is_array, read_array
from emsam.errors import InputError

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


class S3ZarrStack(ZarrStack):
    """A Zarr array in S3; a region costs the chunks that it touches, or the shards' parts."""

    _digest = ""

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        with aws_errors(self.name):
            return super()._region(z, y, x)

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of the metadata: that of all chunks would fetch them."""
        return self._digest


def open_s3_zarr(address: str) -> S3ZarrStack | None:
    """Open ``s3://bucket/path/image.zarr``; ``None`` if there is no Zarr at this address.

    Only metadata are fetched, and looked at as those of local folders are.

    Raises
    ------
    InputError
        As :func:`~emsam.data.readers.zarr_array.open_zarr`, and whatever S3 refuses.
    """
    bucket, _, key = address.removeprefix(S3).strip("/").partition("/")
    if not bucket or not key:
        return None
    safe_path(address, key)
    with tempfile.TemporaryDirectory() as folder, aws_errors(address):
        client, top = open_aws("s3"), Path(folder)
        parents = [parent.as_posix() for parent in Path(key).parents if parent.name]
        for path in (key, *parents[:4]):
            _fetch_metadata(client, bucket, path, top)
        if not any((top / key / name).is_file() for name in _METADATA):
            return None
        if not is_array(top / key):
            _fetch_full_resolution(client, bucket, key, top, address)
        with reading(address, "Zarr"):
            found = find_array(top / key, address)
            array = read_array(found, address)
        store = S3Store(client, bucket, found.relative_to(top).as_posix())
        stack = S3ZarrStack(array, address, whole=False, store=store)
        metadata = b"".join(
            (found / name).read_bytes() for name in _METADATA if (found / name).is_file()
        )
    stack._digest = f"s3:{address}:{hashlib.sha256(metadata).hexdigest()[:32]}"
    return stack


def _fetch_metadata(client: Any, bucket: str, key: str, top: Path) -> None:
    from botocore.exceptions import ClientError

    for name in _METADATA:
        try:
            answer = client.get_object(Bucket=bucket, Key=f"{key}/{name}")
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                continue
            raise
        (top / key).mkdir(parents=True, exist_ok=True)
        (top / key / name).write_bytes(answer["Body"].read())


def _fetch_full_resolution(client: Any, bucket: str, key: str, top: Path, address: str) -> None:
    """Metadata of the first level that an OME-Zarr group names."""
    attributes = read_json(top / key / "zarr.json", address).get("attributes")
    attributes = attributes or read_json(top / key / ".zattrs", address)
    with suppress(KeyError, IndexError, TypeError):  # what is none is told by who reads it
        ome = attributes.get("ome", attributes)
        level = str(ome["multiscales"][0]["datasets"][0]["path"])
        _fetch_metadata(client, bucket, f"{key}/{safe_path(address, level)}", top)


class S3Store(Store):
    """What is below a prefix, for zarr to read.

    boto3 is asked in threads, so that the chunks of a region are on their way together.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        super().__init__(read_only=True)
        self._client, self._bucket, self._prefix = client, bucket, prefix

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        content = await asyncio.to_thread(self._get, key, byte_range)
        return None if content is None else prototype.buffer.from_bytes(content)

    def _get(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        from botocore.exceptions import ClientError

        wanted = {} if byte_range is None else {"Range": f"bytes={_span(byte_range)}"}
        path = f"{self._prefix}/{key}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=path, **wanted)
            return bytes(answer["Body"].read())
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                return None
            raise

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(k, prototype, r) for k, r in key_ranges)))

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._get, key, RangeByteRequest(0, 1)) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Store) and other._place == self._place

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def _place(self) -> tuple[str, str]:
        return self._bucket, self._prefix

    @property
    def supports_writes(self) -> bool:
        return False

    @property
    def supports_deletes(self) -> bool:
        return False

    @property
    def supports_listing(self) -> bool:
        return False

    async def set(self, key: str, value: Buffer) -> None:
        raise InputError(f"{S3}{self._bucket}/{self._prefix}: opened for reading")

    async def delete(self, key: str) -> None:
        raise InputError(f"{S3}{self._bucket}/{self._prefix}: opened for reading")

    async def list(self) -> AsyncIterator[str]:
        empty: tuple[str, ...] = ()
        for key in empty:  # an array is read by the names of its chunks
            yield key

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        return self.list()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        return self.list()


def _span(request: ByteRequest) -> str:
    """As HTTP has it: both ends included."""
    if isinstance(request, RangeByteRequest):
        return f"{request.start}-{request.end - 1}"
    if isinstance(request, OffsetByteRequest):
        return f"{request.offset}-"
    assert isinstance(request, SuffixByteRequest)
    return f"-{request.suffix}"
