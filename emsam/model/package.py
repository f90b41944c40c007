"""A network as files: ``model.safetensors`` and ``params.yaml`` in one folder.

Nothing is unpickled: safetensors holds tensors alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from emsam.errors import InputError
from emsam.params import Params, load_params

if TYPE_CHECKING:  # whoever only names a package does not wait for torch
    from torch import nn


def load_network(weights: Path, params_file: Path) -> tuple[nn.Module, Params]:
    """Network in eval mode, on the GPU if there is one, and its parameters.

    Parameters
    ----------
    weights
        A safetensors file of the network's state.
    params_file
        The ``params.yaml`` that it was trained with.

    Raises
    ------
    InputError
        A file that is missing, damaged, or does not fit the other.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from emsam.model.build import build_model
    from emsam.model.sam_checkpoint import difference

    params = load_params(params_file)
    with torch.device("meta"):  # no memory is taken for what the parameters say
        described = build_model(params).state_dict()
    try:
        state = load_file(weights)
    except OSError as error:
        reason = error.strerror or "no such file"
        raise InputError(f"{weights}: {reason}; train or fetch the model again") from None
    except SafetensorError as error:
        raise InputError(f"{weights}: damaged weights ({error}); fetch the model again") from None
    if problem := difference(state, described):
        raise InputError(
            f"{weights}: weights of another network than {params_file} describes ({problem}); "
            "fetch the model again"
        )
    model = build_model(params)
    model.load_state_dict(state)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device, memory_format=torch.channels_last).eval(), params  # type: ignore[call-overload]


def package_digest(weights_sha256: str, params: Params) -> str:
    """What a package is: its weights and its post-processing."""
    text = json.dumps([weights_sha256, params.segment.model_dump(mode="json")])
    return hashlib.sha256(text.encode()).hexdigest()
