"""Volumes in S3, against a real server that can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from emsam.data.synthetic import synthesize_volume
from emsam.errors import InputError
from emsam.params import Params
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.run import segment_volume
from tests.s3_server import S3Server, run_line, server
from tests.stacks import ids_of

__all__ = ["server"]

pytestmark = pytest.mark.slow


@pytest.fixture
def address(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A volume in a bucket of its own, with the environment to reach it."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = f"b{abs(hash(tmp_path)):x}"
    client = server.client()
    client.create_bucket(Bucket=bucket)
    local = tmp_path / "volume.zarr"
    synthesize_volume("v", local, shape=(8, 300, 300))
    for path in local.rglob("*"):
        if path.is_file():
            key = f"lab/volume.zarr/{path.relative_to(local).as_posix()}"
            client.upload_file(str(path), bucket, key)
    return f"s3://{bucket}/lab/volume.zarr"


def test_chunks_come_from_s3_and_a_broken_line_is_gone_on_from(
    address: str, server: S3Server, bright: nn.Module, bright_params: Params, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    options = Options(link=True, side=128, overlap=32)
    local = tmp_path / "local.zarr"
    segment_volume(bright, str(tmp_path / "volume.zarr"), local, bright_params, options)
    out = tmp_path / "ids.zarr"
    with run_line(server) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)

        def break_off(done: int, total: int, what: str) -> None:
            line.answer = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"

        with pytest.raises(InputError, match=rf"{address}: .*(reached|answers)"):
            segment_volume(bright, address, out, bright_params, options, break_off)
        assert not out.exists()
        line.answer = b""
        segment_volume(bright, address, out, bright_params, options)
    np.testing.assert_array_equal(ids_of(out), ids_of(local))
    # nothing but the output and what was there before
    assert {path.name for path in tmp_path.iterdir()} == {"volume.zarr", "local.zarr", "ids.zarr"}


def test_what_is_not_there_is_refused(
    address: str, bright: nn.Module, bright_params: Params, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "ids.zarr"
    for wrong, said in [
        (f"{address}x", "no such object"),
        (address.replace("s3://", "s3://no"), "no such"),
    ]:
        with pytest.raises(InputError, match=said):
            segment_volume(bright, wrong, out, bright_params)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(InputError, match="access is refused"):
        segment_volume(bright, address, out, bright_params)
    assert {path.name for path in tmp_path.iterdir()} == {"volume.zarr"}
