"""How real clients begin, as they were recorded or as their sources say, against the gateway: each of them gets in.

`first_requests.json` holds what each client sent to a server with sessions that knew no `server/discover`, up to its list of tools.
`source` says whether that was recorded from the released program, or written after its source or documents (`reference`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream.member import ServedMember
from tests.gateway.inside import LIMIT, served
from tests.gateway.program import TINY, TLS, messages

pytestmark = pytest.mark.anyio
CLIENTS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "first_requests.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """The tiny server behind a gateway in this process."""
    member = ServedMember(ServerSettings("tiny", sys.executable, tuple(TINY["args"])), ServingLimits(), None, lambda _: None)
    async with served(member) as found:
        yield f"{found}/tiny/mcp"


def name_of(client: dict[str, Any]) -> str:
    return f"{client['client']} {client['version']} ({client['source']})"


@pytest.mark.sample(4)
@pytest.mark.parametrize("client", CLIENTS, ids=name_of)
async def test_a_real_client_gets_in(url: str, client: dict[str, Any]) -> None:
    session: str | None = None
    with anyio.fail_after(LIMIT):
        async with httpx.AsyncClient(timeout=LIMIT, verify=TLS) as http:
            for sent in client["requests"]:
                headers = {name: value for name, value in sent["headers"].items() if name != "mcp-session-id"}
                if "mcp-session-id" in sent["headers"]:
                    assert session is not None, "the gateway gave no session"
                    headers["mcp-session-id"] = session
                if sent["method"] == "GET":
                    async with http.stream("GET", url, headers=headers) as stream:
                        assert stream.status_code == 200 if session is not None else stream.status_code in {404, 405}
                    continue
                asked: dict[str, Any] = json.loads(sent["body"])
                answer = await http.post(url, content=sent["body"].encode(), headers=headers)
                if "id" not in asked:
                    assert answer.status_code == 202, answer.text
                    continue
                result = result_of(asked, answer)
                if asked["method"] == "initialize":
                    session = answer.headers["mcp-session-id"]
                    assert result["protocolVersion"] == asked["params"]["protocolVersion"]
                elif asked["method"] == "server/discover":
                    assert "2026-07-28" in result["supportedVersions"]
                elif asked["method"] == "tools/list":
                    assert result["tools"]
    assert session is not None


def result_of(asked: dict[str, Any], answer: httpx.Response) -> dict[str, Any]:
    """The result of the answer to this request."""
    assert answer.status_code == 200, answer.text
    found = messages(answer)[-1]
    assert found["id"] == asked["id"]
    return found["result"]


def test_the_table_names_the_clients_that_people_use() -> None:
    known = " ".join(client["client"] for client in CLIENTS)
    for name in (
        "Claude Code", "Claude Desktop through mcp-remote", "Cursor", "VS Code", "Gemini CLI", "Codex", "opencode", "Inspector",
        "supergateway", "FastMCP", "LangChain", "Python SDK", "TypeScript SDK",
    ):  # fmt: skip
        assert name in known


@pytest.mark.parametrize("sdk", ["MCP Python SDK", "MCP TypeScript SDK"])
def test_the_table_has_the_sdks_old_and_new(sdk: str) -> None:
    assert len({client["version"] for client in CLIENTS if client["client"] == sdk}) > 1
