from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from emsam.errors import InputError
from emsam.params import TASKS, Params, dump_params, flatten, load_params

ROOT = Path(__file__).parents[3]


def refusal(overrides: list[str], file: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_params(file, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("typed", "unknown", "nearest"),
    [
        ("train.stpes=5", "train.stpes", "train.steps"),
        ("train.learning_rat=1", "train.learning_rat", "train.learning_rate"),
        ("trian.steps=5", "trian", "train"),
        ("sede=5", "sede", "seed"),
        ("steps=5", "steps", "train.steps"),
        ("model.patch=64", "model.patch", "train.patch"),
    ],
)
def test_a_misspelt_key_names_the_nearest(typed: str, unknown: str, nearest: str) -> None:
    message = refusal([typed])
    assert unknown in message
    assert nearest in message


def test_a_misspelt_key_in_a_file_names_file_and_nearest(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train:\n  stpes: 3\n")
    message = refusal([], file)
    assert str(file) in message
    assert "train.steps" in message


def test_a_key_unlike_any_lists_what_is_known() -> None:
    assert "seed" in refusal(["qqqqqqqq=1"])
    assert "batch_size" in refusal(["train.qqqqqqqq=1"])


@pytest.mark.parametrize(
    ("typed", "key", "value"),
    [
        ("train.steps=abc", "train.steps", "abc"),
        ("train.steps=0", "train.steps", "0"),
        ("train.steps=2.5", "train.steps", "2.5"),
        ("train.learning_rate=.nan", "train.learning_rate", "nan"),
        ("train.learning_rate=-1", "train.learning_rate", "-1"),
        ("train.patch=100", "train.patch", "16"),
        ("task=dendrites", "task", "neurites"),
        ("model.name=resnet", "model.name", "unet"),
        ("train=5", "train", "5"),
        ("train.steps=[1, 2]", "train.steps", "[1, 2]"),
        ("data.shape=[1,2]", "data.shape", "[1, 2]"),
        ("segment.threshold=1.5", "segment.threshold", "1.5"),
        ("segment.tile=100", "segment.tile", "16"),
        ("segment.halo=200", "segment.halo", "segment.tile"),
        ("train.steps=null", "train.steps", "train.minutes"),
        ("train.steps.more=5", "train.steps", "integer"),
        ("targets.channels=[affinities]", "targets.channels", "foreground"),
        ("targets.channels=[foreground, affinities, skeleton]", "targets.channels", "centre"),
        ("loss={cross_entropy: 0, dice: 0}", "loss", "focal"),
        ("train.dice_weight=1", "train.dice_weight", "did you mean"),
    ],
)
def test_a_value_that_does_not_fit_is_named(typed: str, key: str, value: str) -> None:
    message = refusal([typed])
    assert key in message
    assert value in message


@pytest.mark.parametrize(
    "typed", ["train.steps", "=5", " =5", "train.steps=[1", "train.steps={a: b", "a=*x"]
)
def test_syntax_errors_of_set_are_shown_as_typed(typed: str) -> None:
    assert f"--set {typed}" in refusal([typed])


def test_a_value_is_no_section() -> None:
    assert "train.steps.x" in refusal(["train.steps=1", "train.steps.x=2"])


@pytest.mark.parametrize(
    "typed",
    [
        "targets.offsets=[]",
        "targets.offsets=[[1, 0], [0, 1]]",
        "model.unet_widths=[0, 8]",
        "model.decoder_widths=[-1, 2, 3, 4]",
        "data.seed=-1",
        "data.shape=[0, 0, 0]",
        "train.minutes=.inf",
    ],
)
def test_values_that_no_run_could_use_are_refused(typed: str) -> None:
    assert typed.partition("=")[0] in refusal([typed])


def test_the_task_decides_the_maps_unless_they_are_named() -> None:
    two = "targets.offsets=[[0,1],[1,0]]"
    plain = ("foreground", "affinity 0,1", "affinity 1,0")
    assert load_params(None, [two]).maps == plain
    mitochondria = ["task=mitochondria", two]
    assert load_params(None, mitochondria).maps == (*plain, "distance")
    named = [*mitochondria, "targets.channels=[foreground, affinities, centre, boundary]"]
    assert load_params(None, named).maps == (*plain, "centre", "boundary")


@pytest.mark.parametrize(
    "text", ["[1, 2]", "just words", "train: {steps: [}", "\x00", "a: b: c", "- train"]
)
def test_files_that_are_no_mapping_are_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert str(file) in refusal([], file)


def test_a_missing_file_a_folder_and_bytes_are_refused_by_name(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in refusal([], tmp_path / "none.yaml")
    assert str(tmp_path) in refusal([], tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    assert str(binary) in refusal([], binary)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("")
    assert load_params(file) == load_params() == Params()


def test_overrides_win_over_the_file_and_the_last_one_over_the_others(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("seed: 1\ntrain: {steps: 7, batch_size: 3}\n")
    params = load_params(file, ["train.steps=8", "train.steps=9", "train.minutes=0.5"])
    assert (params.seed, params.train.steps, params.train.minutes) == (1, 9, 0.5)
    assert params.train.batch_size == 3


def test_dumped_parameters_load_as_the_same(tmp_path: Path) -> None:
    params = load_params(
        None,
        [
            "task=mitochondria", "train.steps=null", "train.minutes=1.5", "segment.threshold=0.7",
            "model.decoder_widths=[4,8,8,16]", "targets.offsets=[[0,1],[1,0],[5,-5]]",
            "train.learning_rate=1e-7",
        ],
    )  # fmt: skip
    file = tmp_path / "params.yaml"
    file.write_text(dump_params(params))
    assert load_params(file) == params
    assert dump_params(load_params(file)) == dump_params(params)


def test_parameters_are_frozen() -> None:
    params = Params()
    with pytest.raises(ValidationError):
        params.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        params.train.steps = 3  # type: ignore[misc]


def test_flatten_joins_keys_with_dots() -> None:
    flat = flatten(Params().model_dump(mode="json"))
    assert flat["train.steps"] == Params().train.steps
    assert flat["seed"] == 0
    assert not any(isinstance(value, dict) for value in flat.values())


def test_the_training_part_ignores_post_processing_and_judging_only() -> None:
    plain = Params().training_part()
    assert load_params(None, ["segment.threshold=0.9", "evaluate.block=2"]).training_part() == plain
    for changed in ("seed=1", "train.steps=3", "model.name=unet", "task=mitochondria"):
        assert load_params(None, [changed]).training_part() != plain


@pytest.mark.parametrize("item", ["train.minutes=30", "train.minutes=0.5"])
def test_a_budget_in_minutes_is_not_cut_short_by_steps(item: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train: {steps: 160}\n")
    assert load_params(file, [item]).train.steps is None
    assert load_params(file, [item, "train.steps=5"]).train.steps == 5
    file.write_text("train: {minutes: 3}\n")
    assert load_params(file).train.steps is None


@pytest.mark.parametrize("file", sorted((ROOT / "params").glob("*.yaml")), ids=lambda f: f.name)
def test_the_parameters_that_come_with_emsam_are_valid(file: Path) -> None:
    assert load_params(file) != load_params()


def test_thresholds_and_balance_are_those_of_the_task_unless_they_are_given() -> None:
    neurites, mitochondria = (load_params(None, [f"task={task}"]) for task in TASKS)
    assert (neurites.threshold, neurites.min_confidence) == (0.8, 0.0)
    assert (mitochondria.threshold, mitochondria.min_confidence) == (0.7, 0.8)
    assert (neurites.foreground, mitochondria.foreground) == (0.5, 0.7)
    assert (neurites.settled_loss.balance, mitochondria.settled_loss.balance) == (False, True)
    given = load_params(None, ["task=mitochondria", "segment.threshold=0.9", "loss.balance=false"])
    assert given.settled_loss.balance is False
    assert given.settled_segment.threshold == 0.9
    assert given.settled_segment.min_confidence == 0.8
    assert given.settled_segment.merge == given.segment.merge


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "more than 20,000 values"),
        ("[" * 20_000, "nested too deeply"),
        ("train: &t\n  steps: *t\n", "more than 20,000 values"),
        ("train: !!python/object/apply:os.system ['touch ran']", "could not determine"),
        ("train: {steps: 2001-99-99}", "month must be in 1..12"),
        ("train: !!timestamp x", "not valid YAML"),
        ("augment: {elastic: {spacing: 1" + "0" * 400 + "}}", "more than 63 bits"),
        ("1: 2", "a key that is no text"),
        ("x: " + "y" * (1 << 20), "more than 1024 kB"),
        ('model: {name: "\\e[2J"}', "\\x1b[2J"),
        ("model: {unet_widths: [16, 1000000000]}", "less than or equal to 8192"),
    ],
)  # fmt: skip
def test_a_file_of_a_stranger_is_read_as_plain_values(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(tmp_path / "params.yaml")
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "ran").exists()
