"""``emsam data check`` as a command."""

from __future__ import annotations

import numpy as np
import tifffile

from tests.conftest import Laboratory


def test_check_prints_writes_and_exits_as_asked(lab: Laboratory) -> None:
    lab.run("data", "synthetic", "demo", "--shape", "8,64,64")
    printed = lab.run("data", "check", "demo", "--strict").stdout
    assert "note: missing sections, known" in printed
    assert "0 warnings" in printed
    image = np.random.default_rng(0).integers(0, 256, (6, 40, 40), dtype=np.uint8)
    image[5] = image[0]
    tifffile.imwrite(lab.path / "em.tif", image, photometric="minisblack")
    lab.run("data", "ingest", "twins", "--image", "em.tif", "--voxel-size", "30,8,8",
            "--split", "train=0-3,val=4-5")  # fmt: skip
    lab.run("data", "check", "twins", "--html", "twins.html")
    assert "0/5 (identical)" in (lab.path / "twins.html").read_text()
    found = lab.json("data", "check", "twins")
    assert [each["kind"] for each in found["findings"]] == ["leakage"]
    assert found["compared"] == ["demo"]
    lab.run("data", "check", "twins", "--strict", status=2)
    refused = lab.run("data", "check", "twins", "--html", "nowhere/x.html", status=2)
    assert refused.stderr.count("\n") == 1
    assert "nowhere/x.html" in refused.stderr
