"""Who may open the app, and what they may do there."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.people import Person, listens_here_alone, role_of
from emsam.errors import InputError
from emsam.settings import Settings
from tests.dashboards.test_pages import APP, seen
from tests.waiting import PATIENCE

PEOPLE = "ada@lab.org=admin, Bo@lab.org = reviewer, *@lab.org=viewer"
AUTH = {"auth": {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "x"}}


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("ada@lab.org", "admin"),
        ("bo@LAB.org", "reviewer"),
        ("anybody@lab.org", "viewer"),
        ("ada@elsewhere.org", None),
        ("ada@lab.org.elsewhere.org", None),
        ("", None),
    ],
)
def test_the_list_says_who_is_what(address: str, role: str | None) -> None:
    assert role_of(address, PEOPLE) == role


@pytest.mark.parametrize("people", ["ada@lab.org", "ada@lab.org=king", "ada=admin"])
def test_a_list_that_cannot_be_read_is_named(people: str) -> None:
    with pytest.raises(InputError, match=r"EMSAM_PEOPLE.*reviewer"):
        role_of("ada@lab.org", people)


def test_roles_allow_what_they_say() -> None:
    rights = {
        role: (Person("x", role).may_review, Person("x", role).may_promote)
        for role in ("viewer", "reviewer", "admin")
    }
    assert rights == {
        "viewer": (False, False),
        "reviewer": (True, False),
        "admin": (True, True),
    }
    frozen = Person("x", "admin", read_only=True)
    assert (frozen.may_review, frozen.may_promote) == (False, False)


def test_only_loopback_is_this_machine_alone() -> None:
    assert [a for a in ("127.0.0.1", "::1", "localhost") if not listens_here_alone(a)] == []
    assert not any(listens_here_alone(a) for a in ("0.0.0.0", "::", "10.1.2.3", "lab", "", None))


def signed_in(email: str, monkeypatch: pytest.MonkeyPatch, **user: object) -> AppTest:
    monkeypatch.setenv("EMSAM_PEOPLE", PEOPLE)
    app = AppTest.from_file(APP, default_timeout=PATIENCE)
    app.secrets.update(AUTH)
    app.user = {"is_logged_in": True, "email": email} | user
    return app.run()


def test_who_has_signed_in_sees_the_pages_with_their_role(
    in_lab: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = signed_in("bo@lab.org", monkeypatch)
    assert app.title[0].value == "Overview"
    assert "bo@lab.org, reviewer" in [plain.value.replace("\\", "") for plain in app.caption]


@pytest.mark.parametrize(
    ("email", "user", "said"),
    [
        ("eve@elsewhere.org", {}, "eve@elsewhere.org is not on the list"),
        ("ada@lab.org", {"email_verified": False}, "ada@lab.org is not verified"),
    ],
)
def test_others_see_nothing(
    in_lab: Settings,
    monkeypatch: pytest.MonkeyPatch,
    email: str,
    user: dict[str, object],
    said: str,
) -> None:
    app = signed_in(email, monkeypatch, **user)
    assert said in seen(app)
    assert not app.dataframe


def test_who_has_not_signed_in_is_asked_to(in_lab: Settings) -> None:
    app = AppTest.from_file(APP, default_timeout=PATIENCE)
    app.secrets.update(AUTH)
    app.user = {"is_logged_in": False}
    app.run()
    assert [button.label for button in app.button] == ["Sign in"]
    assert not app.dataframe
