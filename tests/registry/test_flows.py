"""The flows of the champion do what the commands do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.logging import disable_run_logger

from emsam.registry.client import open_client
from emsam.registry.promotion import apply_decision
from emsam.settings import Settings
from flows.reconcile import reconcile
from flows.rollback import rollback
from tests.registry.conftest import assert_agree
from tests.registry.workers import NAME, make_decision


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings of this test, as a flow reads them."""
    for name in ("home", "data_root", "runs_root"):
        monkeypatch.setenv(f"EMSAM_{name.upper()}", str(getattr(settings, name)))
    with disable_run_logger():
        yield settings


def test_rollback_and_reconcile(home: Settings) -> None:
    apply_decision(make_decision(2, 1), home)
    row = rollback.fn(NAME, "merges axons", by="Ada")
    assert (row["to_version"], row["by"]) == (1, "Ada")
    assert_agree(home, 1, 2)
    assert reconcile.fn() == []
    open_client(home).set_registered_model_alias(NAME, "champion", "3")
    assert [each["kind"] for each in reconcile.fn()] == ["alias"]
