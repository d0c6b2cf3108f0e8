from __future__ import annotations

import gzip
import json
import logging
import os
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from mcpwatch.clock import SystemClock
from mcpwatch.telemetry.backlog import spool_status
from mcpwatch.telemetry.loki import Push, SpoolHandler
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.shipper import Shipper
from mcpwatch.telemetry.spec import LokiSpec
from mcpwatch.telemetry.spool import OwnSpool
from tests.fakes.loki import FakeLoki, fake_loki
from tests.telemetry.member_logs import MemberLog

CLOCK = SystemClock()


@pytest.fixture
def loki() -> Iterator[FakeLoki]:
    with fake_loki() as fake:
        yield fake


class House:
    """A state directory and what ships from it."""

    def __init__(self, directory: Path, loki: FakeLoki, **spec: Any) -> None:
        self.logs, self.directory = directory / "logs", directory / "spool"
        self.spec = LokiSpec.model_validate({"url": loki.url, "host": "box", "wait": 0.02, "timeout": 0.3, **spec})
        self.state = directory
        self.spool = OwnSpool(directory, CLOCK.wall)
        self.errors: list[str] = []
        self.heard = threading.Event()
        self.shipper = self.new()

    def new(self) -> Shipper:
        """A shipper as after a restart of the daemon."""

        def hear(text: str) -> None:
            self.errors.append(text)
            self.heard.set()

        redact = Redactor(["s3cr3t-value"])
        return Shipper(self.spec, Push(self.spec), self.state, self.spool, wall=CLOCK.wall, redact=redact, on_error=hear)

    def ship(self) -> None:
        """Everything there is, in this thread."""
        while batch := self.shipper.gather():
            assert self.shipper.deliver(batch)


@pytest.fixture
def house(tmp_path: Path, loki: FakeLoki) -> House:
    return House(tmp_path, loki)


def test_member_lines_arrive_once_in_order_with_their_own_time_and_bounded_labels(house: House, loki: FakeLoki) -> None:
    at = datetime(2026, 11, 21, 4, 10, tzinfo=UTC)
    house.spec = house.spec.model_copy(update={"max_age": 1e9})
    house.shipper = house.new()
    MemberLog(house.logs, at=at).write("one", "two", "two")
    house.ship()
    assert loki.lines() == ["one", "two", "two"]
    labels, first, _, metadata = loki.entries[0]
    assert labels == {"app": "mcpwatch", "host": "box", "member": "fetch", "stream": "stderr"}
    assert first == (round(at.timestamp()) * 1_000_000 + 1) * 1000
    assert metadata == {}


def test_equal_lines_of_one_microsecond_are_all_kept(house: House, loki: FakeLoki) -> None:
    MemberLog(house.logs).write("same", "same", "same", apart=timedelta(0))
    house.ship()
    assert loki.lines() == ["same"] * 3
    assert len({at for _, at, _, _ in loki.entries}) == 3


def test_a_clock_that_stepped_back_does_not_put_lines_out_of_order(house: House, loki: FakeLoki) -> None:
    log = MemberLog(house.logs)
    log.write("before")
    log.at -= timedelta(hours=3)
    log.write("after")
    house.ship()
    assert loki.lines() == ["before", "after"]
    times = [at for _, at, _, _ in loki.entries]
    assert times == sorted(times)


def test_reading_goes_on_over_rotations_and_restarts(house: House, loki: FakeLoki) -> None:
    log = MemberLog(house.logs)
    for number in range(5):
        log.write(f"{number}a", f"{number}b")
        if number % 2:
            log.rotate()
        else:
            house.ship()
            house.shipper = house.new()
    house.ship()
    assert loki.lines() == [f"{number}{letter}" for number in range(5) for letter in "ab"]
    assert loki.again == 0


def test_a_line_is_sent_when_it_is_whole(house: House, loki: FakeLoki) -> None:
    log = MemberLog(house.logs)
    log.write("first")
    with log.path.open("ab") as file:
        file.write(b"2026-11-21T04:10:00.000001Z torn")
    house.ship()
    assert loki.lines() == ["first"]
    with log.path.open("ab") as file:
        file.write(b" and whole\n")
    house.ship()
    assert loki.lines() == ["first", "torn and whole"]


