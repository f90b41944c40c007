"""Who may import whom: the table of floors in docs/architecture.md, read from the source."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS: dict[str, int] = {
    "params": 0, "settings": 0, "metrics": 0, "errors": 0, "quiet": 0, "interrupts": 0,
    "ahead": 0, "documents": 0, "locks": 0, "progress": 0, "processes": 0, "services": 0,
    "credentials": 0,
    "data": 1,
    "model": 2, "segment": 2,
    "train": 3,
    "versioning": 4, "launch": 4, "registry": 4, "stack": 4,
    "backup": 5, "cli": 5, "flows": 5, "dashboards": 5,
}  # fmt: skip
NEIGHBOURS = {
    ("params", "errors"),  # a bad parameter is bad input
    ("documents", "errors"),  # a damaged document is bad input
    ("services", "documents"),  # a state file is written whole
    ("services", "processes"),  # a service is known by its process
    ("credentials", "documents"),  # a file of passwords is written whole
    ("credentials", "errors"),  # passwords that cannot be read are bad input
    ("credentials", "settings"),  # whose passwords they are
    ("settings", "errors"),  # a bad setting is bad input
    ("settings", "services"),  # where MLflow is depends on what runs
    ("metrics", "params"),  # the name of a task is a type in params
    ("segment", "model"),  # a worker process loads its network itself
    ("cli", "backup"),  # a backup is a command
    ("cli", "flows"),  # `emsam pipeline` is a flow, run here
}
"""Rooms of one floor that may nevertheless know each other; none on floor 4."""
THIRD_PARTY: list[set[str]] = [
    {"numpy", "scipy", "skimage", "pydantic", "pydantic_settings", "yaml", "psutil"},
    {
        "zarr",
        "numcodecs",
        "google_crc32c",
        "tifffile",
        "h5py",
        "imagecodecs",
        "mrcfile",
        "xxhash",
        "boto3",
        "botocore",
    },
    {"torch", "torchvision", "segment_anything", "safetensors", "dask", "bioimage_cpp", "pyarrow"},
    {"lightning_fabric", "PIL", "optuna"},
]
"""What each of the floors 0 to 3 may import beside what is allowed below it."""
PLATFORM = {"prefect", "mlflow", "dvc", "streamlit", "sqlalchemy", "alembic"}


def sources() -> list[Path]:
    folders = [ROOT / name for name in ("emsam", "flows", "dashboards")]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; ``from emsam import x`` is emsam.x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full"
            if node.module in ("emsam", "flows", "dashboards"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def room_of_module(module: str) -> str | None:
    """Room of one of our modules; ``None`` for others and for ``emsam`` itself."""
    first, _, rest = module.partition(".")
    if first == "emsam":
        room = rest.split(".")[0]
        return room if room and not room.startswith("__") else None
    return first if first in FLOORS else None


def room_of_file(path: Path) -> str | None:
    return room_of_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def complaints() -> Iterator[str]:
    for path in sources():
        here = room_of_file(path)
        for module in imports_of(path):
            there = room_of_module(module)
            if here is None or there is None or here == there or (here, there) in NEIGHBOURS:
                continue
            if FLOORS[there] >= FLOORS[here]:
                name = path.relative_to(ROOT)
                yield f"{name} (floor {FLOORS[here]}) imports {module} (floor {FLOORS[there]})"


def test_every_file_is_in_a_room() -> None:
    rooms = {room_of_file(path) for path in sources()} - {None}
    assert rooms <= set(FLOORS), f"say on which floor {rooms - set(FLOORS)} stands"
    assert {"params", "metrics", "data", "model", "train", "registry", "cli", "flows"} <= rooms


def test_a_file_imports_only_from_below_and_from_its_own_room() -> None:
    assert list(complaints()) == []


def test_neighbours_that_no_longer_know_each_other_are_struck_off() -> None:
    known = {
        (room_of_file(path), room_of_module(module))
        for path in sources()
        for module in imports_of(path)
    }
    assert known >= NEIGHBOURS


def test_the_package_itself_imports_nothing() -> None:
    assert list(imports_of(ROOT / "emsam" / "__init__.py")) == []


@pytest.mark.parametrize("floor", range(4))
def test_third_party_packages_of_the_lower_floors(floor: int) -> None:
    allowed = set().union(*THIRD_PARTY[: floor + 1]) | sys.stdlib_module_names | {"emsam"}
    for path in sources():
        room = room_of_file(path)
        if room is not None and FLOORS[room] == floor:
            packages = {module.split(".")[0] for module in imports_of(path)}
            assert not packages & PLATFORM, f"{path}: floor {floor} needs no {packages & PLATFORM}"
            assert packages <= allowed, f"{path}: {packages - allowed} on floor {floor}"


IMPORT_ALL = """
import importlib, os, signal, sys
before = dict(os.environ), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
for name in sys.argv[1:]:
    importlib.import_module(name)
after = dict(os.environ), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
print("changed" if before[1:] != after[1:] else "same")
print(sorted(key for key in after[0] if key.startswith("EMSAM_") and key not in before[0]))
"""


@pytest.mark.slow
def test_importing_everything_leaves_no_file_and_no_signal_handler(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources()
        if path.is_relative_to(ROOT / "emsam")
    ]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["same", "[]"]
    assert list(tmp_path.iterdir()) == []


LIGHT = """
import sys, emsam.{module}
heavy = {{name.split(".")[0] for name in sys.modules}} & set({heavy!r})
sys.exit(f"drags in {{heavy}}" if heavy else 0)
"""


@pytest.mark.parametrize("module", ["params", "metrics.score_slice", "data.store"])
def test_lower_floors_do_not_drag_in_torch_or_the_platform(module: str) -> None:
    code = LIGHT.format(module=module, heavy=sorted(PLATFORM | {"torch", "boto3"}))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
