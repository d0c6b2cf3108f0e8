"""What Loki answers to what we send: the fake and a real one must say the same.

The real one is the one whose push URL is in MCPWATCH_TEST_LOKI_URL.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import pytest

from mcpwatch.telemetry import batch as batches
from mcpwatch.telemetry.batch import LogEntry, PushResponse
from mcpwatch.telemetry.loki import Push
from mcpwatch.telemetry.spec import LokiSpec
from tests.fakes.loki import fake_loki


@dataclass
class Bench:
    """One Loki and a stream of its own in it."""

    url: str
    stored: Callable[[], list[str]]
    stream: str

    def send(self, *lines: tuple[int, str], metadata: dict[str, str] | None = None) -> PushResponse:
        push = Push(LokiSpec(url=self.url, timeout=10))
        entries = [LogEntry(self.stream, at, batches.value(at, line, metadata)) for at, line in lines]
        answer = push(batches.body(entries))
        push.close()
        return answer

    def post(self, body: bytes) -> PushResponse:
        push = Push(LokiSpec(url=self.url, timeout=10))
        answer = push(body)
        push.close()
        return answer


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.needs("loki"))])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    run = uuid.uuid4().hex
    stream = batches.labels("mcpwatch-test", "box", run, "stdout", {})
    if request.param == "real":
        url = os.environ["MCPWATCH_TEST_LOKI_URL"]
        yield Bench(url, lambda: query(url, run), stream)
        return
    with fake_loki() as fake:
        yield Bench(fake.url, lambda: fake.lines(member=run), stream)


def query(push: str, run: str) -> list[str]:
    url = urlsplit(push)
    asked = {"query": f'{{app="mcpwatch-test",member="{run}"}}', "limit": 5000, "direction": "forward", "since": "3h"}
    with urlopen(f"{url.scheme}://{url.netloc}/loki/api/v1/query_range?{urlencode(asked)}", timeout=10) as answer:
        streams = json.load(answer)["data"]["result"]
    return [line for _, line in sorted((int(value[0]), value[1]) for stream in streams for value in stream["values"])]


def now() -> int:
    return time.time_ns()


def test_lines_with_metadata_are_stored(bench: Bench) -> None:
    at = now()
    answer = bench.send((at, "one"), (at + 1, 'two "ü" \\ \t'), metadata={"level": "info"})
    assert (answer.status, batches.judge(answer)) == (204, "done")
    assert bench.stored() == ["one", 'two "ü" \\ \t']


def test_the_same_line_of_the_same_time_again_is_stored_once(bench: Bench) -> None:
    at = now()
    for _ in range(3):
        assert bench.send((at, "one"), (at + 1, "one")).status == 204
    assert bench.stored() == ["one", "one"]


def test_a_line_an_hour_behind_is_refused_and_the_good_ones_beside_it_are_stored(bench: Bench) -> None:
    at = now()
    assert bench.send((at, "head")).status == 204
    answer = bench.send((at - 2 * 3_600_000_000_000, "late"), (at + 1, "good"))
    assert (answer.status, batches.judge(answer)) == (400, "dead")
    assert "too far behind" in answer.text
    assert batches.ignored(answer) == 1
    assert bench.stored() == ["head", "good"]


def test_a_line_half_an_hour_behind_is_taken(bench: Bench) -> None:
    at = now()
    bench.send((at, "head"))
    assert bench.send((at - 1_800_000_000_000, "late")).status == 204
    assert bench.stored() == ["late", "head"] or bench.stored() == ["head", "late"]


def test_what_is_no_json_is_refused_for_good(bench: Bench) -> None:
    assert batches.judge(bench.post(b"{")) == "dead"


def test_the_old_shape_is_accepted_and_not_stored(bench: Bench) -> None:
    answer = bench.post(b'{"streams":[{"labels":"{app=\\"x\\"}","entries":[{"ts":"2026-11-21T04:10:00Z","line":"x"}]}]}')
    assert answer.status == 204
    assert bench.stored() == []


def test_a_line_at_our_limit_is_taken_and_one_over_lokis_is_not(bench: Bench) -> None:
    at = now()
    assert bench.send((at, "x" * 300_000)).status == 204, "it was cut"
    body = batches.body([LogEntry(bench.stream, at + 1, f'["{at + 1}","{"x" * 263_000}"]')])
    assert batches.judge(bench.post(body)) == "dead"


def test_nobody_there_is_an_answer_too() -> None:
    answer = Push(LokiSpec(url="http://127.0.0.1:9/loki/api/v1/push", timeout=1))(b"{}")
    assert (answer.status, batches.judge(answer), answer.code) == (0, "again", "none")
    assert "refused" in answer.text
