"""Ingest from S3, against a real server with real faults."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from emsam.data import ingest
from emsam.data.aws import safe_path
from emsam.data.digest import folder_digest
from emsam.data.ingest import Source, ingest_volume
from emsam.data.readers import s3
from emsam.errors import InputError
from tests.s3_server import Line, S3Server, run_line, server
from tests.unit.data.conftest import VOXEL
from tests.waiting import wait_for

__all__ = ["server"]

pytestmark = pytest.mark.slow
NOISE = np.random.default_rng(0).integers(0, 256, (6, 300, 400), dtype=np.uint8)
"""720 kB that do not compress."""


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of its own, with the environment to reach it."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"b{abs(hash(tmp_path)):x}"
    server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def line(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A way to the server that can fail; the environment leads through it."""
    with run_line(server) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        yield line


def put(server: S3Server, bucket: str, path: Path, key: str = "") -> None:
    """Upload a file, or all files of a folder below ``key``."""
    for each in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        name = each.relative_to(path.parent).as_posix()
        server.client().upload_file(str(each), bucket, f"{key}{name}")


def begun(server: S3Server, bucket: str, line: Line, store: Path, path: Path) -> tuple[Source, int]:
    """A source of which some has come before the line broke, and how much."""
    tifffile.imwrite(path, NOISE, photometric="minisblack")
    put(server, bucket, path)
    source = Source(f"s3://{bucket}/{path.name}", {}, VOXEL)
    line.breaks_after = 300_000
    refused(source, store, str(source.image), "broke off", "run the same command again")
    (part,) = store.parent.rglob("em.tif.part")
    return source, part.stat().st_size


def stored(store: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(store / "image/0", mode="r")[:])


def refused(source: Source, store: Path, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        ingest_volume("ca1", source, store)
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in words), line
    return line


def write_slices(folder: Path, stack: np.ndarray) -> Path:
    folder.mkdir()
    for z, plane in enumerate(stack):
        tifffile.imwrite(folder / f"z{z}.tif", plane, photometric="minisblack")
    return folder


def no_network(*_: Any) -> None:
    raise AssertionError("it was fetched again")


def test_every_kind_of_address(
    server: S3Server, bucket: str, store: Path, tmp_path: Path, grey_stack: np.ndarray,
    id_stack: np.ndarray,
) -> None:  # fmt: skip
    put(server, bucket, write_slices(tmp_path / "em", grey_stack), "deep/")
    with h5py.File(tmp_path / "ids.h5", "w") as file:
        file["volumes/labels"] = id_stack
    put(server, bucket, tmp_path / "ids.h5")
    labels = {"neurites": f"s3://{bucket}/ids.h5:/volumes/labels"}
    for image in (f"s3://{bucket}/deep/em/", f"s3://{bucket}/deep/em"):
        volume = ingest_volume("ca1", Source(image, labels, VOXEL), store)
        np.testing.assert_array_equal(stored(store), grey_stack)
        np.testing.assert_array_equal(volume.labels("neurites", 3), id_stack[3])
        assert list(store.parent.iterdir()) == [store]
    put(server, bucket, store, "vol/")
    other = tmp_path / "other" / "volume.zarr"
    labels = {"neurites": f"s3://{bucket}/vol/volume.zarr/labels/neurites"}
    volume = ingest_volume("b", Source(f"s3://{bucket}/vol/volume.zarr/", labels), other)
    assert volume.info.voxel_size == VOXEL
    np.testing.assert_array_equal(stored(other), grey_stack)
    np.testing.assert_array_equal(volume.labels("neurites", 3), id_stack[3])


