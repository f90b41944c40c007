"""The document of a decision: what was compared, on what, with what result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from emsam.documents import document_digest, finite_or_none, parse_object
from emsam.errors import InputError

PROMOTE, REJECT, INCONCLUSIVE = "promote", "reject", "inconclusive"


@dataclass(frozen=True)
class Decision:
    """What was compared, on what, with what result.

    Attributes
    ----------
    reason
        One sentence.
    candidate, champion
        ``NAME/VERSION``; ``champion`` is ``None`` where there was none.
    metric
        Variant that decides.
    candidate_score, champion_score
        Mean over the slices; ``None`` where not known.
    data, digest, split
        What was judged on; of several volumes, joined by commas.
    judged
        A mapping a volume: ``data``, ``digest``, ``split``, ``slices``, and, where there was a
        champion, ``improvement``, the mean of the primary metric's.
    packages
        sha256 of weights and parameters of each model.
    looks
        How many different models were scored on the slices, these included; ``None`` where
        nothing was scored.
    evaluator
        Package versions, git commit, seed, threads and device that scored.
    gate
        Parameters of the rule.
    metrics
        A mapping a metric variant: means, the candidate's with its 95 % interval, improvement
        (above 0 is better) with its own, and what was resampled.
    notes
        What a reader should know of this decision.
    """

    verdict: str
    reason: str
    candidate: str
    champion: str | None
    metric: str
    candidate_score: float | None
    champion_score: float | None
    data: str
    digest: str
    split: str
    judged: tuple[dict[str, Any], ...] = ()
    packages: dict[str, Any] | None = None
    looks: int | None = None
    evaluator: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None
    metrics: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of all fields, whatever their order."""
        return document_digest(finite_or_none(asdict(self)))

    def to_json(self) -> str:
        """All fields and ``sha256``."""
        document = finite_or_none(asdict(self)) | {"sha256": self.sha256}
        return json.dumps(document, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, origin: str = "decision") -> Decision:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InputError
            No decision, or its content is not what its sha256 was made of.
        """
        try:
            document = parse_object(text)
            said = document.pop("sha256")
            values: dict[str, Any] = {
                key: tuple(each) if isinstance(each, list) else each
                for key, each in document.items()
            }
            found = cls(**values)
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{origin}: no decision of the gate; make one with 'emsam promote'"
            ) from None
        if document.keys() != {each.name for each in fields(cls)} or found.sha256 != said:
            raise InputError(
                f"{origin}: its content does not have the sha256 that it names; somebody changed "
                "it, decide again with 'emsam promote'"
            )
        return found

    @classmethod
    def from_file(cls, path: Path) -> Decision:
        """Read ``decision.json``.

        Raises
        ------
        InputError
            The file cannot be read, or see :meth:`from_json`.
        """
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{path}: cannot be read; name a decision.json") from None
        return cls.from_json(text, str(path))
