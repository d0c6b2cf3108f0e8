"""The contract of every notifier: leaks no secret, tries again only what can help, tells the end, takes bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import select
import socket
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.alerts.book import AlertState
from mcpwatch.alerts.notifiers import NOTIFIERS
from mcpwatch.alerts.notifiers.exec import INHERITED
from mcpwatch.model.errors import NotifyFailed
from tests.alerts.receivers import HTTP, SECRET, Receiver, notification, program, receiving, worker

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")]
OTHERS = {"exec", "log"}
KINDS = [pytest.param(kind, marks=pytest.mark.slow if kind == "apprise" else ()) for kind in HTTP]
"""apprise reads all of its services first, which takes seconds on a busy machine."""


def test_every_kind_is_under_contract():
    assert {kind.name for kind in NOTIFIERS} == set(HTTP) | OTHERS


async def attempt(
    kind: str, receiver: Receiver, state: AlertState = AlertState.FIRING, timeout: float = 5.0
) -> NotifyFailed | None:
    made = worker(kind, HTTP[kind](receiver.url), timeout)
    try:
        return await made.attempt(notification(state))
    finally:
        await made.notifier.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_beginning_and_its_end_both_arrive_and_differ(kind: str):
    async with receiving() as receiver:
        assert await attempt(kind, receiver) is None
        assert await attempt(kind, receiver, AlertState.RESOLVED) is None
        begun, ended = receiver.requests
        assert begun.body != ended.body
        assert b"fetch" in begun.body
        assert b"fetch" in ended.body


@pytest.mark.sample
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_tried_again(kind: str, status: int):
    async with receiving(status=status) as receiver:
        failure = await attempt(kind, receiver)
        assert failure is not None
        assert failure.retryable, str(failure)


@pytest.mark.sample
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 401, 404])
async def test_what_will_never_pass_is_not_tried_again(kind: str, status: int):
    async with receiving(status=status) as receiver:
        failure = await attempt(kind, receiver)
        assert failure is not None
        assert not failure.retryable, str(failure)


@pytest.mark.sample
@pytest.mark.parametrize("kind", KINDS)
async def test_a_receiver_that_hangs_costs_only_its_timeout_and_is_tried_again(kind: str):
    async with receiving(hang=True) as receiver:
        async with asyncio.timeout(30):  # the receiver itself never answers
            failure = await attempt(kind, receiver, timeout=0.3)
        assert failure is not None
        assert failure.retryable


@pytest.mark.parametrize("kind", KINDS)
async def test_a_receiver_that_is_away_or_hangs_up_is_tried_again(kind: str):
    async with receiving(deaf=True) as receiver:
        failure = await attempt(kind, receiver)
        assert failure is not None
        assert failure.retryable
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = Receiver(port=free.getsockname()[1])
    failure = await attempt(kind, away)
    assert failure is not None
    assert failure.retryable


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [{}, {"status": 401}, {"status": 500}, {"deaf": True}, {"hang": True}])
async def test_no_secret_shows_in_logs_errors_or_facts(kind: str, how: dict[str, Any], caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with receiving(**how) as receiver:
        made = worker(kind, HTTP[kind](receiver.url), 0.3 if how.get("hang") else 5.0, facts := [])
        made._ledger.put(made._ledger.book, [notification()])  # pyright: ignore[reportPrivateUsage]
        await made._once()  # pyright: ignore[reportPrivateUsage]
        await made.notifier.close()
        shown = caplog.text + repr(facts) + "".join(fact.text for fact in facts)
        assert facts
        assert SECRET not in shown


async def test_a_wait_that_the_receiver_asks_for_is_kept():
    async with receiving(status=429, headers={"Retry-After": "77"}) as receiver:
        failure = await attempt("webhook", receiver)
        assert failure is not None
        assert failure.retry_after == 77


async def test_a_redirect_is_not_followed():
    async with receiving(status=302, headers={"Location": "http://127.0.0.1:9/"}) as receiver:
        failure = await attempt("webhook", receiver)
        assert failure is not None
        assert not failure.retryable
        assert len(receiver.requests) == 1


# webhook


async def test_a_webhook_posts_the_document_signed_and_with_its_id():
    async with receiving() as receiver:
        await attempt("webhook", receiver)
        (got,) = receiver.requests
        told = got.json
        assert (told["version"], told["id"], told["state"], told["severity"]) == (1, "0123456789abcdef", "firing", "critical")
        assert told["alerts"][0]["tail"] == ["Traceback", 'KeyError: "x"']
        assert got.headers["x-mcpwatch-id"] == "0123456789abcdef"
        parts = dict(part.split("=", 1) for part in got.headers["x-mcpwatch-signature"].split(","))
        expected = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + got.body, hashlib.sha256).hexdigest()
        assert parts["v1"] == expected


async def test_a_template_stays_json_whatever_the_words_hold():
    async with receiving() as receiver:
        made = worker("webhook", {"url": receiver.url, "template": {"text": "*{{title}}*\n{{ body }}", "n": [1, "{{state}}"]}})
        assert await made.attempt(notification()) is None
        await made.notifier.close()
        (got,) = receiver.requests
        assert got.json["text"].startswith("*[down] fetch: member down*\n")
        assert 'KeyError: "x"' in got.json["text"]
        assert got.json["n"] == [1, "firing"]


# pagerduty


async def test_pagerduty_opens_and_resolves_under_one_key():
    async with receiving(status=202) as receiver:
        await attempt("pagerduty", receiver)
        await attempt("pagerduty", receiver, AlertState.RESOLVED)
        begun, ended = (request.json for request in receiver.requests)
        assert (begun["event_action"], ended["event_action"]) == ("trigger", "resolve")
        assert begun["dedup_key"] == ended["dedup_key"] == "mcpwatch/down:fetch/1000000"
        assert begun["payload"]["severity"] == "critical"
        assert begun["payload"]["summary"] == "fetch is down: the member is down"


# alertmanager


async def test_alertmanager_is_told_when_an_alert_ends_unless_said_again():
    async with receiving() as receiver:
        await attempt("alertmanager", receiver)
        await attempt("alertmanager", receiver, AlertState.RESOLVED)
        begun, ended = (request.json[0] for request in receiver.requests)
        assert receiver.requests[0].path == "/api/v2/alerts"
        assert begun["labels"] == ended["labels"]
        assert begun["endsAt"] == "1970-01-12T13:50:40.000Z", "three intervals after the notification"
        assert ended["endsAt"] == "1970-01-12T13:48:10.000Z", "when it was resolved"


# exec

KEEP = """
import json, os, pathlib, sys
pathlib.Path(__file__).with_name("got").write_text(json.dumps([json.load(sys.stdin), dict(os.environ)]))
"""


async def test_a_program_gets_the_document_and_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MCP_PROXY_TOKEN", "not-for-you")
    made = worker("exec", program(tmp_path, KEEP))
    assert await made.attempt(notification()) is None
    assert json.loads((tmp_path / "got").read_text())[0]["state"] == "firing"
    assert await made.attempt(notification(AlertState.RESOLVED)) is None
    told, environment = json.loads((tmp_path / "got").read_text())
    assert (told["state"], environment["MCPWATCH_STATE"]) == ("resolved", "resolved")
    assert environment["TOKEN"] == SECRET
    assert "MCP_PROXY_TOKEN" not in environment


LEAKY = """
import json, os, pathlib, sys
told = sys.stdin.read()
print(os.environ["TOKEN"], told)
print(os.environ["TOKEN"], told, file=sys.stderr)
seen = {"argv": pathlib.Path("/proc/self/cmdline").read_text(), "env": dict(os.environ)}
pathlib.Path(__file__).with_name("seen").write_text(json.dumps(seen))
raise SystemExit(1)
"""


async def test_no_secret_reaches_a_program_s_arguments_nor_what_it_prints_anybody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("NTFY_TOKEN", "of-another-receiver")
    made = worker("exec", program(tmp_path, LEAKY), told=(facts := []))
    made._ledger.put(made._ledger.book, [notification()])  # pyright: ignore[reportPrivateUsage]
    await made._once()  # pyright: ignore[reportPrivateUsage]
    seen = json.loads((tmp_path / "seen").read_text())
    assert SECRET not in seen["argv"]
    assert "fetch" not in seen["argv"], "what is told travels by standard input: arguments are for everyone to read"
    assert "of-another-receiver" not in seen["env"].values()
    allowed = {*INHERITED, "TOKEN", "LC_CTYPE"}
    assert {name for name in seen["env"] if not name.startswith("MCPWATCH_")} <= allowed
    assert facts
    shown = caplog.text + repr(facts) + "".join(capfd.readouterr())
    assert SECRET not in shown
    assert "Traceback" not in shown, "what a program prints may hold what it was told"


@pytest.mark.parametrize(("code", "retryable"), [*((code, True) for code in (1, 2, 64, 69, 75, 78, 126, 127, 255)), (65, False)])
async def test_the_exit_code_of_a_program_says_whether_to_try_again(tmp_path: Path, code: int, retryable: bool):
    failure = await worker("exec", program(tmp_path, f"raise SystemExit({code})")).attempt(notification())
    assert failure is not None
    assert failure.retryable is retryable
    assert SECRET not in str(failure)


async def test_a_program_that_is_not_there_is_told_in_one_line():
    failure = await worker("exec", {"command": ["/nowhere/at-all"]}).attempt(notification())
    assert failure is not None
    assert failure.retryable
    assert str(failure) == "cannot run /nowhere/at-all: No such file or directory"


@pytest.mark.slow
async def test_a_program_that_hangs_is_killed_with_all_it_started(tmp_path: Path):
    started = {"command": ["/bin/sh", "-c", 'sleep 600 & echo $! > "$0"; wait', str(tmp_path / "pid")]}
    async with asyncio.timeout(40):  # it sleeps ten minutes
        failure = await worker("exec", started, timeout=5.0).attempt(notification())
    assert failure is not None
    assert failure.retryable
    pid = int((tmp_path / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):
        ended = os.pidfd_open(pid)
        await asyncio.to_thread(select.select, [ended], [], [], 30)
        os.close(ended)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


# log


async def test_the_log_tells_a_beginning_as_an_error_and_an_end_as_information(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    made = worker("log", {})
    assert await made.attempt(notification()) is None
    assert await made.attempt(notification(AlertState.RESOLVED)) is None
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("ERROR", "[down] fetch: member down"),
        ("INFO", "[recovered] fetch after 1 min"),
    ]
