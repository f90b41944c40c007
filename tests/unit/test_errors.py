from __future__ import annotations

import pytest

from emsam.errors import DamagedInput, InputError, without_passwords
from emsam.settings import Settings


def test_what_a_file_put_into_a_message_moves_no_cursor() -> None:
    for kind in (InputError, DamagedInput):
        assert str(kind("a\x1b[2J\nb\0c\udcff")) == "a\\x1b[2J b\\x00c\\udcff"
    line = str(InputError("begin" + "x" * 100_000 + "; copy it again"))
    assert len(line) < 1100
    assert line.startswith("beginx")
    assert line.endswith("x; copy it again")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:secret@lab/em: refused", "postgresql://ada:***@lab/em: refused"),
        ("(http://ada:se@cret@lab:5000/x)", "(http://ada:***@lab:5000/x)"),
        ("http://lab:5000/models/a@champion", "http://lab:5000/models/a@champion"),
        ("s3://bucket/key: ada@lab.org", "s3://bucket/key: ada@lab.org"),
    ],
)
def test_no_password_of_an_address_is_shown(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
    assert str(InputError(text)) == shown


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://ada:secret@lab:5000/mlflow", "https://lab:5000/mlflow"),
        ("http://lab:5000", "http://lab:5000"),
        ("sqlite:////lab/mlflow.db", "sqlite:////lab/mlflow.db"),
        ("postgresql://ada:secret@lab/em", "postgresql://ada:secret@lab/em"),
    ],
)
def test_the_address_of_a_server_is_kept_without_its_password(address: str, kept: str) -> None:
    assert Settings(mlflow_uri=address).tracking_uri == kept
