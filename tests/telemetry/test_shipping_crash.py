from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.loki import fake_loki
from tests.parts import ROOT
from tests.telemetry.member_logs import MemberLog

KILLS = 10


class Child:
    """The shipping daemon as a process of its own, to be killed."""

    def __init__(self, state: Path, url: str, run: str) -> None:
        argv = [sys.executable, "-m", "tests.telemetry.shipping_child", str(state), url, run]
        self.process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self._said = self.process.stdout
        assert self._said.readline() == "ready\n"
        self._last = 0

    def until(self, number: int) -> None:
        """Return when it has appended that many lines."""
        while self._last < number:
            self._last = int(self._said.readline())

    def kill(self) -> int:
        """SIGKILL; the number of the last line known to be appended."""
        self.process.kill()
        rest = self._said.read().split("\n")
        self.process.wait(30)
        self._said.close()
        return max((int(number) for number in rest if number), default=self._last)


class Writers:
    """Members that go on writing whatever happens to the watchdog."""

    def __init__(self, logs: Path) -> None:
        self._logs = [MemberLog(logs, f"member{number}") for number in range(3)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.count = 0
        self._thread.start()

    def _write(self) -> None:
        while not self._stop.wait(0.002):
            for log in self._logs:
                log.at = max(log.at, datetime.now(UTC))
                log.write(f"{log.path.parent.name} {self.count}")
                if self.count % 97 == 96:
                    log.rotate()
            self.count += 1

    def stop(self) -> set[str]:
        self._stop.set()
        self._thread.join(30)
        return {f"{log.path.parent.name} {number}" for log in self._logs for number in range(self.count)}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", ["up", "500", "429", "hang", "lost"])
def test_killed_ten_times_while_loki_is_ill_no_line_is_lost_and_none_is_stored_twice(tmp_path: Path, mode: Any) -> None:
    chance = random.Random(mode)
    with fake_loki() as loki:
        loki.be(mode)
        writers = Writers(tmp_path / "logs")
        expected: set[str] = set()
        maybe: set[str] = set()
        for run in range(KILLS):
            child = Child(tmp_path, loki.url, str(run))
            child.until(chance.randrange(20, 200))
            if run % 3 == 2:
                loki.be("up")
                child.until(chance.randrange(200, 400))
                loki.be(mode)
            last = child.kill()
            expected |= {f"own {run} {number}" for number in range(1, last + 1)}
            maybe.add(f"own {run} {last + 1}")
        expected |= writers.stop()
        loki.be("up")
        drain = Child(tmp_path, loki.url, "-")
        try:
            loki.wait_for(lambda: expected <= set(loki.lines()), 120)
        finally:
            drain.kill()
        stored = Counter(loki.lines())
        lost = expected - stored.keys()
        twice = [line for line, count in stored.items() if count > 1]
        assert (sorted(lost), twice) == ([], [])
        assert stored.keys() - expected <= maybe
        for member in range(3):
            order = [int(line.split()[1]) for line in loki.lines(member=f"member{member}")]
            assert order == sorted(order)
        print(f"{mode}: {len(expected)} lines, {loki.again} sent again, {len(loki.requests)} pushes")
