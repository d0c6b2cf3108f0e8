from __future__ import annotations

import io
import json
import logging
import socket
import threading
from pathlib import Path

import pytest

from mcpwatch.model.fact import MemberChanged, ProbeFinished
from mcpwatch.telemetry.logs import JournalHandler, Logging, configure, log_fact
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.spec import LogFormat
from tests.telemetry import fleet

SECRET = 'hunter2/"long"'


class Out(io.StringIO):
    """A log target that a test reads when the log is closed."""


@pytest.fixture
def out() -> Out:
    return Out()


def changed() -> MemberChanged:
    return MemberChanged(
        at=fleet.NOW,
        text="fetch: running -> backoff",
        level="warning",
        member="fetch",
        generation=1,
        field="phase",
        old="running",
        new="backoff",
        reason="exited",
    )


def lines(logs: Logging, out: Out) -> list[str]:
    logs.close()
    return out.getvalue().splitlines()


def test_a_fact_is_one_line_for_people(out: Out) -> None:
    logs = configure("human", "info", stream=out)
    log_fact(changed())
    (line,) = lines(logs, out)
    assert line.endswith("Z WARNING fetch: running -> backoff  [fact=member_changed member=fetch field=phase]")


def test_a_fact_is_one_object_for_machines(out: Out) -> None:
    logs = configure("json", "info", stream=out)
    log_fact(changed())
    (line,) = lines(logs, out)
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "warning",
        "logger": "mcpwatch.fact",
        "text": "fetch: running -> backoff",
        "fact": "member_changed",
        "member": "fetch",
        "field": "phase",
    }


def test_each_finished_probe_is_said_only_at_debug(out: Out) -> None:
    probe: ProbeFinished = fleet.probed("time")
    logs = configure("human", "info", stream=out)
    log_fact(probe)
    assert lines(logs, out) == []
    again = Out()
    logs = configure("human", "debug", stream=again)
    log_fact(probe)
    assert len(lines(logs, again)) == 1


@pytest.mark.parametrize("form", ["human", "json"])
def test_no_secret_is_written_by_value_by_shape_or_in_a_traceback(out: Out, form: LogFormat) -> None:
    logs = configure(form, "info", secrets=[SECRET], stream=out)
    log = logging.getLogger("x")
    log.warning("token is %s", SECRET)
    log.warning("sent %s", {"Authorization": "Bearer abcdef0123456789"})
    log.warning("GET http://user:pa55word@host/?access_token=abc123&x=1")
    log.warning("x", extra={"details": {"text": SECRET}})
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("failed")
    said = "\n".join(lines(logs, out))
    assert "failed" in said
    assert "x=1" in said
    for secret in (SECRET, json.dumps(SECRET)[1:-1], "hunter2", "abcdef0123456789", "pa55word", "abc123"):
        assert secret not in said


def test_secrets_of_a_new_plan_are_hidden_too_and_the_old_ones_stay_hidden(out: Out) -> None:
    logs = configure("human", "info", secrets=["first-secret"], stream=out)
    logs.secrets(["second-secret"])
    logging.getLogger("x").warning("first-secret second-secret")
    (line,) = lines(logs, out)
    assert line.endswith("*** ***")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("npm_config_token=abcdef123456", "npm_config_token=***"),
        ('{"api_key": "abcdef123456"}', '{"api_key": "***"}'),
        ("key ghp_abcdefghijklmnopqrst1234 end", "key *** end"),
        ("postgres://me:s3cret@db/x", "postgres://me:***@db/x"),
        ("Bearer is a word", "Bearer is a word"),
        ("12 tokens: many", "12 tokens: many"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_what_does_not_stays(text: str, left: str) -> None:
    assert Redactor()(text) == left


def test_a_target_that_blocks_delays_nobody_and_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.logs.QUEUE_SIZE", 5)
    release, entered = threading.Event(), threading.Event()

    class Stuck(Out):
        def write(self, s: str, /) -> int:
            entered.set()
            assert release.wait(10)
            return super().write(s)

    logs = configure("human", "info", stream=Stuck())
    log = logging.getLogger("x")
    log.warning("first")
    assert entered.wait(5)
    for number in range(10):
        log.warning("%d", number)
    assert logs.dropped == 5
    release.set()
    logs.close()


def test_an_absent_target_is_replaced_by_stderr_with_a_warning(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.logs._JOURNAL", "/nowhere/socket")
    monkeypatch.setattr(JournalHandler.__init__, "__defaults__", ("/nowhere/socket",))
    logs = configure("human", "info", ["journald"], stream=out)
    (line,) = lines(logs, out)
    assert "log target 'journald' cannot be used" in line


def test_the_journal_gets_fields_and_a_text_of_many_lines(tmp_path: Path) -> None:
    address = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(address)
        journal.settimeout(5)
        handler = JournalHandler(address)
        record = logging.LogRecord("mcpwatch", logging.WARNING, "f", 1, "two\nlines", None, None)
        record.details = {"member": "fetch"}
        handler.emit(record)
        handler.close()
        data = journal.recv(65_536)
    assert b"MESSAGE\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\n" in data
    assert b"PRIORITY=4\n" in data
    assert b"MCPWATCH_MEMBER=fetch\n" in data


def test_syslog_gets_the_line(out: Out) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(5)
        logs = configure("human", "info", [f"syslog:127.0.0.1:{syslog.getsockname()[1]}"], stream=out)
        logging.getLogger("x").error("it broke")
        data = syslog.recv(65_536).decode()
        logs.close()
    assert data.startswith("<27>mcpwatch: ")
    assert data.endswith("x: it broke")
    assert out.getvalue() == ""
