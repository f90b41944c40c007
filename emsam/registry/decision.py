"""The document of a decision: what was compared, on what, with what result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

PROMOTE, REJECT = "promote", "reject"


@dataclass(frozen=True)
class Decision:
    """What was compared, on what, with what result.

    Attributes
    ----------
    candidate, champion
        ``NAME/VERSION``; ``champion`` is ``None`` where there was none.
    metric
        Variant that decides.
    candidate_score, champion_score
        Mean over ``slices``.
    """

    verdict: str
    reason: str
    candidate: str
    champion: str | None
    metric: str
    candidate_score: float
    champion_score: float | None
    data: str
    digest: str
    split: str
    slices: tuple[int, ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)
