"""Tables for people: columns, what is left out where there is no room, and what is never cut."""

from __future__ import annotations

import pytest

from mcpwatch.cli.status import render
from mcpwatch.cli.table import fit, paint, table, visible

HEAD = ("NAME", "KIND", "COUNT")
ROWS = [("time", "server", "2"), ("filesystem", "bridge", "14")]


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_are_set_to_the_right() -> None:
    assert table(HEAD, ROWS, colour=False, right=(2,)) == [
        "NAME        KIND    COUNT",
        "time        server      2",
        "filesystem  bridge     14",
    ]


def test_a_table_without_a_width_is_never_cut() -> None:
    assert table(HEAD, ROWS, colour=False, spare=(1,)) == table(HEAD, ROWS, colour=False)


def test_spare_columns_are_left_out_in_their_order_and_only_as_many_as_needed() -> None:
    assert table(HEAD, ROWS, colour=False, spare=(1, 2), width=20)[2] == "filesystem  14"
    assert table(HEAD, ROWS, colour=False, spare=(1, 2), width=12)[2] == "filesystem"
    assert table(HEAD, ROWS, colour=False, spare=(1, 2), width=25) == table(HEAD, ROWS, colour=False)


def test_what_cannot_be_left_out_is_cut_with_a_mark() -> None:
    assert table(HEAD, ROWS, colour=False, width=8)[2] == "filesys…"


def test_colours_take_no_room() -> None:
    red = paint("unhealthy", "red", on=True)
    assert visible(red) == len("unhealthy")
    assert table(("A", "B"), [(red, "x")], colour=False)[1] == f"{red}  x"
    assert visible(fit(red + " and more", 12)) == 12


def route(name: str, latency: dict[str, float]) -> dict[str, object]:
    said: dict[str, object] = {"name": name, "member": name, "url": f"http://127.0.0.1:9090/{name}/sse", "verdict": "healthy"}
    return said | {"tools": 2, "last_success": 99.0, "latency": latency, "symptom": None, "message": ""}


@pytest.mark.parametrize(("width", "holds", "lacks"), [
    (None, ("initialized 1.0", "http://"), ()),
    (200, ("initialized 1.0", "http://"), ()),
    (80, ("http://", " 4.0"), ("initialized",)),
    (45, (" 4.0",), ("http://", "initialized")),
])  # fmt: skip
def test_the_routes_say_less_of_their_latency_where_the_terminal_is_narrow(
    width: int | None, holds: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    timings = {"connect": 0.001, "initialize": 0.001, "initialized": 0.001, "tools_list": 0.001}
    daemon = {"version": "1", "pid": 7, "started_at": 0.0}
    document = {"at": 100.0, "daemon": daemon, "healthy": True, "members": [], "routes": [route("time", timings)], "diagnoses": []}
    line = next(line for line in render(document, colour=False, width=width) if line.startswith("time"))
    assert all(word in line for word in holds), line
    assert not any(word in line for word in lacks), line
    assert width is None or len(line) <= width