def test_of_a_zarr_group_only_the_full_resolution_is_fetched(
    server: S3Server, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "em.tif"
    tifffile.imwrite(path, NOISE, photometric="minisblack")
    ingest_volume("a", Source(path, {}, VOXEL), tmp_path / "volume.zarr")
    put(server, bucket, tmp_path / "volume.zarr")
    remote = s3.list_remote(f"s3://{bucket}/volume.zarr/image/0")
    assert {each.path for each in remote.files} >= {"volume.zarr/zarr.json"}
    remote = s3.list_remote(f"s3://{bucket}/volume.zarr")
    (tmp_path / "down").mkdir()
    s3.fetch(remote, tmp_path / "down")
    chunks = {path.parts[-5:-4] for path in (tmp_path / "down").rglob("c/*/*/*")}
    assert len(chunks) == 1
    assert (tmp_path / "down/volume.zarr/image/1/zarr.json").exists()


def test_the_same_objects_are_not_fetched_again(
    server: S3Server, bucket: str, store: Path, tmp_path: Path, grey_stack: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 0.04, "PhysicalSizeY": 8e-3, "PhysicalSizeX": 8e-3}
    path = tmp_path / "em.ome.tif"
    tifffile.imwrite(path, grey_stack, photometric="minisblack", metadata=metadata)
    put(server, bucket, path)
    source = Source(f"s3://{bucket}/em.ome.tif", {})
    assert ingest_volume("ca1", source, store).info.voxel_size == (40, 8, 8)
    first = folder_digest(store)
    with monkeypatch.context() as offline:
        offline.setattr(ingest, "fetched", no_network)
        ingest_volume("ca1", source, store)
        ingest_volume("ca1", Source(source.image, {}, (40.0, 8.0, 8.0)), store)
    assert folder_digest(store) == first
    refused(Source(source.image, {}, VOXEL), store, "made from other input")
    tifffile.imwrite(path, grey_stack[::-1], photometric="minisblack", metadata=metadata)
    put(server, bucket, path)
    refused(source, store, "made from other input")
    assert list(store.parent.iterdir()) == [store]


def test_a_broken_connection_is_one_line_and_the_next_call_goes_on(
    server: S3Server, bucket: str, line: Line, store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "em.tif"
    source, came = begun(server, bucket, line, store, path)
    assert 0 < came < path.stat().st_size
    assert not store.exists()
    line.breaks_after = path.stat().st_size - came + 10_000  # not enough for the whole file
    ingest_volume("ca1", source, store)
    np.testing.assert_array_equal(stored(store), NOISE)
    assert list(store.parent.iterdir()) == [store]


def test_slices_that_have_come_are_not_fetched_again(
    server: S3Server, bucket: str, line: Line, store: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(s3, "WORKERS", 1)
    put(server, bucket, write_slices(tmp_path / "em", NOISE))
    source = Source(f"s3://{bucket}/em/", {}, VOXEL)
    line.breaks_after = 500_000  # of a connection that carries several slices
    refused(source, store, "broke off")
    before = {path: path.stat().st_mtime_ns for path in store.parent.rglob("z*.tif")}
    assert 0 < len(before) < len(NOISE)
    remote = s3.list_remote(str(source.image))
    (folder,) = {path.parents[1] for path in before}
    line.breaks_after = None
    s3.fetch(remote, folder)
    after = {path: path.stat().st_mtime_ns for path in store.parent.rglob("z*.tif")}
    assert len(after) == len(NOISE)
    assert before.items() <= after.items()
    ingest_volume("ca1", source, store)
    np.testing.assert_array_equal(stored(store), NOISE)


SCRIPT = """
import sys
from pathlib import Path
from emsam.data.ingest import Source, ingest_volume
ingest_volume("ca1", Source(sys.argv[1], {}, (30.0, 8.0, 8.0)), Path(sys.argv[2]))
"""


def test_an_ingest_that_is_killed_while_it_fetches_goes_on_from_what_has_come(
    server: S3Server, bucket: str, line: Line, store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "em.tif"
    noise = np.random.default_rng(1).integers(0, 256, (8, 800, 800), np.uint8)
    tifffile.imwrite(path, noise, photometric="minisblack")
    put(server, bucket, path)
    address = f"s3://{bucket}/em.tif"
    line.pause = 0.05
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, address, str(store)])
    come: dict[Path, int] = {}

    def some_has_come() -> bool:
        come.update((each, each.stat().st_size) for each in store.parent.rglob("em.tif.part"))
        return any(come.values())

    wait_for(some_has_come, "the first bytes")
    process.kill()
    process.wait()
    assert not store.exists()
    (part,) = come
    assert 0 < part.stat().st_size < path.stat().st_size
    line.pause, line.breaks_after = 0.0, path.stat().st_size - come[part] + 4000
    ingest_volume("ca1", Source(address, {}, VOXEL), store)  # all of it would break the line
    assert list(store.parent.iterdir()) == [store]
    assert (stored(store) == noise).all()


def test_what_was_begun_of_other_objects_is_dropped(
    server: S3Server, bucket: str, line: Line, store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "em.tif"
    source, _ = begun(server, bucket, line, store, path)
    tifffile.imwrite(path, 255 - NOISE, photometric="minisblack")
    put(server, bucket, path)
    line.breaks_after = None
    ingest_volume("ca1", source, store)
    np.testing.assert_array_equal(stored(store), 255 - NOISE)


def test_bad_input_in_s3_leaves_nothing(
    server: S3Server, bucket: str, store: Path, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    tifffile.imwrite(tmp_path / "em.tif", grey_stack, photometric="minisblack")
    content = (tmp_path / "em.tif").read_bytes()
    client = server.client()
    client.put_object(Bucket=bucket, Key="cut.tif", Body=content[: len(content) // 2])
    client.put_object(Bucket=bucket, Key="page.tif", Body=b"<html>404")
    client.put_object(Bucket=bucket, Key="notes/readme.txt", Body=b"mine")
    client.put_object(Bucket=bucket, Key="em.tif", Body=content)
    address = f"s3://{bucket}"
    cases = {
        f"{address}/cut.tif": "truncated",
        f"{address}/page.tif": "is a web page",
        f"{address}/notes/": "readme.txt is in no format",
        f"{address}/none.tif": "no such object",
        f"{address}/none/": "no such object",
        f"{address}/none.h5:/main": "no such object",
        "s3://no-such-bucket-here/em.tif": "no such bucket",
        "s3://no-such-bucket-here/em.h5:/main": "no such bucket",
        "s3://not a bucket/em.tif": "write it as s3://bucket/key",
        "s3://": "write it as s3://bucket/key",
    }
    for where, said in cases.items():
        refused(Source(where, {}, VOXEL), store, where, said)
        assert not store.parent.parent.exists(), where
    refused(Source(f"{address}/em.tif", {}), store, "says no voxel size")
    refused(Source(f"{address}/em.tif", {}, VOXEL, split="train=0-9"), store, "train=0-9")
    assert not store.parent.parent.exists()


def test_credentials_and_servers_that_fail_are_named(
    server: S3Server, bucket: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.client().put_object(Bucket=bucket, Key="em.tif", Body=b"x")
    source = Source(f"s3://{bucket}/em.tif", {}, VOXEL)
    cases: list[tuple[dict[str, str], str]] = [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "access is refused"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "access is refused"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "check AWS_ENDPOINT_URL"),
        ({"AWS_PROFILE": "nobody"}, "check AWS_PROFILE"),
    ]
    for changes, said in cases:
        with monkeypatch.context() as changed:
            for name, value in changes.items():
                changed.setenv(name, value)
            refused(source, store, f"s3://{bucket}/em.tif", said)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(source, store, "no credentials")
    assert not store.parent.parent.exists()


def test_a_server_that_answers_with_something_else(bucket: str, line: Line, store: Path) -> None:
    line.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"
    refused(Source(f"s3://{bucket}/em/", {}, VOXEL), store, f"s3://{bucket}/em/")
    line.answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    refused(Source(f"s3://{bucket}/em.tif", {}, VOXEL), store, f"s3://{bucket}/em.tif", "503")
    assert not store.parent.parent.exists()


def test_without_boto3_there_is_a_remedy(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    refused(Source("s3://b/em.tif", {}, VOXEL), store, "pip install -e '.[platform]'")


@pytest.mark.parametrize("path", ["../x.tif", "a/../../x.tif", "/etc/x.tif", "a//b.tif", "."])
def test_keys_that_lead_out_of_the_folder_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="is no path of a file"):
        safe_path("s3://b/k", path)
