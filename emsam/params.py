"""What to compute: ``params.yaml`` as frozen pydantic models.

Nothing here says *where* anything lives; that is :mod:`emsam.settings`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from emsam.augment_params import AugmentParams, FrozenModel, Positive
from emsam.errors import InputError

Task = Literal["neurites", "mitochondria"]
TASKS: tuple[Task, ...] = ("neurites", "mitochondria")

Channel = Literal["foreground", "boundary", "affinities", "distance", "centre"]
CHANNELS: dict[Task, tuple[Channel, ...]] = {
    "neurites": ("foreground", "affinities"),
    "mitochondria": ("foreground", "affinities", "distance"),
}
"""What a network predicts where nothing else is asked for."""


Widths = tuple[Positive, ...]


class DataParams(FrozenModel):
    """The data set that ``dvc repro`` ingests and trains on."""

    name: str = "demo"
    shape: tuple[Positive, Positive, Positive] = Field(
        (32, 256, 256), description="synthetic volume, z,y,x"
    )
    seed: int = Field(0, ge=0)


class ModelParams(FrozenModel):
    """Which network.

    ``emsam`` is SAM's encoder with our U-shaped decoder, ``published`` the same encoder with the
    decoder of the paper, ``unet`` the baseline without SAM.
    """

    name: Literal["emsam", "published", "unet"] = "emsam"
    encoder: Literal["vit_t", "vit_s", "vit_b", "vit_l", "vit_h"] = "vit_t"
    weights: str | None = Field(
        None,
        pattern=r"^(official|[0-9a-f]{6,64})$",
        description="the encoder's first weights, taken in by 'emsam weights get': official, or "
        "the first digits of their sha256; null is random",
    )
    attention: Literal["auto", "fused", "reference"] = Field(
        "auto", description="how the encoder attends: all give the same, reference is slow"
    )
    decoder_widths: Widths = Field(
        (16, 32, 64, 96), description="channels of emsam's decoder at 1/1, 1/2, 1/4, 1/8"
    )
    unet_widths: Widths = Field(
        (16, 32, 64, 96), description="channels of the U-Net at 1/1, 1/2, 1/4, 1/8"
    )


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
    balance: bool = Field(
        False, description="in cross-entropy and focal loss both classes of a batch weigh the same"
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
    lora_rank: int = Field(8, ge=1)
    lora_places: tuple[Literal["qkv", "proj", "lin1", "lin2"], ...] = Field(
        ("qkv",), min_length=1, description="layers of the encoder that get low-rank additions"
    )
    steps: int | None = Field(400, ge=1)
    minutes: float | None = Field(None, gt=0, allow_inf_nan=False)
    batch_size: int = Field(2, ge=1)
    patch: int = Field(256, ge=32, description="side of the square training patch, pixels")
    learning_rate: float = Field(2e-3, gt=0)
    encoder_learning_rate: float = Field(1e-3, gt=0, description="for SAM's encoder alone")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="each block of the encoder learns this factor slower than the next; 1 is off",
    )
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1, description="part of the budget")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    validate_every: int = Field(100, ge=1, description="steps")
    validate_slices: int = Field(3, ge=1, description="validation slices scored each time")
    checkpoint_every: int = Field(100, ge=1, description="steps")
    keep_checkpoints: int = Field(2, ge=1, description="newest whole checkpoints kept")
    patches: Literal["random", "grid"] = Field(
        "random", description="where patches lie: anywhere, or side by side"
    )
    cached_features: bool = Field(
        False, description="read the frozen encoder's features from 'emsam features'"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    gradient_checkpointing: bool = Field(
        False, description="save memory: compute the encoder's inner values twice"
    )
    channels_last: bool = Field(True, description="memory layout of the convolutions")
    compile: bool = Field(False, description="torch.compile; the first step takes minutes")
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

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


class SegmentParams(FrozenModel):
    """From maps to instances; docs/instances.md compares the methods."""

    method: Literal["seeds", "agglomerate", "multicut", "mutex", "distance"] = Field(
        "seeds", description="how pixels become objects; distance needs a distance channel"
    )
    threshold: float = Field(
        0.8, gt=0, lt=1, description="interior probability in which seeds or fragments begin"
    )
    merge: float = Field(
        0.4,
        gt=0,
        lt=1,
        description="agglomerate, multicut: mean affinity above which two fragments are one object",
    )
    foreground: float = Field(
        0.5, ge=0, lt=1, description="foreground probability above which a pixel is of an object"
    )
    min_size: int = Field(50, ge=0, description="pixels; smaller seeds and objects are dropped")
    min_confidence: float = Field(
        0.0, ge=0, lt=1, description="mean interior probability; less sure objects are dropped"
    )
    mutex_stride: int = Field(
        4, ge=1, description="mutex: of the long-range affinities every n-th in y and in x is used"
    )
    mutex_bias: float = Field(
        0.0, ge=-1, le=1, description="mutex: added to neighbour affinities; above 0 merges more"
    )
    seed_depth: float = Field(
        1.0, gt=0, description="distance: least depth, pixels, of the neck between two objects"
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

    split: Literal["val", "test"] = "test"
    block: int = Field(4, ge=1, description="slices of one bootstrap block")
    resamples: int = Field(10_000, ge=100)
    figures: int = Field(3, ge=0, description="slices drawn as image | truth | prediction | errors")


class Params(FrozenModel):
    """Everything that decides a result, and nothing else."""

    task: Task = "neurites"
    seed: int = Field(0, ge=0)
    data: DataParams = DataParams()
    model: ModelParams = ModelParams()
    targets: TargetParams = TargetParams()
    augment: AugmentParams = AugmentParams()
    loss: LossParams = LossParams()
    train: TrainParams = TrainParams()
    segment: SegmentParams = SegmentParams()
    evaluate: EvaluateParams = EvaluateParams()

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
    def maps(self) -> tuple[str, ...]:
        """A name for each map of the network's output, such as ``"affinity 0,3"``."""
        affinities = [f"affinity {dy},{dx}" for dy, dx in self.targets.offsets]
        named = [affinities if each == "affinities" else [each] for each in self.channels]
        return tuple(name for names in named for name in names)

    def training_part(self) -> dict[str, Any]:
        """What the weights depend on: all but post-processing and judging."""
        return self.model_dump(mode="json", exclude={"segment", "evaluate"})


