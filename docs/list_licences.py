"""Writes ``licences.md``: what the packages of ``requirements.lock`` say of their licences.

``python docs/list_licences.py`` after ``make lock``; a test compares the page with the lock.
"""

from __future__ import annotations

import re
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("licences.md")
COPYLEFT = re.compile(
    r"\b(A|L)?GPL|General Public License|MPL|Mozilla|EUPL|CDDL|EPL|SSPL", re.IGNORECASE
)
BINDING = re.compile(r"\bA?GPL|(?<!Lesser )General Public License|SSPL", re.IGNORECASE)
"""Licences that would bind whoever passes on a program that is made with such a package."""
NOTES = {
    "asyncssh": "EM-SAM takes it under EPL-2.0, unchanged; it comes with DVC.",
    "dulwich": "EM-SAM takes it under Apache-2.0; it comes with DVC.",
    "grandalf": "EM-SAM takes it under EPL-1.0, unchanged; it comes with DVC.",
    "pygit2": "Its exception lets any program be linked with it; it comes with DVC.",
}
"""Why what looks as if it bound users does not, checked by hand."""
SEEN = {"huey": "MIT", "segment-anything": "Apache-2.0", "skops": "MIT"}
"""Licences in the repositories of packages whose metadata do not say them."""
_CLASSIFIER = "License :: OSI Approved :: "
_HEAD = """# Licences

EM-SAM is under Apache-2.0. It installs {count} packages (`requirements.lock`), each under a licence
of its own; this page is what they say of themselves, written by `python docs/list_licences.py`.

{binding}

Weights and published data sets have terms of their own: [data.md](data.md) lists those of the data,
Meta's Segment Anything weights are under Apache-2.0. On a GPU machine torch brings NVIDIA's
libraries, under NVIDIA's terms. PostgreSQL and Chromium are Debian's and not installed by EM-SAM.

## Copyleft

{copyleft}

## All

| package | version | licence |
|---|---|---|
"""


def locked() -> dict[str, str]:
    """Names and versions in ``requirements.lock``."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = (line.split(";")[0].strip().partition("==") for line in lines if "==" in line)
    return {name.partition("[")[0]: version.strip() for name, _, version in pairs}


def licence(name: str) -> str:
    """What a package's metadata say; empty if it is not installed."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return ""
    return SEEN.get(name) or _short(said)


def _short(said: Message) -> str:
    classifiers = [c.removeprefix(_CLASSIFIER) for c in said.get_all("Classifier", [])
                   if c.startswith(_CLASSIFIER)]  # fmt: skip
    field = " ".join(str(said.get("License") or "").split())
    return (
        said.get("License-Expression")
        or (field if 0 < len(field) < 60 and field != "UNKNOWN" else "")
        or ", ".join(classifiers)
        or (f"{field[:50]}…" if field else "not said")
    )


def page() -> str:
    """The page for the packages that are installed here."""
    rows = {name: (version, licence(name)) for name, version in locked().items()}
    rows = {name: row for name, row in rows.items() if row[1]}
    copyleft = {name: said for name, (_, said) in rows.items() if COPYLEFT.search(said)}
    binding = sorted(name for name, said in copyleft.items() if BINDING.search(said))
    unknown = sorted(set(binding) - set(NOTES))
    verdict = (
        f"**To be looked at**: {', '.join(unknown)}."
        if unknown
        else "None binds what users make with EM-SAM; those that look as if they did come first."
        if binding
        else "None is under a licence that binds what users make with EM-SAM."
    )
    first = sorted(copyleft, key=lambda name: (name not in NOTES, name))
    listed = [f"- `{name}`: {copyleft[name]}. {NOTES.get(name, _WEAK)}" for name in first]
    head = _HEAD.format(count=len(locked()), binding=verdict, copyleft="\n".join(listed))
    return head + "".join(f"| {name} | {v} | {said} |\n" for name, (v, said) in rows.items())


_WEAK = "Used unchanged, as a library; it asks only that changes to itself be passed on."

if __name__ == "__main__":
    PAGE.write_text(page())
