"""Meta's weights over HTTP, taken up again where a connection broke."""

from __future__ import annotations

from pathlib import Path

from emsam.data import web
from emsam.progress import Progress

_REMEDIES = web.Remedies(
    "check EMSAM_WEIGHTS_URL, or fetch the file in another way and give it with --from FILE",
    "free space, or set EMSAM_WEIGHTS_ROOT to a folder that has it",
)


def download(url: str, part: Path, size: int, progress: Progress | None = None) -> None:
    """Fetch ``url``, of ``size`` bytes, into ``part``; as :func:`emsam.data.web.download`."""
    web.download(url, part, size, _REMEDIES, progress)