def load_params(file: Path | None = None, overrides: Sequence[str] = ()) -> Params:
    """Read ``params.yaml`` and apply ``key=value`` overrides.

    Whoever names ``train.minutes`` and no ``train.steps`` has a budget in minutes alone.

    Parameters
    ----------
    file
        A YAML file with the fields of :class:`Params`; ``None`` takes the defaults.
    overrides
        Items such as ``"train.steps=200"``; values are YAML.

    Raises
    ------
    InputError
        A file that is missing or no YAML mapping, an unknown key (the nearest known one is
        named) or a value that does not fit.
    """
    tree: dict[str, Any] = {}
    origin = "params"
    if file is not None:
        origin = str(file)
        tree = _read_yaml(file)
    _let_minutes_alone_decide(tree)
    return _override(tree, overrides, origin)


def override_params(params: Params, overrides: Sequence[str]) -> Params:
    """``params`` with ``key=value`` overrides; see :func:`load_params`."""
    return _override(params.model_dump(mode="json"), overrides, "params")


def dump_params(params: Params) -> str:
    """``params`` as the YAML text that :func:`load_params` reads back."""
    return yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping → ``{"train.steps": 400, …}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _override(tree: dict[str, Any], overrides: Sequence[str], origin: str) -> Params:
    for item in overrides:
        _apply_override(tree, item)
    keys = {item.partition("=")[0].strip() for item in overrides}
    if "train.minutes" in keys and "train.steps" not in keys:
        tree["train"]["steps"] = None
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{origin}: {_explain(error)}") from None


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); name a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: not valid YAML ({reason})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(
            f"{file}: holds a {type(tree).__name__}; a mapping such as 'train:' is needed"
        )
    return tree


def _let_minutes_alone_decide(tree: dict[str, Any]) -> None:
    """A budget in minutes is not cut short by the default number of steps."""
    train = tree.get("train")
    if isinstance(train, dict) and train.get("minutes") is not None:
        train.setdefault("steps", None)


def _apply_override(tree: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {item}: write it as key=value, such as train.steps=200")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {item}: {text!r} is not a YAML value") from None
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {item}: {parent} is a value, not a section")
    tree[leaf] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}; {_nearest(path)}"
    if first["type"] == "literal_error":
        return f"{where} = {first['input']!r}: must be {first['ctx']['expected']}"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):
        return f"{where}: {message}" if where else message
    return f"{where} = {first['input']!r}: {message}" if where else message


def _nearest(path: list[str]) -> str:
    """The remedy for a key that does not exist: the nearest of all known keys."""
    known = list(flatten(Params().model_dump()))
    sections = sorted({key[:dot] for key in known for dot in _dots(key)})
    siblings = [
        key.rsplit(".", 1)[-1] for key in known + sections if key.split(".")[:-1] == path[:-1]
    ]
    elsewhere = [key for key in known if key.rsplit(".", 1)[-1] == path[-1]]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    near = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
    if near:
        return f"did you mean {'.'.join([*path[:-1], near[0]])}?"
    return f"known here: {', '.join(siblings)}" if siblings else f"known: {', '.join(sections)}"


def _dots(key: str) -> list[int]:
    return [place for place, letter in enumerate(key) if letter == "."]
