"""When a candidate may replace the champion; docs/gate.md explains each number."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from emsam.params.base import FrozenModel, Positive

Margin = Annotated[float, Field(ge=0)]


class MarginParams(FrozenModel):
    """How much worse, in its own unit, a metric that does not decide may be on the mean."""

    voi_split_2d: Margin = Field(0.05, description="bits; too many parts")
    voi_merge_2d: Margin = Field(0.05, description="bits; too many joined")
    ap75_accuracy_2d: Margin = Field(0.02, description="TP/(TP+FP+FN) at IoU 0.75")
    ap50_coco_2d: Margin = Field(0.02, description="area under precision and recall at IoU 0.5")
    ap75_coco_2d: Margin = Field(0.02, description="area under precision and recall at IoU 0.75")


class GateParams(FrozenModel):
    """The rule of promotion."""

    block: Positive = Field(4, description="slices of one bootstrap block")
    min_blocks: int = Field(5, ge=2, description="blocks below which nothing is decided")
    resamples: int = Field(10_000, ge=1000, description="bootstrap samples")
    confidence: float = Field(
        0.98, ge=0.8, lt=1, description="of the interval that must lie above zero"
    )
    margins: MarginParams = Field(
        MarginParams(), description="how much worse metrics that do not decide may be"
    )
    veto: Margin = Field(
        0.02, description="how much worse the primary metric may be on any single volume"
    )
    seed: int = Field(0, ge=0, description="of resampling and of the evaluator")
    figures: int = Field(4, ge=0, description="slices drawn where the two differ most")