def test_bytes_seen_but_never_shipped_are_counted_when_their_file_goes(tmp_path: Path, loki: FakeLoki) -> None:
    house = House(tmp_path, loki, batch_lines=1)
    log = MemberLog(house.logs)
    log.write("one", "two", "three")
    assert house.shipper.deliver(house.shipper.gather())
    log.rotate().unlink()
    log.write("four")
    house.ship()
    assert loki.lines() == ["one", "four"]
    assert house.shipper.shipping.lost_bytes == len("2026-11-21T04:10:00.123456Z two\n") + len(
        "2026-11-21T04:10:00.123456Z three\n"
    )


def test_own_records_ship_with_level_and_logger_as_metadata_and_without_secrets(house: House, loki: FakeLoki) -> None:
    handler = SpoolHandler(house.spool, house.spec.url, Redactor(["s3cr3t-value"]))
    record = logging.LogRecord("mcpwatch.app", logging.WARNING, "f", 1, "using %s", ("s3cr3t-value",), None)
    record.details = {"member": "fetch", "cause": "auth"}
    handler.handle(record)
    handler.handle(logging.LogRecord("urllib3.connectionpool", logging.WARNING, "f", 1, "shipping talk", None, None))
    MemberLog(house.logs).write("the token is s3cr3t-value")
    house.ship()
    assert sorted(loki.lines()) == ["the token is ***", "using ***"]
    labels, _, _, metadata = next(entry for entry in loki.entries if entry[0]["stream"] == "records")
    assert labels["member"] == "fetch"
    assert metadata == {"severity": "warning", "logger": "mcpwatch.app", "cause": "auth"}


def test_metadata_stands_in_the_line_for_an_old_loki(tmp_path: Path, loki: FakeLoki) -> None:
    house = House(tmp_path, loki, metadata="inline")
    house.spool.append("fetch", "facts", "it fell", {"level": "warning", "why": "two words"})
    house.ship()
    assert loki.entries[0][2:] == ('it fell level=warning why="two words"', {})


def test_a_batch_stays_under_its_caps_whatever_the_lines_are(tmp_path: Path, loki: FakeLoki) -> None:
    house = House(tmp_path, loki, batch_bytes=20_000, batch_lines=100)
    for member in ("a", "b", "c"):
        MemberLog(house.logs, member).write(*(f'{number} "\\\t üü€ {"x" * (number % 300)}' for number in range(300)))
    house.ship()
    for member in ("a", "b", "c"):
        assert [int(line.split()[0]) for line in loki.lines(member=member)] == list(range(300))
    assert max(loki.sizes) <= 20_000
    assert len(loki.sizes) < 60


def test_one_loud_member_does_not_keep_the_others_waiting(tmp_path: Path, loki: FakeLoki) -> None:
    house = House(tmp_path, loki, batch_bytes=40_000)
    MemberLog(house.logs, "loud").write(*("x" * 200 for _ in range(2000)))
    MemberLog(house.logs, "quiet").write("hello")
    assert house.shipper.deliver(house.shipper.gather())
    assert loki.lines(member="quiet") == ["hello"]


def test_a_line_too_long_for_loki_is_cut_and_says_so(house: House, loki: FakeLoki) -> None:
    MemberLog(house.logs).write("ä" * 200_000, "next")
    house.ship()
    long, after = loki.lines()
    assert long.startswith("äää")
    assert long.endswith("more bytes]")
    assert after == "next"


def test_lines_older_than_loki_takes_are_dropped_and_counted(house: House, loki: FakeLoki) -> None:
    log = MemberLog(house.logs, at=datetime.now(UTC) - timedelta(days=8))
    log.write("ancient", "older")
    log.at = datetime.now(UTC)
    log.write("fresh")
    house.ship()
    assert loki.lines() == ["fresh"]
    assert dict(house.shipper.shipping.dropped)["too_old"] == 2


def test_refused_lines_go_to_the_dead_letters_and_only_those(house: House, loki: FakeLoki) -> None:
    log = MemberLog(house.logs)
    log.write("head")
    house.ship()
    stream = json.dumps(loki.entries[0][0], sort_keys=True)
    loki._newest[stream] += 2 * 3_600_000_000_000  # pyright: ignore[reportPrivateUsage] - as if a later line had come
    log.write("refused one", "refused two")
    log.at += timedelta(hours=1, minutes=30)
    log.write("accepted")
    house.ship()
    assert loki.lines() == ["head", "accepted"]
    assert house.shipper.shipping.rejected == 2
    letters = [gzip.decompress(path.read_bytes()).decode() for path in (house.directory / "dead").iterdir()]
    assert "entry too far behind" in letters[0]
    assert "refused one" in "".join(letters)
    assert "accepted" not in "".join(letters)
    assert spool_status(house.state)["dead_letters"] != {"files": 0, "bytes": 0, "newest": None}


