"""An hour without Loki: a hundred lines a second, the watchdog killed meanwhile, and not one line lost or doubled."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from tests.fakes.loki import fake_loki
from tests.telemetry.member_logs import MemberLog
from tests.telemetry.test_shipping_crash import Child

MEMBERS = 3
MINUTES = 60
EACH_MINUTE = 2_000
"""Lines of one member in one minute: 360,000 lines in all."""
KILLED_AT = (9, 31, 52)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_hour_without_loki_loses_no_line_and_doubles_none(tmp_path: Path) -> None:
    began = datetime.now(UTC) - timedelta(hours=1)
    logs = [MemberLog(tmp_path / "logs", f"member{number}", at=began) for number in range(MEMBERS)]
    with fake_loki() as loki:
        loki.be("500")
        child = Child(tmp_path, loki, "-")
        try:
            for minute in range(MINUTES):
                for log in logs:
                    log.write(
                        *(f"{log.path.parent.name} {log.count + n}" for n in range(EACH_MINUTE)), apart=timedelta(milliseconds=30)
                    )
                    if minute % 7 == 6:
                        log.rotate()
                if minute in KILLED_AT:
                    loki.wait_requests(len(loki.requests) + 1, 120)  # in the middle of trying
                    child.kill()
                    child = Child(tmp_path, loki, "-")
            assert loki.entries == []
            child.kill()
            loki.be("up")
            child = Child(tmp_path, loki, "-")
            loki.wait(MEMBERS * MINUTES * EACH_MINUTE // 2, 240)
            child.kill()  # and once more while it catches up
            child = Child(tmp_path, loki, "-")
            loki.wait(MEMBERS * MINUTES * EACH_MINUTE, 240)
        finally:
            child.kill()
        for log in logs:
            name = log.path.parent.name
            came = loki.lines(member=name)
            assert len(came) == MINUTES * EACH_MINUTE
            wrong = ((n, line) for n, line in enumerate(came) if line != f"{name} {n}")
            assert list(islice(wrong, 5)) == [], "in the order they were written, each once"
        stored = Counter((labels["member"], at) for labels, at, _, _ in loki.entries)
        assert max(stored.values()) == 1
        assert len(stored) == MEMBERS * MINUTES * EACH_MINUTE
        print(f"{len(stored)} lines, {loki.again} sent again, {len(loki.requests)} pushes")
