"""The model package's code: MLflow runs this file to make the model, nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class SlicePredictor(PythonModel):
    """A grey 8-bit slice (y, x) → instance ids (y, x), int32."""

    def load_context(self, context: Any) -> None:
        from emsam.data.digest import file_sha256
        from emsam.errors import InputError
        from emsam.model.folding import fold_norms
        from emsam.model.package import load_network

        files = {name: Path(path) for name, path in context.artifacts.items()}
        for name, expected in json.loads(files["sha256"].read_text()).items():
            if file_sha256(files[name]) != expected:
                raise InputError(
                    f"{files[name]}: does not have the sha256 {expected} that it was packaged "
                    "with; somebody changed the artifact store, load another version"
                )
        network, self._params = load_network(files["weights"], files["params"])
        self._model = fold_norms(network)

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        from emsam.segment.slices import segment_slice

        return segment_slice(self._model, np.asarray(model_input), self._params)


set_model(SlicePredictor())
