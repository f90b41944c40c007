"""The model package's code: MLflow runs this file to make the model, nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class SlicePredictor(PythonModel):
    """A grey 8-bit slice (y, x) → instance ids (y, x), int32."""

    def load_context(self, context: Any) -> None:
        from emsam.model.package import load_network

        files = context.artifacts
        self._model, self._params = load_network(Path(files["weights"]), Path(files["params"]))

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        from emsam.segment.slices import segment_slice

        return segment_slice(self._model, np.asarray(model_input), self._params)


set_model(SlicePredictor())
