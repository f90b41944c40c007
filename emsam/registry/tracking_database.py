"""MLflow's database of one person: a SQLite file that is there whole, or not at all.

python -m emsam.registry.tracking_database FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

from emsam.documents import whole_file
from emsam.errors import one_line
from emsam.locks import hold_lock


def make_tracking_database(path: Path) -> None:
    """Make the file where there is none; of several processes at once, one does it.

    MLflow makes its tables in some sixty steps, each of which SQLite commits by itself. A process
    that is killed between two of them would leave a file that no MLflow opens any more, and one
    that comes meanwhile would make the same tables.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        from mlflow.db import upgrade

        assert upgrade.callback is not None
        with whole_file(path) as part:
            upgrade.callback(f"sqlite:///{part}")


if __name__ == "__main__":
    try:
        make_tracking_database(Path(sys.argv[1]))
    except Exception as error:
        sys.exit(f"{sys.argv[1]}: {one_line(error)}")
