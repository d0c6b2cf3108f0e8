"""With which of its servers a proxy ended that starts one after the other."""

from __future__ import annotations

from itertools import product

import pytest

from mcpwatch.model.time import WallTime
from mcpwatch.watchdog.mounting import Mounting

T = WallTime


def test_the_server_that_the_ended_run_was_at_is_named_while_the_next_run_starts_the_others() -> None:
    mounting = Mounting()
    mounting.heard("time", T(1.0), T(0.5))
    mounting.heard("files", T(2.0), T(0.5))
    assert mounting.culprit(runs=True) == "", "the first run has not ended yet"
    assert mounting.culprit(runs=False) == "files"
    mounting.begin()
    mounting.heard("time", T(4.0), T(3.0))
    assert mounting.culprit(runs=True) == "files"
    mounting.heard("files", T(5.0), T(3.0))
    mounting.heard("other", T(6.0), T(3.0))
    assert (mounting.culprit(runs=True), mounting.culprit(runs=False)) == ("files", "other")


def test_a_line_of_the_ended_run_that_is_read_late_belongs_to_that() -> None:
    mounting = Mounting()
    mounting.heard("time", T(1.0), T(0.5))
    mounting.begin()
    mounting.heard("files", T(2.0), T(3.0))
    assert mounting.culprit(runs=True) == "files"
    mounting.heard("time", T(3.0), T(3.0))
    assert mounting.culprit(runs=True) == "files"


def test_a_run_that_started_all_of_them_ends_with_none() -> None:
    mounting = Mounting()
    mounting.heard("files", None, T(0.5))
    mounting.begin()
    mounting.heard("time", T(4.0), None)
    mounting.ready()
    assert (mounting.culprit(runs=True), mounting.culprit(runs=False)) == ("", "")
    mounting.begin()
    assert mounting.culprit(runs=True) == ""


def test_a_run_that_ended_before_it_started_any_keeps_what_was_known() -> None:
    mounting = Mounting()
    mounting.heard("files", T(1.0), T(0.5))
    mounting.begin()
    mounting.begin()
    assert (mounting.culprit(runs=True), mounting.culprit(runs=False)) == ("files", "files")


@pytest.mark.parametrize("read", list(product(["at once", "after it served", "after it ended", "in the next run"], repeat=2)))
def test_a_run_that_served_ends_with_none_whenever_its_log_is_read(read: tuple[str, str]) -> None:
    mounting = Mounting()
    lines = list(zip(("time", "files"), read, strict=True))

    def said(when: str, began: float) -> None:
        for route, moment in lines:
            if moment == when:
                mounting.heard(route, T(1.0), T(began))

    said("at once", 0.5)
    mounting.served()
    said("after it served", 0.5)
    said("after it ended", 0.5)
    assert mounting.culprit(runs=False) == ""
    mounting.begin()
    said("in the next run", 3.0)
    assert mounting.culprit(runs=True) == ""
    mounting.heard("other", T(4.0), T(3.0))
    assert mounting.culprit(runs=False) == "other", "the next start did not come to its end"
