"""What a network is taught, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from emsam.params.base import FrozenModel
from emsam.params.tasks import Channel


class TargetParams(FrozenModel):
    """What the network predicts."""

    channels: tuple[Channel, ...] | None = Field(
        None,
        description="foreground and affinities, and any of boundary, distance (signed, to the "
        "boundary) and centre (of the object); null: what suits the task",
    )
    distance_scale: float = Field(
        6.0, gt=0, le=30, description="pixels at which the signed distance begins to level off"
    )
    unlabelled: int | None = Field(
        None, description="id of pixels that nobody has labelled; they are left out"
    )
    offsets: tuple[tuple[int, int], ...] = Field(
        ((0, 1), (1, 0), (0, 3), (3, 0), (0, 9), (9, 0), (9, 9), (9, -9)),
        max_length=64,
        description="in-plane affinities: y,x offsets in pixels; the first two are the neighbours",
    )

    @field_validator("offsets")
    @classmethod
    def _neighbours_first(cls, offsets: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if offsets[:2] != ((0, 1), (1, 0)):
            raise ValueError("must begin with the neighbours [0, 1] and [1, 0]")
        return offsets

    @field_validator("channels")
    @classmethod
    def _instances_can_be_made(cls, channels: tuple[Channel, ...] | None) -> Any:
        if channels is not None:
            if channels[:2] != ("foreground", "affinities"):
                raise ValueError("must begin with foreground and affinities, which make objects")
            if len(set(channels)) != len(channels):
                raise ValueError("names a channel twice")
        return channels


class LossParams(FrozenModel):
    """Weights of the losses, which are added up; 0 leaves one out."""

    cross_entropy: float = Field(1.0, ge=0, description="of all but distances")
    dice: float = Field(0.5, ge=0, description="soft Dice of all but distances")
    focal: float = Field(0.0, ge=0, description="focal loss of all but distances")
    focal_gamma: float = Field(2.0, ge=0, description="how much focal loss spares what is easy")
    distance: float = Field(4.0, ge=0, description="squared error of distance and centre")
    balance: bool | None = Field(
        None,
        description="in cross-entropy and focal loss both classes of a batch weigh the same; null: "
        "what suits the task",
    )
    deep_supervision: float = Field(
        0.0, ge=0, description="of the same losses at 1/2 and, halved, at 1/4 of the resolution"
    )

    @model_validator(mode="after")
    def _teaches_something(self) -> LossParams:
        if not (self.cross_entropy or self.dice or self.focal):
            raise ValueError("one of cross_entropy, dice and focal must be above 0")
        return self


class TrainParams(FrozenModel):
    """The optimisation. The budget is ``steps``, ``minutes``, or whichever ends first."""

    mode: Literal["full", "lora", "decoder"] = Field(
        "full", description="what learns of the encoder: all, low-rank additions, nothing"
    )
    lora_rank: int = Field(8, ge=1, description="of the low-rank additions")
    lora_places: tuple[Literal["qkv", "proj", "lin1", "lin2"], ...] = Field(
        ("qkv",), min_length=1, description="layers of the encoder that get low-rank additions"
    )
    steps: int | None = Field(400, ge=1, description="budget in steps; null: minutes alone")
    minutes: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="budget in minutes; null: steps alone"
    )
    batch_size: int = Field(2, ge=1, description="patches of one step")
    patch: int = Field(256, ge=32, description="side of the square training patch, pixels")
    learning_rate: float = Field(2e-3, gt=0, description="the highest, after the warm-up")
    encoder_learning_rate: float = Field(1e-3, gt=0, description="for SAM's encoder alone")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="each block of the encoder learns this factor slower than the next; 1 is off",
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    warmup: float = Field(0.05, ge=0, lt=1, description="part of the budget")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    validate_every: int = Field(100, ge=1, description="steps")
    validate_slices: int = Field(3, ge=1, description="validation slices scored each time")
    checkpoint_every: int = Field(100, ge=1, description="steps")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept, beside the best")
    patches: Literal["random", "grid"] = Field(
        "random", description="where patches lie: anywhere, or side by side"
    )
    cached_features: bool = Field(
        False, description="read the frozen encoder's features from 'emsam features'"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="bits of a number while the network computes"
    )
    gradient_checkpointing: bool = Field(
        False, description="save memory: compute the encoder's inner values twice"
    )
    channels_last: bool = Field(True, description="memory layout of the convolutions")
    compile: bool = Field(False, description="torch.compile; the first step takes minutes")
    accelerator: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes a GPU where there is one"
    )

    @field_validator("patch")
    @classmethod
    def _whole_tokens(cls, patch: int) -> int:
        if patch % 16:
            raise ValueError("must be a multiple of 16, the encoder's patch")
        return patch

    @model_validator(mode="after")
    def _has_budget(self) -> TrainParams:
        if self.steps is None and self.minutes is None:
            raise ValueError("train needs a budget: set train.steps or train.minutes")
        return self

    @model_validator(mode="after")
    def _caches_what_is_frozen(self) -> TrainParams:
        if self.cached_features and (self.mode != "decoder" or self.patches != "grid"):
            raise ValueError(
                "train.cached_features needs train.mode=decoder and train.patches=grid"
            )
        return self