def test_one_line_that_loki_refuses_for_its_age_holds_no_other_back_even_where_the_refusal_comes_as_its_own_failure(
    house: House, loki: FakeLoki
) -> None:
    log = MemberLog(house.logs)
    log.write("head")
    house.ship()
    loki.wraps = True
    stream = json.dumps(loki.entries[0][0], sort_keys=True)
    loki._newest[stream] += 2 * 3_600_000_000_000  # pyright: ignore[reportPrivateUsage] - as if a later line had come
    log.write("refused")
    log.at += timedelta(hours=1, minutes=30)
    log.write(*(f"accepted {number}" for number in range(50)))
    MemberLog(house.logs, member="other").write("of another member")
    house.ship()
    assert sorted(loki.lines()) == sorted(["head", *(f"accepted {number}" for number in range(50)), "of another member"])
    assert house.shipper.shipping.rejected == 1


def test_a_batch_too_large_for_the_way_is_halved_until_it_passes(house: House, loki: FakeLoki) -> None:
    loki.largest_body = 700
    MemberLog(house.logs).write(*(f"{number:04}" * 10 for number in range(50)))
    house.ship()
    assert [int(line[:4]) for line in loki.lines()] == list(range(50))
    assert house.shipper.shipping.rejected == 0


@pytest.mark.sample
@pytest.mark.parametrize("mode", ["500", "429", "hang", "lost", "260", "redirect"])
def test_whatever_fails_is_tried_again_until_loki_has_it_once(tmp_path: Path, loki: FakeLoki, mode: Any) -> None:
    house = House(tmp_path, loki)
    loki.be(mode)
    MemberLog(house.logs).write("one", "two")
    house.shipper.start()
    try:
        loki.wait_requests(1)
        assert house.heard.wait(30)
        loki.be("up")
        loki.wait(2)
        house.heard.clear()
        assert house.errors[-1] == "" or (house.heard.wait(30) and house.errors[-1] == "")
    finally:
        house.shipper.stop()
    assert loki.lines() == ["one", "two"]
    assert any(error.startswith("Loki ") for error in house.errors)
    assert "http://" not in "".join(house.errors)


