"""Random changes of training patches."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from emsam.params.base import FrozenModel, Positive


class _Change(FrozenModel):
    """A random change of training patches."""

    probability: float = Field(ge=0, le=1, description="part of the patches that get it")

    @property
    def is_on(self) -> bool:
        return self.probability > 0


class Change(_Change):
    strength: float = Field(ge=0, allow_inf_nan=False, description="the largest; 0 is off")

    @property
    def is_on(self) -> bool:
        return self.probability > 0 and self.strength > 0


class ElasticChange(Change):
    spacing: Positive = Field(48, description="pixels between knots")


class PoissonChange(_Change):
    photons: float = Field(gt=0, allow_inf_nan=False, description="the fewest, in a white pixel")


class MissingChange(Change):
    count: Positive = Field(2, description="the most rectangles in a patch")


class AugmentParams(FrozenModel):
    """Random changes of a training patch; all are drawn from (seed, step).

    Each has a probability and a strength, ``gain: {probability: 1, strength: 0.15}``. A number
    stands for the strength alone, ``gain: 0.15``, and 0 is off. docs/augmentation.md shows them.
    """

    flips: bool = Field(True, description="mirror images and turns by 90°")
    amount: float = Field(
        1.0, ge=0, le=1, description="times every probability below; 0 leaves flips alone"
    )
    scale: Change = Field(
        Change(probability=0.3, strength=0.25),
        description="size in 1/(1 + strength) … 1 + strength",
    )
    affine: Change = Field(
        Change(probability=0.2, strength=0.08), description="entries of a matrix beside identity"
    )
    elastic: ElasticChange = Field(
        ElasticChange(probability=0.2, strength=8), description="shift of a knot, pixels"
    )
    slip: Change = Field(
        Change(probability=0.05, strength=5), description="shift beyond a line, pixels"
    )
    curtains: Change = Field(
        Change(probability=0.1, strength=0.06), description="deviation of stripes, images in [0, 1]"
    )
    defocus: Change = Field(
        Change(probability=0.1, strength=2), description="radius of the disk, pixels"
    )
    blur: Change = Field(
        Change(probability=0.15, strength=1.5), description="sigma of the Gaussian, pixels"
    )
    poisson: PoissonChange = Field(
        PoissonChange(probability=0.1, photons=80),
        description="noise of photons to 10 times as many",
    )
    drift: Change = Field(
        Change(probability=0.2, strength=0.3), description="contrast factor across the patch"
    )
    gain: Change = Field(
        Change(probability=1, strength=0.15), description="contrast factor in 1 ± strength"
    )
    offset: Change = Field(
        Change(probability=1, strength=0.10), description="brightness shift, images in [0, 1]"
    )
    gamma: Change = Field(
        Change(probability=1, strength=0.25), description="exponent in exp(± strength)"
    )
    noise: Change = Field(
        Change(probability=1, strength=0.04), description="standard deviation of Gaussian noise"
    )
    missing: MissingChange = Field(
        MissingChange(probability=0.05, strength=0.25), description="side, part of the patch"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _over_defaults(cls, value: Any, info: ValidationInfo) -> Any:
        """What is not said of a change stays at its default; a number is the strength."""
        default = cls.model_fields[str(info.field_name)].default
        if not isinstance(default, _Change):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            main = "photons" if isinstance(default, PoissonChange) else "strength"
            value = {main: value} if value else {"probability": 0}
        if isinstance(value, dict):
            return default.model_dump() | value
        if isinstance(value, _Change):
            return value
        raise ValueError("must be a number or a mapping such as {probability: 0.5}")

    @model_validator(mode="after")
    def _keeps_the_picture(self) -> AugmentParams:
        highest = {"affine": 0.5, "missing": 1.0, "elastic": self.elastic.spacing / 2}
        for key, most in highest.items():
            if (strength := getattr(self, key).strength) > most:
                raise ValueError(f"augment.{key}.strength = {strength:g}: must be at most {most:g}")
        return self

    @property
    def beyond_flips(self) -> list[str]:
        """Names of the changes that are on, flips aside."""
        changes = {name: getattr(self, name) for name in type(self).model_fields}
        on = [name for name, each in changes.items() if isinstance(each, _Change) and each.is_on]
        return on if self.amount > 0 else []

    def margin(self, size: int) -> int:
        """Pixels that deformation may look at on each side of a patch of ``size``²."""
        on = {name: getattr(self, name).strength for name in self.beyond_flips if name != "poisson"}
        reach = (1 + on.get("scale", 0)) * (1 + 2 * on.get("affine", 0)) - 1
        return math.ceil(reach * size / 2 + on.get("elastic", 0) + on.get("slip", 0))
