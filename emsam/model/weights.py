"""Meta's Segment Anything weights: fetched once, checked, and copied into encoders."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from emsam.data.digest import file_md5, file_sha256
from emsam.errors import InputError, without_passwords
from emsam.model.download import download
from emsam.model.encoder import ENCODERS, SamEncoder
from emsam.model.sam_checkpoint import difference, read_encoder
from emsam.model.weights_cache import (
    OFFICIAL,
    OfficialFile,
    PretrainedWeights,
    find_entry,
    list_weights,
    locked_cache,
    store_weights,
)
from emsam.progress import Progress

_PART = "encoder.vit."
"""Where a network of ours has the encoder's weights."""


def get_weights(
    encoder: str,
    root: Path,
    *,
    source: Path | None = None,
    url: str,
    progress: Progress | None = None,
) -> PretrainedWeights:
    """Weights of an encoder, fetched and put into the cache unless they are there and whole.

    Parameters
    ----------
    encoder
        ``vit_b``, ``vit_l`` or ``vit_h``; from a network of ours any encoder.
    root
        Folder of the cache.
    source
        A local file in place of a download: Meta's under its own name, whose checksum is checked,
        another of the same layout, such as a fine-tuned Segment Anything, or the
        ``model.safetensors`` of a network that was trained here.
    url
        Folder on the web that has Meta's files.
    progress
        Called with (done, total) bytes of a download.

    Raises
    ------
    InputError
        An encoder without published weights; a file that is missing, damaged or another
        network's; no connection; no space. The cache is then as it was, but for the beginning of
        a download, with which the next call goes on.
    """
    if encoder not in ENCODERS:
        raise InputError(f"{encoder}: no such encoder; choose {', '.join(ENCODERS)}")
    if source is not None:
        return _take_in(source, encoder, root)
    official = _official_file(encoder)
    found = find_entry(root, encoder, official.sha256)
    return found or _fetch(official, encoder, root, url, progress)


def find_weights(name: str, encoder: str, root: Path) -> PretrainedWeights:
    """Weights in the cache.

    Parameters
    ----------
    name
        ``official`` for Meta's own, or the first digits, six or more, of the sha256 of the
        checkpoint that they were taken from.
    encoder
        Size of the encoder that they are for.
    root
        Folder of the cache.

    Raises
    ------
    InputError
        None or several of that name, or no published weights of that encoder.
    """
    digits = _official_file(encoder).sha256 if name == "official" else name
    if name != "official" and not re.fullmatch(r"[0-9a-f]{6,64}", name):
        raise InputError(
            f"weights {name!r}: write 'official', or at least six digits of a sha256 from "
            "'emsam weights list'"
        )
    here = [each for each in list_weights(root) if each.encoder == encoder]
    found = [each for each in here if each.sha256.startswith(digits)]
    if len(found) > 1:
        raise InputError(
            f"weights {name!r}: {len(found)} of {encoder} begin so in {root}; give more digits, "
            "see 'emsam weights list'"
        )
    if not found:
        remedy = f"emsam weights get {encoder}" + ("" if name == "official" else " --from FILE")
        raise InputError(f"weights {name!r}: none of {encoder} in {root}; run '{remedy}'")
    return found[0]


def load_encoder_weights(vit: nn.Module, weights_file: Path, sha256: str) -> None:
    """Copy weights from the cache into an encoder, all of them or none.

    Parameters
    ----------
    vit
        Segment-anything's ``ImageEncoderViT`` without its neck, or a module with the same
        parameters.
    weights_file
        A :attr:`PretrainedWeights.path`.
    sha256
        Its :attr:`PretrainedWeights.path_sha256`.

    Raises
    ------
    InputError
        A file that is missing, damaged, or another encoder's.
    """
    remedy = "fetch the weights again with 'emsam weights get'"
    try:
        if file_sha256(weights_file) != sha256:
            raise InputError(f"{weights_file}: its sha256 is not {sha256[:12]}…; {remedy}")
        weights = load_file(weights_file)
    except OSError as error:
        reason = error.strerror or "no such file"
        raise InputError(f"{weights_file}: {reason}; {remedy}") from None
    except SafetensorError as error:
        raise InputError(f"{weights_file}: damaged weights ({error}); {remedy}") from None
    if problem := difference(weights, vit.state_dict()):
        raise InputError(f"{weights_file}: weights of another encoder ({problem}); {remedy}")
    vit.load_state_dict(weights)


def _official_file(encoder: str) -> OfficialFile:
    if encoder not in OFFICIAL:
        raise InputError(
            f"{encoder}: Meta published no weights of this encoder; choose {', '.join(OFFICIAL)}"
        )
    return OFFICIAL[encoder]


def _fetch(
    official: OfficialFile, encoder: str, root: Path, url: str, progress: Progress | None
) -> PretrainedWeights:
    """Download Meta's file, check it and put its encoder into the cache."""
    address, part = f"{url.rstrip('/')}/{official.name}", root / f"{official.name}.part"
    with locked_cache(root):
        download(address, part, official.size, progress)
        sha256 = file_sha256(part)
        if sha256 != official.sha256:
            part.unlink()
            raise InputError(
                f"{address}: sha256 of what came begins with {sha256[:12]}, not "
                f"{official.sha256[:12]}; it is deleted, run the same command again"
            )
        weights, origin = read_encoder(part, encoder), without_passwords(address)
        stored = store_weights(weights, encoder, sha256, origin, root)
        part.unlink()
    return stored


def _take_in(source: Path, encoder: str, root: Path) -> PretrainedWeights:
    """Put a local file into the cache."""
    if source.suffix == ".safetensors":
        weights = _read_network(source, encoder)
    else:
        _official_file(encoder)
        weights = read_encoder(source, encoder)
    sha256 = file_sha256(source)
    _refuse_broken_promise(source, sha256)
    with locked_cache(root):
        return find_entry(root, encoder, sha256) or store_weights(
            weights, encoder, sha256, source.name, root
        )


def _read_network(file: Path, encoder: str) -> dict[str, Tensor]:
    """The encoder of a network that was trained here: ``model.safetensors`` of a checkpoint."""
    try:
        state = load_file(file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or 'no such file'}; check the path") from None
    except SafetensorError as error:
        raise InputError(f"{file}: damaged ({error}); take another checkpoint") from None
    weights = {
        name.removeprefix(_PART): tensor for name, tensor in state.items() if name.startswith(_PART)
    }
    with torch.device("meta"):
        wanted = SamEncoder(ENCODERS[encoder]).vit.state_dict()
    if problem := difference(weights, wanted):
        raise InputError(
            f"{file}: {problem}; give a network that was trained with model.encoder = {encoder}"
        )
    return weights


def _refuse_broken_promise(source: Path, sha256: str) -> None:
    """A name such as ``sam_vit_b_01ec64.pth`` says how the file's checksum begins."""
    promised = next((each for each in OFFICIAL.values() if each.name == source.name), None)
    if promised and promised.sha256 != sha256:
        raise InputError(
            f"{source}: its sha256 begins with {sha256[:12]}, Meta's file of that name with "
            f"{promised.sha256[:12]}; fetch it again, or rename it if it is another one"
        )
    named = re.fullmatch(r"sam_vit_\w_([0-9a-f]{6})\.pth", source.name)
    if named is None or promised:
        return
    md5 = file_md5(source)
    if not (sha256.startswith(named[1]) or md5.startswith(named[1])):
        raise InputError(
            f"{source}: its sha256 begins with {sha256[:12]} and its MD5 with {md5[:12]}, neither "
            f"with the {named[1]} of its name; fetch it again, or rename it if it is another one"
        )