def test_what_waits_is_measured_and_capped_while_loki_is_away(
    tmp_path: Path, loki: FakeLoki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.spool.SEGMENT_BYTES", 2000)
    house = House(tmp_path, loki, spool_bytes=1 << 16)
    loki.be("500")
    for number in range(2000):
        house.spool.append("m", "records", f"line {number}", {})
    house.shipper.start()
    loki.wait_requests(2)  # the second is sent after what waits was looked after
    shipping = house.shipper.shipping
    house.shipper.stop()
    assert 0 < shipping.backlog_bytes <= (1 << 16) + 2000
    assert dict(shipping.dropped)["spool_full"] > 0


def test_wrong_credentials_are_tried_again_not_dropped_and_say_where_to_look(tmp_path: Path, loki: FakeLoki) -> None:
    loki.user = ("me", "right")
    house = House(tmp_path, loki, auth={"basic": {"username": "me", "password": "wrong"}})
    MemberLog(house.logs).write("one")
    house.shipper.start()
    try:
        assert house.heard.wait(30)
        assert "check telemetry.loki.auth" in house.errors[0]
        loki.user = ("me", "wrong")
        loki.wait(1)
    finally:
        house.shipper.stop()


def test_bearer_and_tenant_are_sent(tmp_path: Path, loki: FakeLoki) -> None:
    loki.bearer = "abc"
    house = House(tmp_path, loki, auth={"bearer": "abc"}, tenant="team-a")
    MemberLog(house.logs).write("one")
    house.ship()
    assert loki.lines() == ["one"]
    assert loki.requests[0]["X-Scope-OrgID"] == "team-a"


def test_stopping_is_quick_while_loki_hangs_and_nothing_is_lost(tmp_path: Path, loki: FakeLoki) -> None:
    house = House(tmp_path, loki)
    loki.be("hang")
    MemberLog(house.logs).write("one")
    house.shipper.start()
    loki.wait_requests(1)
    house.shipper.stop(1.0)
    loki.be("up")
    house.shipper = house.new()
    house.ship()
    assert loki.lines() == ["one"]


def test_the_own_spool_is_capped_and_counts_whole_lines_it_drops(
    tmp_path: Path, loki: FakeLoki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.spool.SEGMENT_BYTES", 2000)
    house = House(tmp_path, loki)
    for number in range(200):
        house.spool.append("m", "records", f"line {number}", {})
    dropped = house.spool.trim(None, 5000)
    house.ship()
    kept = [int(line.split()[1]) for line in loki.lines()]
    assert dropped > 0
    assert kept == list(range(dropped, 200))
    house.spool.trim(house.shipper.gather().positions.get("mcpwatch/own"), 5000)


def test_what_is_shipped_of_the_own_spool_is_deleted(tmp_path: Path, loki: FakeLoki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpwatch.telemetry.spool.SEGMENT_BYTES", 2000)
    house = House(tmp_path, loki)
    house.shipper.start()
    for number in range(200):
        house.spool.append("m", "records", f"line {number}", {})
    loki.wait(200)
    house.shipper.stop()
    fresh = House(tmp_path, loki)
    fresh.shipper.start()
    fresh.spool.append("m", "records", "last", {})
    loki.wait(201)
    fresh.shipper.stop()
    assert len(list(house.spool.source.directory.iterdir())) <= 2
    assert loki.lines() == [*(f"line {number}" for number in range(200)), "last"]


def test_a_torn_own_line_is_mended_and_time_does_not_step_back_over_a_restart(tmp_path: Path, loki: FakeLoki) -> None:
    house = House(tmp_path, loki)
    house.spool.append("m", "records", "whole", {})
    house.spool.close()
    with (house.spool.source.directory / "own.log").open("ab") as file:
        file.write(b"2026-11-21T04")
    slow = OwnSpool(house.state, lambda: CLOCK.wall().__class__(1_000_000_000.0))
    slow.append("m", "records", "after", {})
    house.ship()
    assert loki.lines() == ["whole", "after"]


def test_a_full_disk_is_counted_and_hurts_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    house.spool.append("m", "records", "x", {})
    assert house.spool.failed == 1


def test_broken_positions_are_set_aside_and_everything_is_sent_again(house: House, loki: FakeLoki) -> None:
    MemberLog(house.logs).write("one")
    house.ship()
    (house.directory / "positions.json").write_text("{")
    house.shipper = house.new()
    house.ship()
    assert loki.lines() == ["one"]
    assert loki.again == 1
    assert (house.directory / "positions.broken").exists()


def test_the_status_shows_backlog_and_its_age(house: House, loki: FakeLoki) -> None:
    log = MemberLog(house.logs, at=datetime(2026, 11, 21, 4, 10, tzinfo=UTC))
    log.write("one")
    status: dict[str, Any] = spool_status(house.state)
    assert status["bytes"] == log.path.stat().st_size
    assert status["oldest"] == "2026-11-21T04:10:00.000Z"
    house.ship()
    assert spool_status(house.state)["bytes"] == 0


def test_the_library_as_it_comes_stores_nothing_which_is_why_ours_is_registered(loki: FakeLoki) -> None:
    from logging_loki.handlers import LokiHandler  # the defect this room exists for: 204, and nothing is stored

    with pytest.warns(DeprecationWarning, match="deprecia"):
        handler = LokiHandler(loki.url, {"app": "x"})
    handler.emit(logging.LogRecord("x", logging.INFO, "f", 1, "hello", None, None))
    handler.emitter.close()
    assert len(loki.requests) == 1
    assert loki.lines() == []


def test_tls_with_an_own_ca_and_a_client_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca, me = tmp_path / "ca.pem", tmp_path / "me.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("mcpwatch").private_key_and_cert_chain_pem.write_to_path(str(me))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "loki.pem"))
    context.load_cert_chain(tmp_path / "loki.pem")
    context.load_verify_locations(cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    with fake_loki(context) as loki:
        strangers = Push(LokiSpec(url=loki.url))
        assert (strangers(b"{}").status, loki.requests) == (0, [])
        house = House(tmp_path, loki, tls={"ca_file": str(ca), "cert_file": str(me)})
        MemberLog(house.logs).write("one")
        house.ship()
        assert loki.lines() == ["one"]
