"""All sections together, and what must agree between them."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import Field, model_validator

from emsam.params.augment import AugmentParams
from emsam.params.base import FrozenModel
from emsam.params.gate import GateParams
from emsam.params.network import DataParams, ModelParams
from emsam.params.segment import EvaluateParams, SegmentParams
from emsam.params.tasks import (
    BALANCE,
    CHANNELS,
    FOREGROUND,
    MIN_CONFIDENCE,
    THRESHOLD,
    Channel,
    Task,
)
from emsam.params.training import LossParams, TargetParams, TrainParams

_T = TypeVar("_T")


class Params(FrozenModel):
    """Everything that decides a result, and nothing else."""

    task: Task = Field("neurites", description="what is segmented")
    seed: int = Field(0, ge=0, description="decides first weights, patches and augmentation")
    data: DataParams = DataParams()
    model: ModelParams = ModelParams()
    targets: TargetParams = TargetParams()
    augment: AugmentParams = AugmentParams()
    loss: LossParams = LossParams()
    train: TrainParams = TrainParams()
    segment: SegmentParams = SegmentParams()
    evaluate: EvaluateParams = EvaluateParams()
    gate: GateParams = GateParams()

    @model_validator(mode="after")
    def _fits_together(self) -> Params:
        if self.model.name == "unet":
            if self.train.mode != "full":
                raise ValueError(
                    f"train.mode = {self.train.mode!r}: model.name = 'unet' has no encoder to "
                    "freeze; set train.mode to full"
                )
            if self.model.weights:
                raise ValueError(
                    "model.weights: model.name = 'unet' has no encoder; set it to null"
                )
        elif self.train.mode != "full" and not self.model.weights:
            raise ValueError(
                f"train.mode = {self.train.mode!r} freezes an encoder of random weights; name its "
                "weights in model.weights"
            )
        if self.model.name == "published" and self.loss.deep_supervision:
            raise ValueError(
                "loss.deep_supervision: model.name = 'published' has no heads for it; set it to 0"
            )
        if self.train.cached_features and self.augment.beyond_flips:
            on = ", ".join(f"augment.{name}" for name in self.augment.beyond_flips)
            raise ValueError(
                "train.cached_features: behind the encoder nothing but flips can be augmented; "
                f"set augment.amount to 0, or each of these: {on}"
            )
        return self

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What the network predicts; the affinities are several maps."""
        return self.targets.channels or CHANNELS[self.task]

    @property
    def threshold(self) -> float:
        """``segment.threshold``, or what suits the task."""
        return self._suited(self.segment.threshold, THRESHOLD)

    @property
    def foreground(self) -> float:
        """``segment.foreground``, or what suits the task."""
        return self._suited(self.segment.foreground, FOREGROUND)

    @property
    def min_confidence(self) -> float:
        """``segment.min_confidence``, or what suits the task."""
        return self._suited(self.segment.min_confidence, MIN_CONFIDENCE)

    @property
    def settled_loss(self) -> LossParams:
        """``loss`` with what suits the task where it says null."""
        balance = self._suited(self.loss.balance, BALANCE)
        return self.loss.model_copy(update={"balance": balance})

    @property
    def settled_segment(self) -> SegmentParams:
        """``segment`` with what suits the task where it says null."""
        settled = {
            "threshold": self.threshold,
            "foreground": self.foreground,
            "min_confidence": self.min_confidence,
        }
        return self.segment.model_copy(update=settled)

    @property
    def maps(self) -> tuple[str, ...]:
        """A name for each map of the network's output, such as ``"affinity 0,3"``."""
        affinities = [f"affinity {dy},{dx}" for dy, dx in self.targets.offsets]
        named = [affinities if each == "affinities" else [each] for each in self.channels]
        return tuple(name for names in named for name in names)

    def _suited(self, asked: _T | None, suits: dict[Task, _T]) -> _T:
        return suits[self.task] if asked is None else asked

    def training_part(self) -> dict[str, Any]:
        """What the weights depend on: all but post-processing and judging."""
        return self.model_dump(mode="json", exclude={"segment", "evaluate", "gate"})
