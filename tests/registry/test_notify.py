"""Messages on verdicts and moves, as a webhook of a lab receives them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import SecretStr

from emsam.errors import NotPromoted
from emsam.registry.decision import REJECT
from emsam.registry.promotion import apply_decision
from emsam.registry.rollback import roll_back
from emsam.settings import Settings
from tests.registry.conftest import assert_agree
from tests.registry.workers import NAME, make_decision

SECOND = make_decision(2, 1)


class Webhook(HTTPServer):
    """Keeps what is posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[dict[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hearing(settings: Settings, address: str) -> Settings:
    return settings.model_copy(update={"notify": SecretStr(address)})


def test_a_lab_hears_of_verdicts_and_moves(settings: Settings, webhook: Webhook) -> None:
    lab = hearing(settings, f"json://127.0.0.1:{webhook.server_port}/")
    apply_decision(replace(SECOND, verdict=REJECT), lab, by="Ada")
    apply_decision(SECOND, lab, by="Ada")
    roll_back(NAME, lab, reason="merges axons", by="Grace")
    with pytest.raises(NotPromoted):  # carried out once
        apply_decision(SECOND, lab, by="Ada")
    titles = [each["title"] for each in webhook.heard]
    assert titles == [
        f"{NAME}/2: reject", f"{NAME}/2: promote", f"{NAME}/1: rolled back to", f"{NAME}/2 waits",
    ]  # fmt: skip
    assert f"{NAME}/2 is champion now, by Ada" in webhook.heard[1]["message"]
    assert "merges axons" in webhook.heard[2]["message"]


def test_an_address_that_does_not_answer_stops_nothing_and_is_not_quoted(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = hearing(settings, "json://user:a-secret@127.0.0.1:9/ no-address")
    with caplog.at_level(logging.DEBUG):
        assert apply_decision(SECOND, deaf, by="Ada")
    assert_agree(settings, 2, 1)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("emsam")]
    assert [line.split(" did")[0] for line in said] == [
        "EMSAM_NOTIFY: address 1", "EMSAM_NOTIFY: address 2",
    ]  # fmt: skip
    assert "a-secret" not in caplog.text
    assert "a-secret" not in repr(deaf)
