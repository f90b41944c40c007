"""The commands around the champion, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emsam.data.synthetic import synthesize_volume
from emsam.registry.client import open_client
from emsam.settings import Settings
from tests.cli.conftest import Run, typed
from tests.registry.conftest import assert_agree
from tests.registry.workers import NAME, make_decision

__all__ = ["typed"]

SECOND = make_decision(2, 1)
SHORT = SECOND.sha256[:12]


@pytest.fixture
def emsam(settings: Settings, typed: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Types commands where version 2 of the model beats version 1, whatever the gate reads."""
    monkeypatch.setenv("EMSAM_HOME", str(settings.home))
    monkeypatch.setenv("EMSAM_DATA_ROOT", str(settings.data_root))
    monkeypatch.setattr("emsam.registry.gate.decide", lambda *arguments, **options: SECOND)
    return typed


@pytest.fixture
def tiny(settings: Settings) -> Path:
    return synthesize_volume("tiny", settings.volume_path("tiny"), shape=(10, 64, 64)).path


PROMOTE = ("promote", f"{NAME}/2", "--data", "tiny")


def test_from_promotion_to_rollback(emsam: Run, settings: Settings, tiny: Path) -> None:
    assert emsam(*PROMOTE, "--by", "Ada") == (
        0, f"promote: {NAME}/2, {SECOND.reason}\n", ""
    )  # fmt: skip
    _, out, _ = emsam("rollback", NAME, "--reason", "merges axons", "--from", "2", "--json")
    assert json.loads(out)["to_version"] == 1
    status, _, err = emsam("rollback", NAME, "--reason", "merges axons", "--from", "2")
    assert (status, err) == (2, f"emsam: --from 2: the champion of {NAME} is 1\n")
    assert_agree(settings, 1, 2)

    _, out, _ = emsam("registry", "log", NAME)
    lines = [line.split() for line in out.splitlines()]
    assert ["2", "promote", "1", "2", "Ada", "-"] in [line[:6] for line in lines]
    assert any(line[1:4] == ["rollback", "2", "1"] for line in lines)
    status, out, _ = emsam("registry", "verify", NAME)
    assert (status, "3 rows, the chain is whole" in out) == (0, True)


def test_what_waits_for_a_person_names_the_commands(
    emsam: Run, settings: Settings, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSAM_APPROVAL", "required")
    status, out, _ = emsam(*PROMOTE, "--json")
    assert status == 0
    assert json.loads(out)["moved"] is False
    assert f"run 'emsam approve {SHORT} --by NAME --reason TEXT', then" in json.loads(out)["note"]
    status, out, err = emsam("promote", "--decision", SHORT)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"run 'emsam approve {SHORT} --by NAME" in err

    _, out, _ = emsam("approve", SHORT, "--by", "Grace", "--reason", "masks look right")
    assert out.splitlines()[1] == f"promote it with 'emsam promote --decision {SHORT}'"
    assert emsam("promote", "--decision", SHORT)[0] == 0
    assert_agree(settings, 2, 1)


def test_reconcile_tells_and_acknowledges(
    emsam: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emsam("reconcile") == (0, "all agree\n", "")
    open_client(settings).set_registered_model_alias(NAME, "champion", "3")
    _, out, _ = emsam("reconcile")
    assert f"emsam reconcile --acknowledge {NAME} --by NAME --reason TEXT" in out
    assert emsam("reconcile")[1] == out
    assert emsam("registry", "verify", NAME)[0] == 1
    status, _, err = emsam("rollback", NAME, "--reason", "back")
    assert (status, err.count("\n")) == (2, 1)
    assert "behind the ledger" in err
    status, out, _ = emsam("reconcile", "--acknowledge", NAME, "--by", "Grace", "--reason", "mine")
    assert (status, out) == (0, f"{NAME}: champion is 3, acknowledged by Grace (sequence 2)\n")
    assert emsam("reconcile") == (0, "all agree\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote", f"{NAME}/2"), "give a candidate with --data"),
        (("promote", f"{NAME}/2", "--decision", SHORT), "give a candidate with --data"),
        (("promote", "--decision", "abc"), "abc: no file, and no sha256"),
        (("promote", "--decision", "abcdef"), "abcdef: no decision begins so"),
        (("approve", "abcdef", "--by", " ", "--reason", "x"), "--by: say who you are"),
        (("approve", "abcdef", "--by", "Ada", "--reason", ""), "--reason: say why"),
        (("rollback", "nothing", "--reason", "x"), "nothing: no such model"),
        (("rollback", NAME, "--reason", "x", "--to", "9"), "--to 9: was never champion"),
        (("reconcile", "--by", "Ada"), "go with --acknowledge"),
        (("reconcile", "--acknowledge", NAME, "--reason", "x"), "nothing to acknowledge"),
        (("registry", "verify", "nothing"), "nothing: no such model"),
    ],
)
def test_bad_input_is_one_line(emsam: Run, words: tuple[str, ...], said: str) -> None:
    status, out, err = emsam(*words)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert said in err


def test_an_unknown_approval_setting_is_refused(
    emsam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSAM_APPROVAL", "perhaps")
    with pytest.raises(ValueError, match="'none' or 'required'"):
        Settings()
