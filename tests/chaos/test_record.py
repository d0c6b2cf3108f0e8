"""What a walk leaves in the record, however it ended; and what of it counts when it was ended by hand."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import walk
from tests.chaos.machine import Chaos
from tests.chaos.walk import Walked, into


class Silent:
    """A daemon that printed nothing."""

    def said(self) -> str:
        return ""


class Walks(Chaos):
    """Kills two members, and is ended in the middle of the second, or finds something there."""

    end: BaseException = KeyboardInterrupt()

    def __init__(self) -> None:
        self.done, self.proved, self.calls = Counter[str](), Counter[str](), Counter[str]()
        self.trace: list[str] = []
        self.always, self.with_watchdog, self.without, self.up = [self.kill_member], [], [], False

    def kill_member(self, name: str) -> None:
        del name

    def at_rest(self) -> None:
        if self.done.total() == 2:
            raise self.end

    def start_watchdog(self, _: str = "") -> None: ...

    def teardown(self) -> None: ...


@pytest.mark.parametrize(("end", "counted"), [(KeyboardInterrupt(), 1), (ZeroDivisionError("oops"), 2)])
def test_a_walk_that_is_ended_counts_what_it_proved_and_one_that_fails_its_last_fault_too(
    monkeypatch: pytest.MonkeyPatch, end: BaseException, counted: int
) -> None:
    monkeypatch.setattr(walk, "Chaos", Walks)
    monkeypatch.setattr(Walks, "end", end)
    monkeypatch.setattr(Walks, "daemon", Silent(), raising=False)
    walked = Walked()
    with pytest.raises(type(end)):
        into(walked, 1, 5)
    assert dict(walked.kinds) == {"SIGKILL": counted}


@pytest.mark.parametrize(
    ("end", "found"), [(None, ""), (KeyboardInterrupt(), chaos.ENDED), (ValueError("lost"), "ValueError: lost")]
)
def test_each_walk_is_recorded_with_what_it_found_and_an_ended_one_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException | None, found: str
) -> None:
    def walked(into: Walked, number: int, *_: object, **__: object) -> None:
        into.kinds["SIGKILL"] += random.Random(number).randrange(1, 9)
        if end is not None:
            raise end

    monkeypatch.setattr(chaos, "into", walked)
    record, argv = tmp_path / "record.jsonl", ["chaos", "--seed", "7", "--count", "2", "--record", str(tmp_path / "record.jsonl")]
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr(chaos.signal, "signal", mock.Mock())
    if isinstance(end, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            chaos.main()
    else:
        assert chaos.main() == (1 if found else 0)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    ended = isinstance(end, KeyboardInterrupt)
    assert [(line["seed"], line["found"]) for line in lines] == [(7, found)] if ended else [(7, found), (8, found)]
    assert all(line["faults"] > 0 for line in lines)
