"""A gateway leaves the file of another process to that, and servers that an operator stopped stay down: nothing starts twice."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from mcpwatch.gateway import dialects
from mcpwatch.gateway.serve import program
from mcpwatch.gateway.settings import Settings
from mcpwatch.model.held import held, mark
from tests.gateway.program import LIMIT, TINY, Gateway, gateway

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
