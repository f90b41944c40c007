"""Who sits in front of the app, and what they may do.

Sign-in is Streamlit's (``[auth]`` in ``.streamlit/secrets.toml``, OpenID Connect); the list of
people is ``EMSAM_PEOPLE``. Without sign-in the app must listen on this machine alone, and whoever
is logged in there may do everything.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import streamlit as st

from emsam.errors import InputError
from emsam.registry.ledger import actor
from emsam.settings import Settings

ROLES = ("viewer", "reviewer", "admin")
"""Each may do what those before it may."""


@dataclass(frozen=True)
class Person:
    """Who acts.

    Attributes
    ----------
    name
        As it is kept in the ledger: the address of who signed in, else the login name.
    role
        One of :data:`ROLES`.
    read_only
        Nobody may change anything now.
    """

    name: str
    role: str
    read_only: bool = False

    @property
    def may_review(self) -> bool:
        """Approve and reject decisions, comment, start and stop jobs."""
        return not self.read_only and self.role in ROLES[1:]

    @property
    def may_promote(self) -> bool:
        """Move a champion."""
        return not self.read_only and self.role == ROLES[2]


def role_of(address: str, people: str) -> str | None:
    """The role of an address in a list such as ``EMSAM_PEOPLE``; ``None`` if it is not there.

    The address itself counts before a rule for its domain, capitals do not count.

    Raises
    ------
    InputError
        The list cannot be read.
    """
    roles = {}
    for part in filter(None, (each.strip() for each in people.split(","))):
        who, equals, role = (each.strip() for each in part.partition("="))
        if not (equals and "@" in who and role in ROLES):
            raise InputError(
                f"EMSAM_PEOPLE: {part!r} is not such as ada@lab.org=reviewer; the roles are "
                f"{', '.join(ROLES)}"
            )
        roles[who.lower()] = role
    address = address.strip().lower()
    return roles.get(address) or roles.get(f"*@{address.rpartition('@')[2]}")


def signs_in() -> bool:
    """Whether people sign in to this app."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:  # there are no secrets at all
        return False


def listens_here_alone(address: str | None) -> bool:
    """Whether only this machine can reach a server on ``address``."""
    if address in (None, "", "localhost"):
        return address == "localhost"
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def current_person(settings: Settings) -> Person:
    """Who looks at this page; where nobody is known yet the page asks, and ends.

    Raises
    ------
    InputError
        ``EMSAM_PEOPLE`` cannot be read.
    """
    if not signs_in():
        return Person(actor(), "admin", settings.read_only)
    if not st.user.is_logged_in:
        st.title("EM-SAM")
        st.button("Sign in", on_click=st.login, type="primary")
        st.stop()
    address = str(st.user.get("email", ""))
    verified = st.user.get("email_verified", True) is not False
    role = role_of(address, settings.people) if verified else None
    if role is None:
        st.title("EM-SAM")
        why = "is not on the list of people" if verified else "is not verified by who signed you in"
        st.error(f"{address or 'You'} {why}; ask an administrator.", icon=":material/block:")
        st.button("Sign out", on_click=st.logout)
        st.stop()
    return Person(address, role, settings.read_only)
