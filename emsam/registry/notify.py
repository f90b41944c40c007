"""Messages about the champion, to wherever a lab reads them; off unless addresses are set."""

from __future__ import annotations

import logging

from emsam.settings import Settings

_log = logging.getLogger(__name__)


def notify(settings: Settings, title: str, body: str) -> None:
    """Send a message to each address of ``EMSAM_NOTIFY``; nothing is lost if that fails.

    Addresses are Apprise's (Slack, e-mail, Teams, webhooks and some hundred others), separated
    by blanks. They hold secrets, so a failure is told by the number of the address alone.
    """
    for number, address in enumerate(settings.notify.get_secret_value().split(), start=1):
        if not _send(address, title, body):
            _log.warning(
                "EMSAM_NOTIFY: address %d did not take '%s'; check it, the champion is as it was "
                "decided",
                number,
                title,
            )


def _send(address: str, title: str, body: str) -> bool:
    from apprise import Apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its warnings quote addresses
    sender = Apprise()
    return sender.add(address) and bool(sender.notify(body=body, title=title))
