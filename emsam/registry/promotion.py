"""Moves the alias ``champion`` as a decision says."""

from __future__ import annotations

import time

from emsam.errors import InputError
from emsam.registry.client import open_client
from emsam.registry.decision import PROMOTE, Decision
from emsam.registry.models import CHAMPION, PREVIOUS, champion_of
from emsam.settings import Settings


def apply_decision(decision: Decision, settings: Settings) -> bool:
    """Keep the decision on the candidate and move ``champion`` as it says.

    Returns
    -------
    bool
        Whether the champion moved.

    Raises
    ------
    InputError
        The champion is no longer the one that the decision was made against.
    """
    client = open_client(settings)
    name, version = decision.candidate.split("/")
    if decision.candidate != decision.champion:
        client.set_model_version_tag(name, version, "emsam.decision", decision.to_json())
        client.set_model_version_tag(name, version, "emsam.decision_sha256", decision.sha256)
    if decision.verdict != PROMOTE:
        return False
    champion = champion_of(client, name)
    now = f"{name}/{champion.version}" if champion else None
    if now == decision.candidate:
        return False
    if now != decision.champion:
        raise InputError(
            f"{name}: the champion is {now}, the decision was made against {decision.champion}; "
            "decide again with 'emsam promote'"
        )
    client.set_model_version_tag(name, version, "emsam.promoted_at", str(int(time.time() * 1000)))
    if champion is not None:
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
    client.set_registered_model_alias(name, CHAMPION, version)
    return True
