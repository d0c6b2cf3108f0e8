"""A gateway leaves the file of another process to that, and servers that an operator stopped stay down: nothing starts twice."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from mcpwatch.gateway import dialects
from mcpwatch.gateway.serve import program
from mcpwatch.gateway.settings import Settings
from mcpwatch.model.held import held, mark
from tests.gateway.program import LIMIT, TINY, Gateway, call, gateway, http

pytestmark = pytest.mark.anyio


def test_a_file_for_another_process_is_left_to_that_and_one_for_this_process_is_taken() -> None:
    with gateway({"process": "first", "servers": {"one": TINY}}) as running:
        running.wait({"one": "running"})
        before = running.members()["one"]["pid"]
        running.write({"process": "second", "servers": {"one": TINY | {"env": {"X": "1"}}, "two": TINY}})
        assert running.admin("POST", "/reload").json() == {"changed": []}
        assert {name: member["pid"] for name, member in running.members().items()} == {"one": before}
        running.write({"process": "first", "servers": {"one": TINY, "two": TINY}})
        running.wait({"one": "running", "two": "running"})
        assert running.members()["one"]["pid"] == before


def test_what_is_asked_to_start_is_what_the_file_says_by_then_and_is_left_to_the_gateway_that_takes_over() -> None:
    failing = TINY | {"command": "/no/such/program"}
    with gateway({"process": "first", "servers": {"one": TINY, "two": failing}}) as running:
        running.wait({"one": "running", "two": "failed"})
        running.write({"process": "first", "servers": {"one": TINY, "two": TINY}})
        assert running.admin("POST", "/members/two/start").status_code == 200
        running.wait({"two": "running"})
        assert running.members()["two"]["generation"] == 1, "it was started once, and from the new file"
        assert running.admin("POST", "/members/one/stop").status_code == 200
        running.write({"process": "second", "servers": {"one": TINY}})
        for verb in ("start", "restart"):
            refused = running.admin("POST", f"/members/one/{verb}")
            assert (refused.status_code, "takes this one's place" in refused.json()["error"]) == (503, True)
        assert running.members()["one"]["phase"] == "held"
        running.write({"process": "first", "servers": {"one": TINY}})
        assert running.admin("POST", "/members/one/start").status_code == 200
        running.wait({"one": "running"})


async def test_a_gateway_that_is_stopping_starts_nothing_and_reads_nothing() -> None:
    with gateway({"limits": {"drain": LIMIT}, "servers": {"one": TINY, "two": TINY}}) as running:
        running.wait({"one": "running", "two": "running"})
        assert running.admin("POST", "/members/one/stop").status_code == 200
        async with http(f"{running.url}/two/mcp") as client, anyio.create_task_group() as calls:
            await client.hello()
            calls.start_soon(client.post, call(1, "sleep", seconds=600))  # it waits for this before it ends
            with anyio.fail_after(LIMIT):
                while not running.members()["two"]["in_flight"]:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                running.process.send_signal(signal.SIGTERM)
                while "stopping" not in (running.file.parent / "log").read_text():  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            refused = running.admin("POST", "/members/one/start")
            assert (refused.status_code, refused.json()) == (503, {"error": "this gateway is stopping"})
            running.write({"servers": {"three": TINY}})
            assert running.admin("POST", "/reload").json() == {"changed": []}
            assert {name: one["phase"] for name, one in running.members().items()} == {"one": "held", "two": "running"}
            calls.cancel_scope.cancel()
        running.stop(signal.SIGKILL)


async def test_a_file_whose_process_never_comes_is_taken_after_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(program, "SUCCESSOR_WAIT", 0.05)
    file, seen = tmp_path / "gateway.json", list[str]()
    file.write_text("first")

    def read() -> Settings:
        seen.append(file.read_text())
        return dialects.parse({"version": 1, "servers": {}, "process": file.read_text()})

    running = program.GatewayProgram(dialects.parse({"version": 1, "servers": {}, "process": "first"}), read, file, None, None)
    looking = asyncio.get_running_loop().create_task(cast("Any", running)._look(file))
    await anyio.lowlevel.checkpoint()  # it has seen the first file
    with anyio.fail_after(LIMIT):
        file.write_text("second")
        while cast("Any", running)._settings.process != "second":  # noqa: ASYNC110  it is a matter of looks at the clock
            await anyio.sleep(0.01)
    assert seen[:2] == ["second", "second"], "it was left at first"
    looking.cancel()


async def test_who_asks_for_a_start_while_a_changed_file_is_being_read_waits_for_that_too(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    file.write_text("first")

    def read() -> Settings:
        return dialects.parse({"version": 1, "servers": {}, "process": file.read_text()})

    running = cast("Any", program.GatewayProgram(read(), read, file, None, None))
    running.seen = dialects.stamp(file)
    file.write_text("second")
    async with asyncio.TaskGroup() as tasks, running._reloading:  # somebody's reload is under way
        asking = [tasks.create_task(running._refusal()) for _ in range(3)]
        for _turn in range(10):
            await asyncio.sleep(0)
        assert [one.done() for one in asking] == [False] * 3
    assert ["takes this one's place" in one.result() for one in asking] == [True] * 3


def test_a_server_that_is_held_is_started_by_no_gateway_until_it_is_told_to_and_others_are() -> None:
    with tempfile.TemporaryDirectory() as directory:
        mark(Path(directory) / "admin.sock", "one", down=True)
        mark(Path(directory) / "admin.sock", "url", down=True)
        servers = {"one": TINY, "two": TINY, "url": {"url": "http://127.0.0.1:9/sse"}}
        running = Gateway(Path(directory), {"servers": servers})
        try:
            while not running.socket.exists():
                assert running.process.poll() is None
            running.wait({"one": "held", "two": "running"})
            assert running.members()["url"]["phase"] != "held"
            running.write({"servers": servers | {"one": TINY | {"env": {"X": "1"}}}})
            assert running.admin("POST", "/reload").status_code == 200
            assert running.members()["one"]["phase"] == "held"
            assert not (running.logs / "one").exists(), "it was begun"
            assert running.admin("POST", "/members/one/start").status_code == 200
            running.wait({"one": "running"})
        finally:
            running.stop()


def test_a_mark_of_a_stopped_server_is_there_until_it_is_taken_away_and_a_place_that_cannot_be_written_harms_nobody(
    tmp_path: Path,
) -> None:
    admin = tmp_path / "proxy" / "admin.sock"
    assert held(admin) == frozenset()
    mark(admin, "one", down=False)
    mark(admin, "one", down=True)
    mark(admin, "one", down=True)
    mark(admin, "two", down=True)
    assert held(admin) == {"one", "two"}
    mark(admin, "one", down=False)
    assert held(admin) == {"two"}
    (tmp_path / "file").touch()
    mark(tmp_path / "file" / "admin.sock", "one", down=True)
    assert held(tmp_path / "file" / "admin.sock") == frozenset()
