"""The cache of pretrained weights.

One folder for each checkpoint that was taken in, named after its encoder and its sha256::

    <root>/vit_b-ec2df6273261/encoder.safetensors   ImageEncoderViT without its neck, float32
    <root>/vit_b-ec2df6273261/manifest.json         encoder, source, sha256 of both files
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from safetensors import SafetensorError

from emsam.data.digest import file_sha256
from emsam.documents import whole_folder
from emsam.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OfficialFile:
    """A file that Meta publishes; ``size`` in bytes."""

    name: str
    sha256: str
    size: int


OFFICIAL: dict[str, OfficialFile] = {
    "vit_b": OfficialFile(
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    "vit_l": OfficialFile(
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    "vit_h": OfficialFile(
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
}
"""Names from the README of facebookresearch/segment-anything; the six digits in a name begin the
file's MD5. sha256 as micro-sam (``micro_sam/util.py``) and 3D Slicer's SegmentWithSAM check it."""

_WEIGHTS, _MANIFEST = "encoder.safetensors", "manifest.json"


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights of an image encoder in the cache.

    Attributes
    ----------
    encoder
        ``vit_b``, ``vit_l`` or ``vit_h``.
    sha256
        Of the checkpoint that they were taken from; their name.
    path
        Safetensors file of the encoder without its neck.
    path_sha256
        Of that file.
    source
        Address or file name of the checkpoint.
    """

    encoder: str
    sha256: str
    path: Path
    path_sha256: str
    source: str

    @property
    def official(self) -> bool:
        """Whether this is Meta's own file."""
        return self.encoder in OFFICIAL and OFFICIAL[self.encoder].sha256 == self.sha256


def list_weights(root: Path) -> list[PretrainedWeights]:
    """What the cache holds, by encoder and sha256; damaged manifests are passed over."""
    entries = (_read_entry(each) for each in sorted(root.glob("vit_*-*")))
    return [entry for entry in entries if entry is not None]


def find_entry(root: Path, encoder: str, sha256: str) -> PretrainedWeights | None:
    """The entry taken from the checkpoint with this sha256, if it is there and whole."""
    entry = _read_entry(_folder(root, encoder, sha256))
    if entry is None or entry.sha256 != sha256 or file_sha256(entry.path) != entry.path_sha256:
        return None
    return entry


def store_weights(
    weights: dict[str, Tensor], encoder: str, sha256: str, source: str, root: Path
) -> PretrainedWeights:
    """Write an entry under a temporary name, sync it, rename it; call it in a locked cache.

    Parameters
    ----------
    weights
        Of ``ImageEncoderViT`` without its neck.
    sha256
        Of the checkpoint that they come from.
    source
        Its address or file name.

    Raises
    ------
    InputError
        No space, or no permission.
    """
    from safetensors.torch import save_file  # torch is slow to import, and a list needs none

    final = _folder(root, encoder, sha256)
    try:
        with whole_folder(final) as folder:  # an entry that is there is damaged
            file = folder / _WEIGHTS
            save_file({name: each.contiguous() for name, each in weights.items()}, file)
            entry = PretrainedWeights(encoder, sha256, final / _WEIGHTS, file_sha256(file), source)
            (folder / _MANIFEST).write_text(_manifest(entry))
    except (OSError, SafetensorError) as error:
        raise _no_place(root, error) from None
    return entry


def _folder(root: Path, encoder: str, sha256: str) -> Path:
    return root / f"{encoder}-{sha256[:12]}"


def _manifest(entry: PretrainedWeights) -> str:
    document = {
        "encoder": entry.encoder,
        "source": entry.source,
        "sha256": entry.sha256,
        "files": {_WEIGHTS: {"sha256": entry.path_sha256}},
    }
    return json.dumps(document, indent=2) + "\n"


def _read_entry(folder: Path) -> PretrainedWeights | None:
    path = folder / _WEIGHTS
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        entry = PretrainedWeights(
            encoder=str(manifest["encoder"]),
            sha256=str(manifest["sha256"]),
            path=path,
            path_sha256=str(manifest["files"][_WEIGHTS]["sha256"]),
            source=str(manifest["source"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if path.is_file() else None


@contextmanager
def locked_cache(root: Path) -> Iterator[None]:
    """Keep other processes from writing to the cache; the kernel frees the lock of a dead one.

    Raises
    ------
    InputError
        Another process holds it, or the folder cannot be written to.
    """
    lock = root / ".lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as handle:
            if not _hold(handle, lock):
                raise InputError(
                    f"{root}: another process is putting weights into it; wait until it is done"
                )
            try:
                yield
            finally:
                lock.unlink()
    except OSError as error:
        raise _no_place(root, error) from None


def _hold(handle: IO[str], lock: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a holder removes the file when it is done: what was opened may be gone by now
        return os.path.samestat(os.fstat(handle.fileno()), lock.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _no_place(root: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(
        f"{root}: cannot hold the weights ({reason}); free space, or set EMSAM_WEIGHTS_ROOT to "
        "another folder"
    )
