"""What the checks reach by TLS the gateway reaches too: one trust for both, and each key of a member is used by both or refused."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from mcpwatch.checks import CHECKS, Prober
from mcpwatch.config.models import MemberConfig
from mcpwatch.gateway import dialects
from mcpwatch.gateway.upstream.member import trust_of
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.probe import Outcome, Target
from mcpwatch.model.spec import CheckSpec, UpstreamSpec
from mcpwatch.proxies.gateway import Gateway
from mcpwatch.registry import find
from tests.config.test_plan import STATE, plan

pytestmark = pytest.mark.anyio
LIMIT = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Files:
    """A private authority, a certificate of a client by it, and one by a stranger."""

    ca: str
    client: str
    stranger: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    where = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(where / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(where / "server.pem"))
    authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(where / "me.pem"))
    stranger.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(where / "stranger.pem"))
    return Files(str(where / "ca.pem"), str(where / "me.pem"), str(where / "stranger.pem"))


@asynccontextmanager
async def guarded(files: Files, *, wants_client: bool) -> AsyncGenerator[str]:
    """An HTTPS server by that authority that says 200 to everything; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(files.ca).parent / "server.pem")
    if wants_client:
        context.load_verify_locations(cafile=files.ca)
        context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()


async def checks_reach(target: Target) -> bool:
    found = find(CHECKS, "http")
    assert found is not None
    prober = Prober()
    try:
        result = await prober.probe(
            CheckSpec("c", kind="http", timeout=LIMIT, options=found.spec.model_validate({})), target, "direct"
        )
    finally:
        await prober.close()
    return result.outcome is Outcome.SUCCESS


async def gateway_reaches(body: dict[str, Any]) -> bool:
    """By the file that it reads."""
    (server,) = dialects.parse({"version": 1, "servers": {"it": body}}).servers
    assert server.url is not None
    client = HttpClient(server.url, server.headers, trust_of(server))
    try:
        async with asyncio.timeout(LIMIT):
            response = await client.request("GET", server.url, {})
            return response.status == 200 and await response.read() == b"ok"
    except HttpFailed:
        return False
    finally:
        client.close()


@pytest.mark.parametrize(
    ("written", "wants_client", "reached"),
    [
        ((), False, False),
        (("ca",), False, True),
        (("insecure",), False, True),
        (("ca",), True, False),
        (("ca", "client"), True, True),
        (("ca", "stranger"), True, False),
        (("absent",), False, False),
    ],
)
async def test_the_gateway_reaches_what_the_checks_reach(
    files: Files, written: tuple[str, ...], wants_client: bool, reached: bool
) -> None:
    words: dict[str, dict[str, Any]] = {
        "ca": {"ca_file": files.ca},
        "insecure": {"insecure": True},
        "client": {"cert_file": files.client},
        "stranger": {"cert_file": files.stranger},
        "absent": {"ca_file": files.ca + ".absent"},
    }
    keys: dict[str, Any] = {}
    for word in written:
        keys |= words[word]
    async with guarded(files, wants_client=wants_client) as url:
        assert await checks_reach(Target(url, "http", **keys)) is reached
        assert await gateway_reaches({"url": url, **keys}) is reached


VALUES: dict[str, Any] = {
    "url": "https://far.lan/mcp", "upstream_url": "https://near.lan/mcp", "transport": "http", "token": "T0ken",
    "headers": {"X-A": "1"}, "ca_file": "/tls/ca.pem", "insecure": True, "cert_file": "/tls/me.pem", "key_file": "/tls/me.key",
}  # fmt: skip
"""A value of each key of a member that says how it is reached by URL."""
OF_OTHERS = frozenset({"route", "auth", "tools", "proxy_options", "stdio", "bridge"})
"""Keys that say how it is served or run; `test_plan.py` and the tests of the runtimes look at those."""
COMMON = frozenset({"description", "enabled", "depends_on", "start_grace", "stop_grace", "restart"})


def test_every_key_that_says_how_a_member_is_reached_is_known_here() -> None:
    assert set(MemberConfig.model_fields) - COMMON - OF_OTHERS == set(VALUES)


@pytest.mark.parametrize("key", sorted(VALUES))
def test_both_readers_use_the_key_of_a_member(key: str, tmp_path: Path) -> None:
    body = {"url": VALUES["url"], key: VALUES[key]} | ({"cert_file": "/tls/me.pem"} if key == "key_file" else {})
    found = plan(json.dumps({"members": {"it": body}}), tmp_path, {"PATH": "/usr/bin"})
    assert found.proxy is not None
    target = next(spec.direct for spec in found.members if spec.name == "it")
    assert target is not None
    file = json.loads(Gateway().render(found.proxy, STATE)[0].text)["servers"]["it"]
    shown = json.dumps(file)
    expected = {"token": "Bearer T0ken", "headers": '"X-A": "1"', "insecure": '"insecure": true'}.get(key, str(VALUES[key]))
    assert expected in shown
    assert dialects.parse({"version": 1, "servers": {"it": file}}).servers
    if key in {"ca_file", "insecure", "cert_file", "key_file"}:
        assert getattr(target, key) == VALUES[key]


def test_an_upstream_has_no_word_that_the_gateway_does_not_read() -> None:
    assert set(UpstreamSpec.__dataclass_fields__) == {
        "name", "transport", "command", "args", "env", "cwd", "url", "headers", "tokens", "options",
    }  # fmt: skip
