"""Segment Anything's ``.pth`` files, read as data: nothing in them is run."""

from __future__ import annotations

import pickletools
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from emsam.errors import InputError
from emsam.model.encoder import ENCODERS
from emsam.model.torchvision_ops import declare_missing_operators

_PREFIX = "image_encoder."
_NECK = "neck."
_LARGEST_INDEX = 4 << 20
"""Bytes of a checkpoint's pickle, which lists names and shapes; ViT-H's has a tenth of a MB."""
_DATA = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage"
)
"""All that the pickle of a state dict asks for: ``module name``."""
_FETCH_AGAIN = "fetch it again"


def read_encoder(file: Path, encoder: str) -> dict[str, Tensor]:
    """Weights of the image encoder in a checkpoint of Segment Anything, without its neck.

    The file must hold a state dict with every weight of ``sam_model_registry[encoder]`` and no
    other, each of its shape and dtype. It is mapped into memory, and not one byte more is read
    than it has: torch's archives are not compressed, so those that are, are refused.

    Parameters
    ----------
    file
        What ``torch.save`` wrote for ``Sam.state_dict()``, torch 1.6 or newer.
    encoder
        ``vit_b``, ``vit_l`` or ``vit_h``.

    Returns
    -------
    dict
        float32 tensors under the names that ``ImageEncoderViT`` gives them, backed by ``file``.

    Raises
    ------
    InputError
        A file that is missing, damaged, more than weights, or another network's.

    References
    ----------
    .. [1] facebookresearch/segment-anything, ``segment_anything/build_sam.py``.
    """
    _refuse_what_is_no_checkpoint(file)
    state = _load(file)
    other = _encoder_of(state)
    if other and other != encoder:
        raise InputError(f"{file}: holds weights of {other}, not of {encoder}; ask for {other}")
    if problem := difference(state, _all_weights(encoder)):
        raise InputError(
            f"{file}: {problem}; give a file with the weights of Segment Anything's {encoder}, "
            "all of them and no other"
        )
    weights = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in state.items()
        if name.startswith(_PREFIX) and not name.startswith(_PREFIX + _NECK)
    }
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise InputError(f"{file}: {name} holds NaN or infinity; give weights that are whole")
    return weights


def difference(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """First thing in which two state dicts differ, in words; empty where names, shapes and
    dtypes are the same."""
    if missing := [name for name in wanted if name not in found]:
        return f"{len(missing)} of {len(wanted)} weights are missing, the first is {missing[0]}"
    if surplus := [name for name in found if name not in wanted]:
        return f"{len(surplus)} unexpected weights, the first is {surplus[0]!r:.80}"
    for name, tensor in wanted.items():
        here = found[name]
        if here.shape != tensor.shape:
            return f"{name} has shape {tuple(here.shape)}, not {tuple(tensor.shape)}"
        if here.dtype != tensor.dtype:
            return f"{name} is {str(here.dtype)[6:]}, not {str(tensor.dtype)[6:]}"
    return ""


@cache
def _all_weights(encoder: str) -> dict[str, Tensor]:
    """Names, shapes and dtypes of segment-anything's own network, without memory for them."""
    declare_missing_operators()
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        return sam_model_registry[encoder]().state_dict()


def _encoder_of(state: Mapping[str, Tensor]) -> str | None:
    """The encoder whose width the position embedding has."""
    embedding = state.get(_PREFIX + "pos_embed")
    width = embedding.shape[-1] if embedding is not None and embedding.ndim else None
    return next((name for name, each in ENCODERS.items() if each.width == width), None)


def _load(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds on damaged files
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{file}: damaged ({reason}); {_FETCH_AGAIN}") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in state.items()
    ):
        raise InputError(f"{file}: holds no state dict; save what 'sam.state_dict()' returns")
    return state


def _refuse_what_is_no_checkpoint(file: Path) -> None:
    """Look at a file before torch does: an archive of plain data that says only what it must."""
    if not file.is_file():
        reason = "not a file" if file.exists() else "no such file"
        raise InputError(f"{file}: {reason}; check the path")
    try:
        with ZipFile(file) as archive:
            entries = archive.infolist()
            (index,) = (each for each in entries if re.fullmatch(r"[^/]+/data\.pkl", each.filename))
            plain = all(each.compress_type == ZIP_STORED for each in entries)
            if not plain or index.file_size > _LARGEST_INDEX:
                raise InputError(
                    f"{file}: not as torch.save writes it (compressed, or an index of "
                    f"{index.file_size:,} bytes); save it again with torch.save"
                )
            asked_for = _globals(archive.read(index))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}; check the path") from None
    except Exception:  # zipfile and pickletools raise many kinds on damaged files
        raise InputError(
            f"{file}: no checkpoint of torch.save, or truncated or damaged; {_FETCH_AGAIN}"
        ) from None
    if code := [name for name in asked_for if not _DATA.fullmatch(name)]:
        raise InputError(
            f"{file}: wants to run {code[0]!r:.80}, and weights run nothing; do not trust it, "
            "or save the state dict alone"
        )


def _globals(pickle: bytes) -> list[str]:
    """Classes and functions that a pickle asks for, as ``module name``; nothing is executed."""
    return [
        str(argument) if opcode.name in ("GLOBAL", "INST") else opcode.name
        for opcode, argument, _ in pickletools.genops(pickle)
        if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4")
    ]
