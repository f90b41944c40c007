"""What a promotion refuses, what a person may say, how it is taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy import text as sql

from emsam.errors import InputError, NotPromoted
from emsam.registry.approval import answer_decision
from emsam.registry.client import open_client
from emsam.registry.database import Database
from emsam.registry.decision import REJECT
from emsam.registry.decisions import decision_file
from emsam.registry.history import history_of
from emsam.registry.models import fetch_package, find_version
from emsam.registry.promotion import apply_decision, carry_out
from emsam.registry.reconcile import acknowledge_aliases, reconcile_models
from emsam.registry.rollback import roll_back
from emsam.registry.verify import verify_ledger
from emsam.settings import Settings
from tests.registry.conftest import assert_agree, moves_of, rows_of
from tests.registry.workers import NAME, make_decision

SECOND = make_decision(2, 1)


def needing_approval(settings: Settings) -> Settings:
    return settings.model_copy(update={"approval": "required"})


def test_a_promotion_and_its_rollback_are_rows_with_who_and_why(settings: Settings) -> None:
    assert apply_decision(SECOND, settings, by="Ada")
    assert not apply_decision(SECOND, settings, by="Ada")  # champion already
    row = roll_back(NAME, settings, reason="merges axons")
    assert (row.action, row.from_version, row.to_version) == ("rollback", 2, 1)
    assert row.by  # the login name
    assert_agree(settings, 1, 2)
    promoted = rows_of(settings)[1]
    assert (promoted.by, promoted.decision_sha256) == ("Ada", SECOND.sha256)
    assert promoted.reason == SECOND.reason
    assert (
        json.loads(decision_file(SECOND.sha256, settings).read_text())["candidate"] == f"{NAME}/2"
    )


def test_a_decision_is_carried_out_once(settings: Settings) -> None:
    apply_decision(SECOND, settings)
    roll_back(NAME, settings, reason="merges axons")
    with pytest.raises(NotPromoted, match=r"carried out already .sequence 2. and taken back.*--to"):
        apply_decision(SECOND, settings)
    roll_back(NAME, settings, reason="it was the data", to=2)
    assert_agree(settings, 2, 1)


def test_rollback_goes_to_champions_alone(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"nothing to roll back to"):
        roll_back(NAME, settings, reason="no")
    apply_decision(SECOND, settings)
    with pytest.raises(InputError, match=r"--to 3: was never champion.*are 1, and others"):
        roll_back(NAME, settings, reason="no", to=3)
    with pytest.raises(InputError, match=r"--reason"):
        roll_back(NAME, settings, reason=" ")
    assert_agree(settings, 2, 1)


def test_a_decision_against_another_champion_is_refused(settings: Settings) -> None:
    apply_decision(SECOND, settings)
    with pytest.raises(InputError, match=r"is emsam-neurites/2, decision .* against .*/1; dec"):
        apply_decision(make_decision(3, 1), settings)
    assert_agree(settings, 2, 1)


def test_a_verdict_that_is_not_promote_moves_nothing(settings: Settings) -> None:
    assert not apply_decision(replace(SECOND, verdict=REJECT), settings)
    assert_agree(settings, 1, None)


def test_where_a_person_must_approve_the_decision_waits(settings: Settings) -> None:
    strict = needing_approval(settings)
    short = SECOND.sha256[:12]
    with pytest.raises(NotPromoted, match=f"waits.*run 'emsam approve {short} --by NAME --reason"):
        apply_decision(SECOND, strict)
    assert_agree(settings, 1, None)
    answer_decision(short, strict, by="Grace", reason="masks look right")
    assert carry_out(short, strict, by="Ada") == (SECOND, True)
    assert_agree(settings, 2, 1)
    row = rows_of(settings)[-1]
    assert (row.by, row.approved_by, row.approval_reason) == ("Ada", "Grace", "masks look right")


def test_an_approval_of_another_decision_is_refused(settings: Settings) -> None:
    strict, better = needing_approval(settings), replace(SECOND, candidate_score=0.05)
    for decision in (SECOND, better):
        with pytest.raises(NotPromoted):
            apply_decision(decision, strict)
    answer_decision(better.sha256[:12], strict, by="Grace", reason="fine")
    said = f"Grace approved decision {better.sha256[:12]}, not {SECOND.sha256[:12]}; run"
    with pytest.raises(NotPromoted, match=said):
        carry_out(SECOND.sha256[:12], strict)
    assert_agree(settings, 1, None)


def test_an_approval_is_void_once_the_champion_has_moved(settings: Settings) -> None:
    strict = needing_approval(settings)
    with pytest.raises(NotPromoted):
        apply_decision(SECOND, strict)
    answer_decision(SECOND.sha256[:12], strict, by="Grace", reason="fine")
    apply_decision(make_decision(3, 1), settings)
    with pytest.raises(InputError, match=r"the champion is emsam-neurites/3"):
        carry_out(SECOND.sha256[:12], strict)
    roll_back(NAME, settings, reason="back")  # the same champion again, but it has moved
    with pytest.raises(NotPromoted, match=r"before the champion moved, which made it void"):
        carry_out(SECOND.sha256[:12], strict)
    assert_agree(settings, 1, 3)


def test_a_person_may_say_no_anywhere(settings: Settings) -> None:
    with pytest.raises(NotPromoted):
        apply_decision(SECOND, needing_approval(settings))
    answer_decision(SECOND.sha256, settings, by="Grace", reason="blurred", reject=True)
    with pytest.raises(NotPromoted, match=r"Grace rejected decision .*: blurred"):
        apply_decision(SECOND, settings)


def test_altered_numbers_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotPromoted):
        apply_decision(SECOND, needing_approval(settings))
    file = tmp_path / "decision.json"
    file.write_text(replace(SECOND, candidate_score=0.01).to_json())
    with pytest.raises(InputError, match=r"is not as the gate made it"):
        carry_out(str(file), settings)
    with pytest.raises(InputError, match=r"is not as the gate made it"):
        answer_decision(str(file), settings, by="Ada", reason="fine")
    with Database(settings).begin() as connection:
        connection.execute(sql("UPDATE decisions SET document = replace(document, '0.1', '0.0')"))
    with pytest.raises(InputError, match=r"is not as the gate made it"):
        carry_out(SECOND.sha256[:12], settings)
    assert moves_of(settings) == [(1, "promote", None, 1)]


def test_altered_weights_are_refused(settings: Settings, tmp_path: Path) -> None:
    client = open_client(settings)
    package = tmp_path / "other" / "artifacts"
    package.mkdir(parents=True)
    (package / "model.safetensors").write_bytes(b"other weights")
    (package / "params.yaml").write_text("task: neurites\n")
    run = client.create_run(client.get_experiment_by_name("emsam").experiment_id).info.run_id
    client.log_artifacts(run, str(package.parent), "model")
    tags = {
        "emsam.weights_sha256": find_version(f"{NAME}/2", settings).tags["emsam.weights_sha256"]
    }
    client.create_model_version(NAME, source=f"runs:/{run}/model", run_id=run, tags=tags)
    with pytest.raises(InputError, match=r"emsam-neurites/4: weights do not have the registered"):
        apply_decision(make_decision(4, 1), settings)
    assert_agree(settings, 1, None)


def test_an_alias_moved_behind_the_ledger_stops_everything_until_acknowledged(
    settings: Settings,
) -> None:
    apply_decision(SECOND, settings)
    open_client(settings).set_registered_model_alias(NAME, "champion", "3")
    (found,) = reconcile_models(settings)
    assert (found.kind, found.where, found.mended) == ("alias", NAME, False)
    assert "champion is 3, previous 1, in the ledger champion is 2, previous 1" in found.what
    assert found.remedy == f"emsam reconcile --acknowledge {NAME} --by NAME --reason TEXT"
    for refused in (
        lambda: apply_decision(make_decision(1, 3), settings),
        lambda: roll_back(NAME, settings, reason="back"),
        lambda: carry_out(make_decision(1, 3).sha256[:12], settings),
    ):
        with pytest.raises(InputError, match=r"behind the ledger: look at it, then run"):
            refused()
    assert verify_ledger(NAME, settings)[1][0].startswith("aliases: in MLflow champion is 3")

    row = acknowledge_aliases(NAME, settings, by="Grace", reason="it was me")
    assert (row.sequence, row.action, row.from_version, row.to_version) == (3, "acknowledged", 2, 3)
    assert reconcile_models(settings) == []
    assert_agree(settings, 3, 1)
    with pytest.raises(InputError, match=r"nothing to acknowledge"):
        acknowledge_aliases(NAME, settings, by="Grace", reason="again")
    assert apply_decision(make_decision(1, 3), settings)
    assert_agree(settings, 1, 3)


@pytest.mark.parametrize("alias", ["champion", "previous"])
def test_an_alias_that_was_taken_away_is_noticed_too(settings: Settings, alias: str) -> None:
    apply_decision(SECOND, settings)
    open_client(settings).delete_registered_model_alias(NAME, alias)
    assert "nobody" in reconcile_models(settings)[0].what


def test_a_champion_from_before_the_ledger_is_adopted(settings: Settings) -> None:
    (settings.home / "ledger.db").unlink()
    history = history_of(NAME, settings)
    assert [(r["sequence"], r["action"], r["to_version"]) for r in history["ledger"]] == [
        (0, "adopted", 1)
    ]
    assert apply_decision(SECOND, settings)
    assert moves_of(settings) == [(0, "adopted", None, 1), (1, "promote", 1, 2)]
    assert_agree(settings, 2, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE ledger SET reason = 'none' WHERE sequence = 2", "sequence 2: its content"),
        ("UPDATE ledger SET to_version = 3 WHERE sequence = 2", "sequence 2: its content"),
        ("DELETE FROM ledger WHERE sequence = 2", "sequence 3: a row before it is missing"),
        ("DELETE FROM ledger WHERE sequence = 3", "aliases: "),
        ("UPDATE decisions SET document = replace(document, '0.1', '0.0')", "was altered in the l"),
        ("DELETE FROM decisions", "is not in the ledger's database"),
    ],
)
def test_verify_finds_what_was_changed_later(settings: Settings, change: str, said: str) -> None:
    apply_decision(SECOND, settings)
    roll_back(NAME, settings, reason="back")
    assert verify_ledger(NAME, settings) == (3, [])
    with Database(settings).begin() as connection:
        connection.execute(sql(change))
    assert any(said in each for each in verify_ledger(NAME, settings)[1])


def test_verify_reads_the_copies_of_a_decision(settings: Settings) -> None:
    apply_decision(SECOND, settings)
    file = decision_file(SECOND.sha256, settings)
    file.write_text(file.read_text().replace("0.1", "0.01"))
    tag = replace(SECOND, candidate_score=0.01).to_json()
    open_client(settings).set_model_version_tag(NAME, "2", "emsam.decision", tag)
    wrong = verify_ledger(NAME, settings)[1]
    assert len(wrong) == 2
    assert any("decision.json" in each for each in wrong)
    assert any("in the tag of emsam-neurites/2" in each for each in wrong)


def test_a_registry_that_fails_in_the_middle_leaves_a_move_that_is_ended_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object) -> None:
        raise MlflowException("away")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", away)
        with pytest.raises(MlflowException, match=r"away"):
            apply_decision(SECOND, settings)
    assert "rolled back" in reconcile_models(settings)[0].what
    assert apply_decision(SECOND, settings)
    assert_agree(settings, 2, 1)


def test_a_package_can_still_be_fetched(settings: Settings, tmp_path: Path) -> None:
    weights, _ = fetch_package(find_version(f"{NAME}@champion", settings), settings, tmp_path)
    assert weights.read_bytes() == b"weights of a test"


def test_champion_alone_means_the_only_one(settings: Settings) -> None:
    assert int(find_version("champion", settings).version) == 1
    client = open_client(settings)
    other = settings.model_name("mitochondria")
    client.create_registered_model(other)
    client.create_model_version(other, source="runs:/0/model")
    assert find_version("champion", settings).name == NAME
    client.set_registered_model_alias(other, "champion", "1")
    with pytest.raises(InputError, match=rf"{NAME}@champion or {other}@champion"):
        find_version("champion", settings)
    for name in (NAME, other):
        client.delete_registered_model_alias(name, "champion")
    with pytest.raises(InputError, match=r"no task has one.*emsam promote"):
        find_version("champion", settings)
