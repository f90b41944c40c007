"""From a network's maps to objects and scores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from emsam.params.base import FrozenModel


class SegmentParams(FrozenModel):
    """From maps to instances; docs/instances.md compares the methods."""

    method: Literal["seeds", "agglomerate", "multicut", "mutex", "distance"] = Field(
        "seeds", description="how pixels become objects; distance needs a distance channel"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="interior probability in which seeds or fragments begin; null: what suits the "
        "task",
    )
    merge: float = Field(
        0.4,
        gt=0,
        lt=1,
        description="agglomerate, multicut: mean affinity above which two fragments are one object",
    )
    foreground: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="foreground probability above which a pixel is of an object; null: what suits "
        "the task",
    )
    min_size: int = Field(50, ge=0, description="pixels; smaller seeds and objects are dropped")
    min_confidence: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="mean interior probability; less sure objects are dropped; null: what suits "
        "the task",
    )
    mutex_stride: int = Field(
        4, ge=1, description="mutex: of the long-range affinities every n-th in y and in x is used"
    )
    mutex_bias: float = Field(
        0.0, ge=-1, le=1, description="mutex: added to neighbour affinities; above 0 merges more"
    )
    seed_depth: float = Field(
        5.0, gt=0, description="distance: least depth, pixels, of the neck between two objects"
    )
    augmentations: Literal[1, 8] = Field(
        1, description="flips and turns of a slice whose maps are averaged"
    )
    link_overlap: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="pixels shared by profiles of neighbouring slices, over the geometric mean of "
        "their sizes, above which they are linked in 3D",
    )
    tile: int = Field(
        256, ge=32, description="side of an inference tile, pixels; best as large as train.patch"
    )
    halo: int = Field(32, ge=0, description="context on each side of a tile, cropped away")

    @model_validator(mode="after")
    def _whole_tokens(self) -> SegmentParams:
        if self.tile % 16:
            raise ValueError("segment.tile must be a multiple of 16, the encoder's patch")
        if 2 * self.halo >= self.tile:
            raise ValueError("segment.halo must be less than half of segment.tile")
        return self


class EvaluateParams(FrozenModel):
    """How a model is judged."""

    split: Literal["val", "test"] = Field("test", description="slices that decide")
    checkpoint: Literal["last", "best"] = Field(
        "last", description="weights that are judged and used; best: on train.validate_slices"
    )
    block: int = Field(4, ge=1, description="slices of one bootstrap block")
    resamples: int = Field(10_000, ge=100, description="of the bootstrap")
    figures: int = Field(3, ge=0, description="slices drawn as image | truth | prediction | errors")
