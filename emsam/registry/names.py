"""How models are named: ``NAME/VERSION``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def version_name(found: ModelVersion) -> str:
    """``NAME/VERSION`` of a registered version."""
    return f"{found.name}/{found.version}"
