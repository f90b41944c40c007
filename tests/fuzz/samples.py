"""Small valid files of every kind that a user can hand over, and hostile ones that are well-formed.

Each function writes samples below a folder, one folder a sample.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import mrcfile
import numpy as np
import tifffile
import zarr

from tests.fuzz.mutate import Files, Link
from tests.n5 import CODECS, write_n5

IMAGE = np.random.default_rng(0).integers(0, 255, (3, 20, 24), dtype=np.uint8)
GREY = {"photometric": "minisblack"}
OME = {"axes": "ZYX", "PhysicalSizeX": 8, "PhysicalSizeY": 8, "PhysicalSizeZ": 30}


def tiff(root: Path) -> None:
    kinds = {
        "plain": {}, "deflate": {"compression": "zlib"}, "lzw": {"compression": "lzw"},
        "tiles": {"tile": (16, 16), "compression": "zstd"}, "big": {"bigtiff": True},
        "jpeg": {"compression": "jpeg"}, "packbits": {"compression": "packbits"},
        "predictor": {"compression": "zlib", "predictor": True}, "rows": {"rowsperstrip": 4},
        "ome": {"ome": True, "metadata": OME}, "big-endian": {"byteorder": ">"},
        "jpeg2000": {"compression": "jpeg2000"}, "lzma": {"compression": "lzma"},
        "webp-like": {"compression": "jpegxl"},
    }  # fmt: skip
    for name, options in kinds.items():
        path = _folder(root, name) / "em.tif"
        tifffile.imwrite(path, IMAGE, **(GREY | options))
    imagej = _folder(root, "imagej") / "em.tif"
    tifffile.imwrite(
        imagej, IMAGE, imagej=True, metadata={"spacing": 30, "unit": "nm", "axes": "ZYX"}
    )
    ten, hundred = "'" + "a" * 10 + "'", "'" + "&a;" * 10 + "'"
    xml = f"<!DOCTYPE x [<!ENTITY a {ten}><!ENTITY b {hundred}>]><OME><Image>"
    xml += "<Pixels PhysicalSizeX='&b;'/></Image></OME>"
    path = _folder(root, "entities") / "em.tif"
    tifffile.imwrite(path, IMAGE, description=xml, metadata=None, **GREY)


def tiff_folder(root: Path) -> None:
    folder = _folder(root, "slices")
    for z, plane in enumerate(IMAGE):
        tifffile.imwrite(folder / f"z{z}.tif", plane, compression="zlib", **GREY)


def png_folder(root: Path) -> None:
    for name, image in (("uint8", IMAGE), ("uint16", IMAGE.astype(np.uint16) * 200)):
        folder = _folder(root, name)
        for z, plane in enumerate(image):
            (folder / f"z{z}.png").write_bytes(imagecodecs.png_encode(plane))


def hdf5(root: Path) -> None:
    kinds = {
        "plain": {}, "gzip": {"chunks": (1, 8, 8), "compression": "gzip", "shuffle": True},
        "lzf": {"chunks": (2, 10, 12), "compression": "lzf", "fletcher32": True},
        "scaled": {"chunks": (1, 20, 24), "scaleoffset": 0},
    }  # fmt: skip
    for name, options in kinds.items():
        for version in ("earliest", "latest"):
            path = _folder(root, f"{name}-{version}") / "em.h5"
            with h5py.File(path, "w", libver=version) as file:
                file.create_dataset("volumes/raw", data=IMAGE, **options).attrs["resolution"] = (
                    30.0,
                    8.0,
                    8.0,
                )
                file["soft"] = h5py.SoftLink("/volumes/raw")
    with h5py.File(_folder(root, "links") / "em.h5", "w") as file:
        file["main"] = h5py.ExternalLink("../outside/other.h5", "/main")
        file["loop"] = h5py.SoftLink("/loop")
    with h5py.File(_folder(root, "outside") / "em.h5", "w") as file:
        file.create_dataset("main", (3, 4, 4), "u1", external=[("../outside/secret", 0, 48)])
    with h5py.File(_folder(root, "virtual") / "em.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 4, 4), "u1")
        layout[:] = h5py.VirtualSource("../outside/other.h5", "main", (3, 4, 4))
        file.create_virtual_dataset("main", layout)
    with h5py.File(_folder(root, "sparse") / "em.h5", "w") as file:
        file.create_dataset("main", (1 << 20, 1 << 15, 1 << 15), "u1", chunks=(1, 1 << 10, 1 << 10))
    with h5py.File(_folder(root, "types") / "em.h5", "w") as file:
        file["text"] = np.array([["a", "b"]], dtype="S1")
        file["objects"] = np.array([[b"a"]], dtype=h5py.string_dtype())


def zarr2(root: Path) -> None:
    from numcodecs import LZ4, Blosc, GZip, Shuffle, Zlib

    kinds = {"blosc": Blosc(), "gzip": GZip(), "zlib": Zlib(), "lz4": LZ4(), "raw": None}
    for name, compressor in kinds.items():
        folder = _folder(root, name) / "em.zarr"
        filters = [Shuffle(1)] if name == "zlib" else None
        made = zarr.create_array(
            folder, shape=IMAGE.shape, dtype="u1", chunks=(2, 10, 12), zarr_format=2,
            compressors=compressor, filters=filters,
        )  # fmt: skip
        made[:] = IMAGE
    group = zarr.open_group(_folder(root, "ome") / "em.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=IMAGE.shape, dtype="u1", chunks=(1, 20, 24))[:] = IMAGE
    group.attrs["multiscales"] = [_multiscale("0.4")]
    folder = _folder(root, "pickle") / "em.zarr"
    for name, content in _pickled_array().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def zarr3(root: Path) -> None:
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    kinds = {"blosc": BloscCodec(), "gzip": GzipCodec(), "zstd": ZstdCodec(), "raw": None}
    for name, codec in kinds.items():
        for shards in (None, (2, 20, 24)):
            folder = _folder(root, f"{name}{'-shards' if shards else ''}") / "em.zarr"
            made = zarr.create_array(folder, shape=IMAGE.shape, dtype="u1", chunks=(1, 10, 12),
                                     shards=shards, compressors=codec, zarr_format=3)  # fmt: skip
            made[:] = IMAGE
    group = zarr.open_group(_folder(root, "ome") / "em.zarr", mode="w", zarr_format=3)
    group.create_array("image/0", shape=IMAGE.shape, dtype="u1", chunks=(1, 20, 24))[:] = IMAGE
    group["image"].attrs["ome"] = {"version": "0.5", "multiscales": [_multiscale("0.5")]}


def n5(root: Path) -> None:
    for codec in CODECS:
        write_n5(_folder(root, codec) / "em.n5", IMAGE, (2, 10, 12), codec)
    write_n5(
        _folder(root, "scaled") / "em.n5" / "s0",
        IMAGE,
        pixelResolution={"unit": "nm", "dimensions": [8, 8, 30]},
    )


def mrc(root: Path) -> None:
    for dtype in ("i1", "i2", "f4", "u2"):
        with mrcfile.new(_folder(root, dtype) / "em.mrc") as file:
            file.set_data(IMAGE.astype(dtype))
            file.voxel_size = 80.0


def sam(root: Path) -> None:
    import torch

    from tests.sam_files import flat_state

    torch.save(flat_state("vit_b"), _folder(root, "whole") / "sam.pth")
    torch.save(
        {"image_encoder.pos_embed": torch.zeros(1, 2, 2, 768)}, _folder(root, "small") / "sam.pth"
    )


def safetensors(root: Path) -> None:
    network, _ = _tiny_network()
    from safetensors.torch import save_file

    save_file(network.state_dict(), _folder(root, "unet") / "model.safetensors")


def package(root: Path) -> None:
    from safetensors.torch import save_file

    from emsam.params import dump_params

    network, params = _tiny_network()
    folder = _folder(root, "unet")
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "params.yaml").write_text(dump_params(params))


def params_yaml(root: Path) -> None:
    from emsam.params import Params, dump_params

    (_folder(root, "defaults") / "params.yaml").write_text(dump_params(Params()))
    (_folder(root, "short") / "params.yaml").write_text(
        "train:\n  minutes: 3\nmodel: {name: unet}\n"
    )


def run_directory(root: Path) -> None:
    import torch

    from emsam.train.run_directory import RunDirectory

    network, params = _tiny_network()
    run = RunDirectory(_folder(root, "unet") / "run")
    run.path.mkdir()
    data = {"name": "demo", "digest": "0" * 32 + ".dir", "path": "data/demo/volume.zarr",
            "shape": [3, 20, 24], "splits": {"train": [0, 0], "val": [1, 1]}}  # fmt: skip
    run.prepare(params, {"data": [data], "git": {"commit": "abc"}, "versions": {"torch": "2"}})
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    trainer = {"optimizer": optimizer.state_dict(), "adapters": {}, "scaler": {}, "step": 4,
               "seconds": 1.5, "torch_rng": torch.get_rng_state(), "cuda_rng": []}  # fmt: skip
    run.save_checkpoint(4, network.state_dict(), trainer, keep=1)
    run.write_status(state="done", step=4, steps=4, fraction=1.0, seconds=1.5, pid=1, started=1.0,
                     metrics={"train/loss": 0.5})  # fmt: skip
    run.set_tuned(params.segment)
    for step in range(4):
        run.append_metrics({"step": step, "seconds": 0.1 * step, "train/loss": 1.0 / (step + 1)})
    run.append_trial({"study": "a", "trial": 0, "data": "demo", "score": 0.5})
    means = [{"metric": "arand_contest_2d", "mean": 0.1, "low": 0.0, "high": 0.2}]
    entry = {"key": "k", "data": "demo", "digest": data["digest"], "split": "val",
             "task": "neurites", "step": 4, "means": means, "rows": []}  # fmt: skip
    run.scores_file.write_text(json.dumps({"sets": [entry]}))


def archive_zip(root: Path) -> None:
    for name, packing in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED),
                          ("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):  # fmt: skip
        with zipfile.ZipFile(_folder(root, name) / "data.zip", "w", packing) as file:
            for member in ("a/1.tif", "a/2.tif", "readme.txt"):
                file.writestr(member, member.encode() * 20)
    with zipfile.ZipFile(_folder(root, "names") / "data.zip", "w") as file:
        for member in ("../outside/x.tif", "/tmp/x.tif", "a/../../outside/x.tif"):
            file.writestr(member, b"x")


def archive_tar(root: Path) -> None:
    for name, mode in (("plain.tar", "w"), ("packed.tar.gz", "w:gz")):
        with tarfile.open(_folder(root, name[:5]) / name, mode) as file:
            for member in ("a/1.tif", "a/2.tif", "readme.txt"):
                info = tarfile.TarInfo(member)
                info.size = 60
                file.addfile(info, io.BytesIO(member.encode() * 20))


def volume_store(root: Path) -> None:
    from emsam.data.ingest import Source, ingest_volume

    folder = _folder(root, "volume")
    tifffile.imwrite(root / "em.tif", IMAGE, **GREY)
    ids = np.arange(1, 4, dtype=np.uint16).reshape(3, 1, 1).repeat(20, 1).repeat(24, 2)
    tifffile.imwrite(root / "ids.tif", ids, **GREY)
    source = Source(
        root / "em.tif", {"neurites": root / "ids.tif"}, (30.0, 8.0, 8.0), "train=0-1,val=2-2"
    )
    ingest_volume("demo", source, folder / "volume.zarr")
    for name in ("em.tif", "ids.tif"):
        (root / name).unlink()


def predictions(root: Path) -> None:
    from emsam.data.predictions import PredictionWriter

    folder = _folder(root, "predictions")
    writer = PredictionWriter(
        folder / "demo-val.zarr", (20, 24), [1, 2], (30.0, 8.0, 8.0), {"model": "a"}
    )
    for z in (1, 2):
        writer.append(z, np.full((20, 24), z, np.int32))
    writer.finish()
    error = {
        "z": 1,
        "kind": "split",
        "y": 1,
        "x": 2,
        "area": 5,
        "severity": 0.5,
        "truth": [1],
        "pred": [2],
    }
    (folder / "demo-val.errors.json").write_text(json.dumps({"errors": [error]}))


def decision(root: Path) -> None:
    from emsam.registry.decision import PROMOTE, Decision

    made = Decision(
        PROMOTE, "better", "emsam-neurites/2", "emsam-neurites/1", "arand_contest_2d", 0.1, 0.2,
        "demo", "0" * 32 + ".dir", "test", ({"data": "demo", "slices": [1, 2]},),
    )  # fmt: skip
    (_folder(root, "promote") / "decision.json").write_text(made.to_json())


WRITERS: dict[str, Callable[[Path], None]] = {
    "tiff": tiff, "tiff folder": tiff_folder, "png folder": png_folder, "hdf5": hdf5,
    "zarr v2": zarr2, "zarr v3": zarr3, "n5": n5, "mrc": mrc, "sam .pth": sam,
    "safetensors": safetensors, "model package": package, "params.yaml": params_yaml,
    "run directory": run_directory, "zip": archive_zip, "tar": archive_tar,
    "volume store": volume_store, "predictions": predictions, "decision": decision,
}  # fmt: skip


def load(folder: Path) -> Files:
    """All files below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lay_out(files: Files, folder: Path) -> None:
    """Write the files of a case; what no file system can hold is left out."""
    for name, content in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif isinstance(content, Link):
                path.symlink_to(content)
            else:
                path.write_bytes(content)
        except (OSError, ValueError):
            continue


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    return folder


def _multiscale(version: str) -> dict[str, object]:
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scale = {"type": "scale", "scale": [30.0, 8.0, 8.0]}
    return {
        "version": version,
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }


def _pickled_array() -> dict[str, bytes]:
    """A Zarr v2 array whose chunks numcodecs would unpickle, and so run, were it asked to."""
    about = {
        "zarr_format": 2, "shape": [1, 4, 4], "chunks": [1, 4, 4], "dtype": "|u1", "order": "C",
        "fill_value": 0, "filters": [{"id": "pickle", "protocol": 2}], "compressor": None,
    }  # fmt: skip
    return {".zarray": json.dumps(about).encode(), "0.0.0": b"cos\nsystem\n(S'touch ran'\ntR."}


def _tiny_network():  # type: ignore[no-untyped-def]
    from emsam.model.build import build_model
    from emsam.params import load_params

    params = load_params(None, ["model.name=unet", "model.unet_widths=[4, 6]", "train.mode=full"])
    return build_model(params), params
