"""What to compute: ``params.yaml`` as frozen pydantic models.

Nothing here says *where* anything lives; that is :mod:`emsam.settings`.
"""

from emsam.params.augment import AugmentParams
from emsam.params.file import dump_params, flatten, load_params, override_params
from emsam.params.gate import GateParams, MarginParams
from emsam.params.network import DataParams, ModelParams
from emsam.params.params import Params
from emsam.params.segment import EvaluateParams, SegmentParams
from emsam.params.tasks import TASKS, Task
from emsam.params.training import LossParams, TargetParams, TrainParams

__all__ = [
    "TASKS",
    "AugmentParams",
    "DataParams",
    "EvaluateParams",
    "GateParams",
    "LossParams",
    "MarginParams",
    "ModelParams",
    "Params",
    "SegmentParams",
    "TargetParams",
    "Task",
    "TrainParams",
    "dump_params",
    "flatten",
    "load_params",
    "override_params",
]
