"""TBXark's traps on the real program of generation A, and the newer generations played in front of it and by our own gateway."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.integration.reference_fleet import proven
from tests.parts import ROOT, SERVERS, program

pytestmark = [pytest.mark.needs("tbxark"), pytest.mark.slow, pytest.mark.timeout(240)]
CLOCK = str(SERVERS / "mcp-server-time")


def fleet(members: dict[str, Any], binary: Path, **proxy: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "proxy": {"kind": "tbxark", "binary": str(binary), "listen": f"127.0.0.1:{free_port()}", **proxy},
        "members": members,
        "defaults": {"check": {"interval": "2s", "timeout": "5s", "failure_threshold": 2}, "stop_grace": "10s"},
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }


def native(port: int) -> dict[str, Any]:
    script = str(ROOT / ".ci" / "docker" / "postgres_like.py")
    server = {"command": str(SERVERS / "python"), "args": [script, str(port), "127.0.0.1"]}
    return {"process": server, "url": f"http://127.0.0.1:{port}/sse"}


def test_a_dollar_a_flood_of_stderr_and_a_timeout_reach_the_real_program_as_meant(tmp_path: Path) -> None:
    seen = tmp_path / "argv.json"
    loud = (
        f"import json, os, sys; open({str(seen)!r}, 'w').write(json.dumps([sys.argv[1:], os.environ['WORD']])); "
        f"sys.stderr.write('x' * 300_000); sys.stderr.flush(); os.execv({CLOCK!r}, [{CLOCK!r}])"
    )
    clock = {"stdio": {"command": sys.executable, "args": ["-c", loud, "costs $5 and $HOME"], "env": {"WORD": "pa$$word"}}}
    members = {"clock": clock, "far": {**native(free_port()), "proxy_options": {"timeout": "30s"}}}
    with running(tmp_path, fleet(members, program("tbxark"))) as daemon:
        status = proven(daemon, 90)
        assert {route["name"]: route["tools"] for route in status["routes"]} == {"clock": 2, "far": 2}
        assert json.loads(seen.read_text(encoding="utf-8")) == [["costs $5 and $HOME"], "pa$word"]  # our own file writes $ as $$


def test_a_slow_and_failing_end_that_was_asked_for_is_a_planned_restart_and_wakes_nobody(tmp_path: Path) -> None:
    with running(tmp_path, fleet({"clock": {"stdio": {"command": CLOCK}}}, program("tbxark"))) as daemon:
        proven(daemon, 90)
        url = daemon.route("clock")["url"]
        with httpx.stream("GET", url, timeout=30.0, trust_env=False) as stream:  # an open stream makes it take 5 s and exit 1
            assert next(stream.iter_lines()) == "event: endpoint"
            assert daemon.run("restart", "proxy").returncode == 0
            daemon.wait(lambda s: next(m for m in s["members"] if m["name"] == "proxy")["generation"] == 2, "its next run", 60)
        proven(daemon, 90)
        facts = daemon.events()
        (end,) = (fact for fact in facts if fact["fact"] == "member_exited" and fact["member"] == "proxy")
        assert end["planned"] is True
        assert [fact["cause"] for fact in facts if fact["fact"] == "diagnosed" and not fact["cleared"]] == ["planned_restart"]
        turns = [fact["new"] for fact in facts if fact["fact"] == "route_changed" and fact["old"] == "healthy"]
        assert turns == ["unknown"]
        assert not [fact for fact in facts if fact["fact"] in {"alert_changed", "repair_tried"}]


def test_a_command_that_does_not_exist_is_refused_before_it_ends_the_whole_proxy(tmp_path: Path) -> None:
    config = fleet({"clock": {"stdio": {"command": CLOCK}}}, program("tbxark"))
    with running(tmp_path, config) as daemon:
        before = next(member for member in proven(daemon, 90)["members"] if member["name"] == "proxy")
        config["members"]["ghost"] = {"stdio": {"command": "/no/such/program"}}
        daemon.write(config)
        refused = daemon.run("reload")
        assert refused.returncode == 3
        assert "/no/such/program" in refused.stderr
        after = daemon.member("proxy")
        assert (after["pid"], after["generation"]) == (before["pid"], before["generation"])


def test_a_proxy_of_others_that_announces_a_wrong_base_url_is_named_and_not_restarted(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "outer").mkdir()
    inner = fleet({"clock": {"stdio": {"command": CLOCK}}}, program("tbxark"), base_url="http://wrong.lan:1")
    outer = fleet({"clock": {}}, program("tbxark"))
    outer["proxy"] = {"kind": "external", "base_url": f"http://{inner['proxy']['listen']}"}
    with running(tmp_path / "inner", inner) as owner:
        proven(owner, 90)
        with running(tmp_path / "outer", outer) as daemon:
            found = daemon.wait(lambda s: s["diagnoses"], "a cause", 60)["diagnoses"]
            assert [(one["cause"], one["rung"]) for one in found] == [("wrong_base_url", None)], found
            assert not [fact for fact in daemon.events() if fact["fact"] == "repair_tried"]


def played(directory: Path, generation: str) -> Path:
    """A program that takes TBXark's arguments and behaves like one of its generations."""
    script = directory / f"mcp-proxy-{generation}"
    argv = [sys.executable, str(ROOT / "tests" / "proxies" / "generations.py"), generation, str(program("tbxark"))]
    script.write_text(f'#!/bin/sh\nexec {" ".join(argv)} "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def kill(daemon: Daemon, member: str) -> list[tuple[str, str]]:
    """Kill a member by a drill and wait for its route; the repairs that it took."""
    done = daemon.run("drill", member, "--fault", "kill", "--timeout", "120", "--json", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    proven(daemon, 90)
    return [(fact["rung"], fact["cause"]) for fact in daemon.events() if fact["fact"] == "repair_tried"]


def test_generation_b_is_found_by_its_answer_and_restarted_like_a(tmp_path: Path) -> None:
    with running(tmp_path, fleet({"far": native(free_port())}, played(tmp_path, "B"))) as daemon:
        proven(daemon, 90)
        assert kill(daemon, "far") == [("restart_proxy", "stale_session")]


def test_generation_c_is_found_by_its_answer_and_left_to_reconnect_by_itself(tmp_path: Path) -> None:
    with running(tmp_path, fleet({"far": native(free_port())}, played(tmp_path, "C"))) as daemon:
        proven(daemon, 90)
        assert kill(daemon, "far") == []


def test_entries_of_a_users_own_file_are_served_with_their_variables_and_the_file_is_never_written(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    tell = f"import os; open({str(seen)!r}, 'w').write(os.environ['WORD']); os.execv({CLOCK!r}, [{CLOCK!r}])"
    theirs = {"command": sys.executable, "args": ["-c", tell], "env": {"WORD": "${MINE}-$${MINE}"}}
    own = tmp_path / "config.json"
    text = (
        f'{{ // mine\n  "mcpProxy": {{"name": "my proxy"}},\n  "mcpServers": {{"theirs": {json.dumps(theirs)}, /* last */ }}\n}}\n'
    )
    own.write_text(text, encoding="utf-8")
    config = fleet(
        {"clock": {"stdio": {"command": CLOCK}}, "extra": {"stdio": {"command": CLOCK}}}, program("tbxark"), config=str(own)
    )
    base = f"http://{config['proxy']['listen']}"

    def served(name: str) -> int:
        with httpx.stream("GET", f"{base}/{name}/sse", timeout=30.0, trust_env=False) as stream:
            return stream.status_code

    daemon = Daemon(tmp_path, config)
    daemon.env["MINE"] = "a word"
    try:
        daemon.start()
        proven(daemon, 90)
        assert [served(name) for name in ("clock", "extra", "theirs")] == [200, 200, 200]
        assert seen.read_text(encoding="utf-8").startswith("a word-")
        del config["members"]["extra"]
        daemon.write(config)
        assert daemon.run("reload").returncode == 0
        daemon.wait(lambda s: {route["name"] for route in s["routes"]} == {"clock"}, "extra is out of the plan", 60)
        proven(daemon, 90)
        assert [served(name) for name in ("clock", "extra", "theirs")] == [200, 404, 200]
        assert own.read_text(encoding="utf-8") == text
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("config.json")) == ["config.json"]
    finally:
        daemon.close()
