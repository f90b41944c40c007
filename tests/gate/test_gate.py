"""Real decisions about real, small models, scored in processes of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.registry.decision import Decision
from emsam.registry.gate import decide
from emsam.registry.looks import looks_of
from emsam.registry.training_slices import TAG
from tests.gate.conftest import GATE, Registry, change_info

pytestmark = pytest.mark.slow


def on_test(registry: Registry) -> list[tuple[Volume, str]]:
    return [(registry.unseen, "test")]


def test_a_better_candidate_is_promoted_with_a_document_and_pictures(registry: Registry) -> None:
    found = decide(registry.good, on_test(registry), registry.settings, GATE)
    assert found.verdict == "promote", found.reason
    assert (found.candidate, found.champion) == ("emsam-neurites/2", "emsam-neurites/1")
    assert found.looks == 2  # candidate and champion
    (looks,) = looks_of("emsam-neurites", registry.settings)
    assert (looks.split, looks.models) == ("test", 2)
    folder = registry.settings.home / "decisions" / found.sha256[:12]
    assert Decision.from_file(folder / "decision.json").sha256 == found.sha256
    assert len(list(folder.glob("*.png"))) == GATE.figures
    page = (folder / "index.html").read_text()
    assert page.count("<img") == GATE.figures
    assert found.reason in page
    rows = json.loads((folder / "scores.json").read_text())
    primary = {
        who: [r["value"] for r in rows if (r["model"], r["metric"]) == (who, found.metric)]
        for who in ("candidate", "champion")
    }
    assert np.mean(primary["candidate"]) == pytest.approx(found.candidate_score)
    assert np.mean(primary["champion"]) == pytest.approx(found.champion_score)
    assert {row["z"] for row in rows} == set(found.judged[0]["slices"])
    logged = registry.client.list_artifacts(str(registry.good.run_id), f"decisions/{folder.name}")
    assert f"decisions/{folder.name}/decision.json" in {each.path for each in logged}


def test_the_same_decision_again_is_the_same_document(registry: Registry) -> None:
    first, second = (
        decide(registry.good, on_test(registry), registry.settings, GATE) for _ in range(2)
    )
    assert first.sha256 == second.sha256


def test_a_worse_candidate_is_rejected_and_few_slices_decide_nothing(registry: Registry) -> None:
    registry.set_champion(registry.good)
    found = decide(registry.poor, on_test(registry), registry.settings, GATE)
    assert found.verdict == "reject"
    registry.set_champion(registry.poor)
    few = [(registry.volume, "test")]
    found = decide(registry.good, few, registry.settings, GATE)
    assert found.verdict == "inconclusive"
    assert "too few slices: 4 make 1 blocks of 4" in found.reason


def test_several_volumes_are_judged_together(registry: Registry) -> None:
    settings = registry.settings
    both = [*on_test(registry), (registry.volume, "val")]
    found = decide(registry.good, both, settings, GATE)
    assert found.data == "unseen,tissue"
    assert [each["split"] for each in found.judged] == ["test", "val"]
    assert all(each["improvement"] > 0 for each in found.judged)
    assert any("validation slices" in note for note in found.notes)
    with pytest.raises(InputError, match="would count twice"):
        decide(registry.good, [*on_test(registry), *on_test(registry)], settings, GATE)


def test_the_first_champion_has_nobody_to_beat_and_the_document_says_so(registry: Registry) -> None:
    registry.set_champion(None)
    found = decide(registry.good, on_test(registry), registry.settings)
    assert (found.verdict, found.reason) == ("promote", "there was no champion")
    assert found.champion_score is None
    assert any("no champion to compare with" in note for note in found.notes)


def test_slices_that_a_model_learned_from_stop_the_gate(registry: Registry) -> None:
    client, (name, version) = registry.client, (registry.poor.name, registry.poor.version)
    tag = json.loads(registry.poor.tags[TAG])
    tag[0]["splits"]["val"][1] = 21
    client.set_model_version_tag(name, version, TAG, json.dumps(tag))
    try:
        with pytest.raises(InputError, match=r"emsam-neurites/1 has val slices 16-21 of it"):
            decide(registry.good, [(registry.volume, "test")], registry.settings, GATE)
    finally:
        client.set_model_version_tag(name, version, TAG, registry.poor.tags[TAG])


def test_a_copy_of_training_tissue_under_another_name_stops_the_gate(
    registry: Registry,
) -> None:
    settings = registry.settings
    copy = settings.volume_path("copy")
    shutil.copytree(registry.volume.path, copy)
    change_info(copy, name="copy", splits={"test": [3, 12]})
    with pytest.raises(InputError, match=r"copy: its test slice \d+ shows the section of train"):
        decide(registry.good, [(Volume(copy), "test")], settings, GATE)
    shutil.rmtree(copy.parent)


def test_a_version_of_which_nobody_knows_its_training_is_refused(registry: Registry) -> None:
    client = registry.client
    orphan = client.create_run(client.get_run(str(registry.good.run_id)).info.experiment_id)
    version = client.create_model_version(
        registry.good.name, source=f"runs:/{orphan.info.run_id}/x", run_id=orphan.info.run_id
    )
    with pytest.raises(InputError, match="nothing says on which slices it was trained"):
        decide(version, on_test(registry), registry.settings, GATE)
    client.delete_model_version(version.name, version.version)


def champion_weights(registry: Registry) -> Path:
    package = str(registry.poor.source).split("/", 2)[2]
    folder = registry.settings.home / "artifacts" / str(registry.poor.run_id)
    return folder / "artifacts" / package / "artifacts" / "model.safetensors"


def test_a_champion_that_no_longer_loads_is_one_clear_line(registry: Registry) -> None:
    weights = champion_weights(registry)
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match=r"emsam-neurites/1: weights do not have"):
            decide(registry.good, on_test(registry), registry.settings, GATE)
        weights.unlink()
        with pytest.raises(InputError, match=r"emsam-neurites/1: its package .* restore it"):
            decide(registry.good, on_test(registry), registry.settings, GATE)
    finally:
        weights.write_bytes(content)


def test_data_that_change_while_the_gate_works_stop_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emsam.registry.gate_case.folder_digest", lambda path: "0" * 32 + ".dir")
    with pytest.raises(InputError, match=r"emsam-neurites/2 cannot be judged: .*data set version"):
        decide(registry.good, on_test(registry), registry.settings, GATE)
