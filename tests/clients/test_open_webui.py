"""Open WebUI over HTTP: its list is read, changed in our elements alone, and posted whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.member import Verdict
from tests.clients.fakes import TOKEN
from tests.clients.test_service import room, settled

KEY = "sk-admin"
FOREIGN: dict[str, Any] = {"url": "http://mcpo:8000", "path": "openapi.json", "type": "openapi", "info": {"id": "mcpo"}}
FILLED_IN = {"forward_cookies": False, "headers": None}
pytestmark = pytest.mark.anyio


class FakeOpenWebUI(ThreadingHTTPServer):
    """The two calls of Open WebUI's admin API that matter, and what 0.12 fills into each element. The real one: test_listed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.document: dict[str, Any] = {"TOOL_SERVER_CONNECTIONS": [FOREIGN]}
        self.posts = 0
        self.status = 200
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens right after a list was posted."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    @property
    def owner(self) -> FakeOpenWebUI:
        assert isinstance(self.server, FakeOpenWebUI)
        return self.server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._allowed():
            elements = json.loads(body)["TOOL_SERVER_CONNECTIONS"]
            self.owner.document = {"TOOL_SERVER_CONNECTIONS": [FILLED_IN | element for element in elements]}
            self.owner.posts += 1
            self.owner.meanwhile()
        self._answer()

    def _allowed(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {KEY}" and self.path == "/api/v1/configs/tool_servers"

    def _answer(self) -> None:
        body = json.dumps(self.owner.document).encode()
        self.send_response(self.owner.status if self._allowed() else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeOpenWebUI]:
    monkeypatch.setenv("OPEN_WEBUI_API_KEY", KEY)
    with FakeOpenWebUI() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=10)


async def test_routes_enter_are_switched_off_and_what_is_foreign_stays(webui: FakeOpenWebUI, tmp_path: Path) -> None:
    spec = {"kind": "open-webui", "url": webui.url, "allow_literal": True, "policy": "disable"}
    here = await settled(tmp_path, {"time": Verdict.HEALTHY, "fetch": Verdict.HEALTHY}, spec)
    shown = webui.document["TOOL_SERVER_CONNECTIONS"]
    assert shown[0] == FILLED_IN | FOREIGN
    assert [(item["info"]["id"], item["key"], item["config"]) for item in shown[1:]] == [
        ("time", TOKEN, {"enable": True}),
        ("fetch", TOKEN, {"enable": True}),
    ]
    here.fleet.verdicts["fetch"] = Verdict.UNHEALTHY
    await here.after(1)
    await here.after(60)
    assert [item["config"] for item in webui.document["TOOL_SERVER_CONNECTIONS"][1:]] == [{"enable": True}, {"enable": False}]
    await here.api.undo({"client": "open-webui"})
    assert [item["config"] for item in webui.document["TOOL_SERVER_CONNECTIONS"][1:]] == [{"enable": True}, {"enable": True}]


async def test_what_it_fills_in_by_itself_is_no_edit_and_what_a_person_sets_is_one(webui: FakeOpenWebUI, tmp_path: Path) -> None:
    here = await settled(tmp_path, {"time": Verdict.HEALTHY}, {"kind": "open-webui", "url": webui.url, "allow_literal": True})
    posts = webui.posts
    await here.after(60)
    row = (await here.api.table({}))[0]
    assert (webui.posts, row["in_sync"], row["drift"]) == (posts, True, [])
    webui.document["TOOL_SERVER_CONNECTIONS"][1]["forward_cookies"] = True
    await here.after(60)
    assert "edited by hand" in str((await here.api.table({}))[0]["drift"])
    assert webui.posts == posts


@pytest.mark.parametrize(("status", "said"), [(401, "refused the key in OPEN_WEBUI_API_KEY"), (500, "answered 500")])
async def test_one_that_refuses_is_told_and_left_alone(webui: FakeOpenWebUI, tmp_path: Path, status: int, said: str) -> None:
    webui.status = status
    here = await settled(tmp_path, {"time": Verdict.HEALTHY}, {"kind": "open-webui", "url": webui.url, "allow_literal": True})
    assert said in (await here.api.table({}))[0]["error"]
    assert webui.posts == 0


async def test_one_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_WEBUI_API_KEY", KEY)
    here = room(tmp_path, {"time": Verdict.HEALTHY}, {"kind": "open-webui", "url": "http://127.0.0.1:9", "allow_literal": True})
    await here.after(0)
    assert "ConnectError; left alone" in (await here.api.table({}))[0]["error"]


async def test_what_another_adds_right_after_a_write_outlives_an_undo(webui: FakeOpenWebUI, tmp_path: Path) -> None:
    other = FOREIGN | {"url": "http://other:8000"}

    def added() -> None:
        webui.document = {"TOOL_SERVER_CONNECTIONS": [*webui.document["TOOL_SERVER_CONNECTIONS"], other]}

    webui.meanwhile = added
    here = await settled(tmp_path, {"time": Verdict.HEALTHY}, {"kind": "open-webui", "url": webui.url, "allow_literal": True})
    webui.meanwhile = lambda: None
    await here.api.undo({"client": "open-webui"})
    assert [item["url"] for item in webui.document["TOOL_SERVER_CONNECTIONS"]] == [FOREIGN["url"], other["url"]]
