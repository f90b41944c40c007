"""When a candidate may replace the champion; docs/gate.md explains each number."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from emsam.params.base import FrozenModel, Positive

Margin = Annotated[float, Field(ge=0)]


class MarginParams(FrozenModel):
    """How much worse, in its own unit, a metric that does not decide may be on the mean."""

    voi_split_2d: Margin = 0.05
    voi_merge_2d: Margin = 0.05
    ap75_accuracy_2d: Margin = 0.02
    ap50_coco_2d: Margin = 0.02
    ap75_coco_2d: Margin = 0.02


class GateParams(FrozenModel):
    """The rule of promotion."""

    block: Positive = Field(4, description="slices of one bootstrap block")
    min_blocks: int = Field(5, ge=2, description="blocks below which nothing is decided")
    resamples: int = Field(10_000, ge=1000)
    confidence: float = Field(
        0.98, ge=0.8, lt=1, description="of the interval that must lie above zero"
    )
    margins: MarginParams = MarginParams()
    veto: Margin = Field(
        0.02, description="how much worse the primary metric may be on any single volume"
    )
    seed: int = Field(0, ge=0, description="of resampling and of the evaluator")
    figures: int = Field(4, ge=0, description="slices drawn where the two differ most")
