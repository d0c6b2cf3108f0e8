from __future__ import annotations

import io
import json
import logging
import socket
import threading
from pathlib import Path

import pytest

from mcpwatch.model.fact import MemberChanged, ProbeFinished
from mcpwatch.telemetry import targets
from mcpwatch.telemetry.logs import Logging, configure, log_fact
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
            assert release.wait(40)
            return super().write(s)

    logs = configure("human", "info", stream=Stuck())
    log = logging.getLogger("x")
    log.warning("first")
    assert entered.wait(30)
    for number in range(10):
        log.warning("%d", number)
    assert logs.dropped == 5
    release.set()
    logs.close()


def test_an_absent_target_is_replaced_by_stderr_with_a_warning(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "JOURNAL", "/nowhere/socket")
    logs = configure("human", "info", ["journald"], stream=out)
    (line,) = lines(logs, out)
    assert "log target 'journald' cannot be used" in line


def listening(address: Path | tuple[str, int]) -> socket.socket:
    """A datagram socket that something is told on."""
    made = socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(str(address) if isinstance(address, Path) else address)
    made.settimeout(30)
    return made


def test_the_journal_gets_fields_and_a_text_without_time_level_or_secret(
    tmp_path: Path, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "JOURNAL", str(tmp_path / "journal"))
    with listening(tmp_path / "journal") as journal:
        logs = configure("human", "info", ["journald"], [SECRET], stream=out)
        logging.getLogger("mcpwatch.x").warning("two\n%s", SECRET, extra={"details": {"member": "fetch", "reason": SECRET}})
        data = journal.recv(65_536)
        logs.close()
    assert b"MESSAGE\n\x07\x00\x00\x00\x00\x00\x00\x00two\n***\n" in data
    assert b"PRIORITY=4\n" in data
    assert b"LOGGER=mcpwatch.x\n" in data
    assert b"MCPWATCH_MEMBER=fetch\n" in data
    assert b"MCPWATCH_REASON=***\n" in data
    assert SECRET.encode() not in data


@pytest.mark.parametrize("target", ["journald", "syslog"])
def test_a_journal_or_syslog_that_restarts_is_told_again(
    tmp_path: Path, out: Out, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    address = tmp_path / "socket"
    monkeypatch.setattr(targets, "JOURNAL", str(address))
    monkeypatch.setattr(targets, "SYSLOG", str(address))
    log = logging.getLogger("x")
    before = listening(address)
    logs = configure("human", "info", [target], stream=out)
    log.warning("first")
    assert b"first" in before.recv(65_536)
    before.close()
    address.unlink()
    log.warning("nobody hears this")
    flushed(logs)
    with listening(address) as after:
        log.warning("second")
        assert b"second" in after.recv(65_536)
        log.warning("third")
        assert b"third" in after.recv(65_536)
    logs.close()
    assert out.getvalue() == ""


def flushed(logs: Logging) -> None:
    """Return when what was said so far is written."""
    written = threading.Event()

    class Mark(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.set()

    mark = Mark()
    logs.add(mark)
    logging.getLogger("mark").error("mark")
    assert written.wait(30)
    logs.remove(mark)


def test_syslog_gets_the_line(out: Out) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(30)
        logs = configure("human", "info", [f"syslog:127.0.0.1:{syslog.getsockname()[1]}"], stream=out)
        logging.getLogger("x").error("it broke")
        data = syslog.recv(65_536).decode()
        logs.close()
    assert data == "<27>mcpwatch: ERROR   x: it broke"
    assert out.getvalue() == ""


def test_a_reload_changes_format_level_and_targets_between_two_records(tmp_path: Path, out: Out) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    logs = configure("human", "info", [f"file:{first}"], stream=out)
    log = logging.getLogger("x")
    log.info("one")
    log.debug("too much")
    assert logs.retune("json", "debug", [f"file:{second}", "stderr"])
    log.debug("two")
    assert not logs.retune("json", "warning", [f"file:{second}", "stderr"])
    log.info("too much")
    log.warning("three")
    said = [json.loads(line)["text"] for line in lines(logs, out)]
    assert said == ["two", "three"]
    assert [json.loads(line)["text"] for line in second.read_text().splitlines()] == ["two", "three"]
    (line,) = first.read_text().splitlines()
    assert line.endswith("INFO    x: one")
    assert second.stat().st_mode & 0o777 == 0o600


def test_what_was_added_stays_over_a_reload(out: Out) -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear()
    logs = configure("human", "info", stream=out)
    logs.add(ear)
    log = logging.getLogger("x")
    log.info("one")
    logs.retune("json", "info", ["stderr"])
    log.info("two")
    logs.remove(ear)
    log.info("three")
    assert len(lines(logs, out)) == 3
    assert heard == ["one", "two"]


def test_a_file_that_is_moved_away_is_begun_again_and_a_missing_place_loses_only_what_was_said_meanwhile(
    tmp_path: Path, out: Out
) -> None:
    place = tmp_path / "logs"
    place.mkdir()
    logs = configure("human", "info", [f"file:{place / 'own.log'}"], stream=out)
    log = logging.getLogger("x")
    log.info("one")
    flushed(logs)
    (place / "own.log").rename(place / "own.log.1")
    log.info("two")
    flushed(logs)
    assert "two" in (place / "own.log").read_text()
    place.rename(tmp_path / "away")
    log.info("three")
    flushed(logs)
    (tmp_path / "away").rename(place)
    log.info("four")
    logs.close()
    assert "four" in (place / "own.log").read_text()
    assert "one" in (place / "own.log.1").read_text()


def test_a_target_that_breaks_hurts_no_other(out: Out) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("broken")

    logs = configure("human", "info", stream=out)
    logs.add(Broken())
    logging.getLogger("x").info("one")
    logging.getLogger("x").info("two")
    assert len(lines(logs, out)) == 2


def test_a_reload_that_finds_the_queue_full_is_not_undone_by_an_older_one_that_waits_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.logs.QUEUE_SIZE", 3)
    monkeypatch.setattr("mcpwatch.telemetry.logs.CLOSE_TIMEOUT", 60.0)
    entered, release = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            entered.set()
            release.wait(60)
            return super().write(text)

    older, newer = tmp_path / "older.log", tmp_path / "newer.log"
    logs = configure("human", "info", stream=Stuck())
    logging.getLogger("x").warning("stuck on this")
    assert entered.wait(60)
    logs.retune("human", "info", [f"file:{older}"])
    for _ in range(5):
        logging.getLogger("x").warning("waits")
    assert logs.dropped
    logs.retune("human", "info", [f"file:{newer}"])
    release.set()
    logs.close()
    assert "waits" in newer.read_text()
    assert older.read_text() == ""
