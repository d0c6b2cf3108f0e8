"""A token is changed: every step leaves both tokens where a daemon that is killed finds them, and no caller is refused."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.clients import openwebui, rotate, rotation
from mcpwatch.clients.rotate import Rotator, admit
from mcpwatch.clients.rotation import Rotation, edited, may_drop, value
from mcpwatch.model.errors import RuntimeFailed, UsageError
from mcpwatch.model.member import Verdict
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import WallTime
from tests.clients import real
from tests.clients.fakes import TOKEN
from tests.clients.test_service import Room, room

WAITING = Rotation("T", "/x/.env", "waiting", WallTime(1000), WallTime(90_000))


def test_the_old_token_goes_when_the_wait_is_over_or_nobody_used_it_for_a_while() -> None:
    def reason(now: float, last: float | None, *, known: bool = True) -> str:
        return may_drop(WAITING, WallTime(now), None if last is None else WallTime(last), known=known)

    assert reason(1599, None) == ""
    assert reason(1600, None) == "nobody used the old token any more"
    assert reason(1600, 1500) == ""
    assert reason(2100, 1500) == "nobody used the old token any more"
    assert reason(89_999, None, known=False) == ""
    assert reason(90_000, 89_999) == "the wait was over at 1970-01-02T01:00:00.000Z"
    assert may_drop(replace(WAITING, phase="admitting"), WallTime(99_999), None, known=False) == ""


LINES = st.lists(st.sampled_from(["A=1", "export B='x y'", "# T=old", "", "  C = d # e", "TT=1", "junk", 'D="="']), max_size=5)


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_an_env_file_keeps_every_other_byte(lines: list[str], eol: str, ended: bool) -> None:
    text = eol.join(lines) + (eol if ended and lines else "")
    new = edited(text, {"T": "v1"})
    assert value(new, "T") == "v1"
    assert value(edited(new, {"T": "v2", "T_OLD": "v1"}), "T_OLD") == "v1"
    back = edited(new, {"T": None})
    assert back == text or back in {text + "\n", text + "\r\n"}
    assert edited("export T='old'\nA=1\n", {"T": "new"}) == "export T=new\nA=1\n"


def rotating(tmp_path: Path) -> tuple[Room, Rotator, list[tuple[str, ...]], Path]:
    here = room(tmp_path, {"time": Verdict.HEALTHY}, {"kind": "cline", "allow_literal": True, "hold_up": 0})
    state, env = tmp_path / "state", tmp_path / ".env"
    state.mkdir(exist_ok=True)
    env.write_text(f"OTHER=1\nMCP_PROXY_TOKEN={TOKEN}\n", "utf-8")
    env.chmod(0o600)
    accepted: list[tuple[str, ...]] = []
    written = here.fleet.plan()

    async def reload() -> None:
        proxy = written.proxy
        assert proxy
        current = value(env.read_text("utf-8"), "MCP_PROXY_TOKEN") or ""
        plan: Plan = admit(replace(written, proxy=replace(proxy, tokens=(current,))), state)
        assert plan.proxy
        accepted.append(plan.proxy.tokens)
        here.fleet.take(plan)

    return here, Rotator(here.service, reload, here.clock, state, ask=lets_all_in), accepted, env


def lets_all_in(url: str, token: str) -> int:
    """The proxy, which is not there."""
    return 200


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_PROXY_TOKEN", raising=False)


@pytest.mark.anyio
async def test_both_tokens_are_accepted_from_before_anyone_has_the_new_one_until_the_wait_is_over(tmp_path: Path) -> None:
    here, rotator, accepted, env = rotating(tmp_path)
    await here.after(0)
    file = here.home / ".cline/data/settings/cline_mcp_settings.json"
    assert TOKEN in file.read_text("utf-8")
    answer = await rotator.rotate({"wait": "1h", "env_file": str(env)})
    new = value(env.read_text("utf-8"), "MCP_PROXY_TOKEN") or ""
    assert new not in {"", TOKEN}
    assert accepted == [(TOKEN, new), (new, TOKEN)]
    assert f"Bearer {new}" in file.read_text("utf-8")
    assert not {new, TOKEN} & set(json.dumps(answer).replace('"', " ").split())
    assert TOKEN not in (tmp_path / "state" / "rotation.json").read_text("utf-8")
    with pytest.raises(UsageError, match="under way already"):
        await rotator.rotate({"env_file": str(env)})
    here.clock.at += 3601
    assert await rotator.finish() == [
        f"the old token is refused from now on: the wait was over at {rotation.iso(WallTime(1_800_004_600))}"
    ]
    assert accepted[-1] == (new,)
    assert env.read_text("utf-8") == f"OTHER=1\nMCP_PROXY_TOKEN={new}\n"
    assert env.stat().st_mode & 0o777 == 0o600
    assert (await rotator.status({}))["rotation"] is None


@pytest.mark.anyio
async def test_the_service_sleeps_until_a_rotation_begins_and_then_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate, "LOOK", 0.001)
    here, rotator, accepted, env = rotating(tmp_path)
    await here.after(0)
    looks: list[int] = []
    finish, dropped = rotator.finish, anyio.Event()

    async def counted() -> list[str]:
        looks.append(1)
        steps = await finish()
        if any("refused from now on" in step for step in steps):
            dropped.set()
        return steps

    monkeypatch.setattr(rotator, "finish", counted)
    async with anyio.create_task_group() as group:
        group.start_soon(rotator.run)
        await anyio.wait_all_tasks_blocked()
        assert len(looks) == 1, "nothing is under way: nothing is looked at again"
        await rotator.rotate({"wait": "1h", "env_file": str(env)})
        here.clock.at += 3601
        with anyio.fail_after(10):
            await dropped.wait()
        group.cancel_scope.cancel()
    assert len(accepted[-1]) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("died_at", [1, 2, 3, 4])
async def test_a_rotation_that_died_at_any_step_is_finished_by_the_next_daemon(tmp_path: Path, died_at: int) -> None:
    here, rotator, accepted, env = rotating(tmp_path)
    await here.after(0)
    steps, go_on = iter(range(1, 100)), rotator.write

    class Killed(BaseException):
        pass

    async def dying(rotation: Rotation, values: dict[str, str | None]) -> None:
        if next(steps) == died_at:
            raise Killed
        await go_on(rotation, values)

    rotator.write = dying
    with suppress(Killed):
        await rotator.rotate({"wait": "0s", "env_file": str(env)})
    second = Rotator(here.service, rotator.reload, here.clock, tmp_path / "state", ask=lets_all_in)
    await second.finish()
    await rotator.reload()
    token = value(env.read_text("utf-8"), "MCP_PROXY_TOKEN")
    assert accepted[-1] == (token,)
    assert all(TOKEN in tokens for tokens in accepted[:-2])
    assert (token == TOKEN) == (died_at == 1)


@pytest.mark.anyio
async def test_the_old_token_goes_early_when_the_proxy_says_that_nobody_uses_it(tmp_path: Path) -> None:
    here, rotator, accepted, env = rotating(tmp_path)
    used: list[WallTime] = []

    async def last_use(token: str) -> WallTime | None:
        assert token == TOKEN
        if not used:
            raise RuntimeFailed("the proxy is away")
        return used[-1]

    telling = Rotator(here.service, rotator.reload, here.clock, tmp_path / "state", last_use=last_use, ask=lets_all_in)
    await telling.rotate({"wait": "24h", "env_file": str(env)})
    here.clock.at += 700
    assert await telling.finish() == []
    used.append(WallTime(here.clock.wall() - 599))
    assert await telling.finish() == []
    here.clock.at += 1
    assert await telling.finish() == ["the old token is refused from now on: nobody used the old token any more"]
    assert len(accepted[-1]) == 1


@pytest.mark.anyio
async def test_what_cannot_be_rotated_is_refused_before_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, rotator, accepted, env = rotating(tmp_path)
    with pytest.raises(UsageError, match="is not the proxy's token"):
        await rotator.rotate({"env_file": str(env), "variable": "OTHER"})
    with pytest.raises(UsageError, match="cannot be read"):
        await rotator.rotate({"env_file": str(tmp_path / "none")})
    monkeypatch.setenv("MCP_PROXY_TOKEN", TOKEN)
    with pytest.raises(UsageError, match="wins over the env file"):
        await rotator.rotate({"env_file": str(env)})
    assert accepted == []


FLEET = """
version: 1
env_file: .env
proxy: {{kind: gateway, listen: "127.0.0.1:{port}", auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}
members: {{time: {{stdio: {{command: mcp-server-time}}}}}}
clients: [{{kind: cline, path: cline.json, hold_up: 0s, allow_literal: true}}]
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_request_is_refused_while_the_token_of_a_real_gateway_changes(tmp_path: Path) -> None:
    """One caller keeps the old token until it goes, one takes whatever the client's file holds at each call.

    The wait is long against one request: a token read from the file just before it changed is used before it goes.
    """
    desk, port = real.Desk(tmp_path), real.free_port()
    (tmp_path / "home").mkdir()
    (tmp_path / ".env").write_text(f"MCP_PROXY_TOKEN={TOKEN}\n", "utf-8")
    (tmp_path / "fleet.yaml").write_text(FLEET.format(port=port), "utf-8")
    url, file = f"http://127.0.0.1:{port}/time/sse", tmp_path / "cline.json"

    def held() -> str:
        entry = json.loads(file.read_text("utf-8"))["mcpServers"]["time"]
        return str(entry["headers"]["Authorization"]).removeprefix("Bearer ")

    def until(found: Callable[[], bool]) -> None:
        deadline = time.monotonic() + real.DEADLINE
        while not found():
            assert time.monotonic() < deadline, (tmp_path / "out.log").read_text("utf-8")[-2000:]
            time.sleep(0.05)

    stop, seen = threading.Event(), list[int | None]()

    def caller() -> None:
        while not stop.is_set():
            seen.append(openwebui.answers(url, held()))

    with real.serving(desk, ["env", "-u", "MCP_PROXY_TOKEN", "mcpwatch", "up", "-c", "fleet.yaml", "--plain"]):
        until(file.exists)
        thread = threading.Thread(target=caller)
        thread.start()
        answer = json.loads(desk.run("mcpwatch", "token", "rotate", "--wait", "20s", "--json"))
        assert answer["rotation"]["phase"] == "waiting", answer
        assert held() != TOKEN
        assert openwebui.answers(url, TOKEN) == 200
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "state/proxy/admin.sock"))) as admin:
            assert hashlib.sha256(TOKEN.encode()).hexdigest()[:16] in admin.get("http://admin/tokens").json()
        until(lambda: openwebui.answers(url, TOKEN) == 401)
        assert openwebui.answers(url, held()) == 200
        stop.set()
        thread.join(timeout=30)
    assert len(seen) > 5
    assert set(seen) == {200}
    assert "_OLD" not in (tmp_path / ".env").read_text("utf-8")
