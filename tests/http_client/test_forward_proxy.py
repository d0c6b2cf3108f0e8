"""Which proxy of the environment a URL takes: one rule, and a real small proxy before the checks and the gateway alike."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from mcpwatch.checks import CHECKS, Prober
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.forward_proxy import BadProxy, ForwardProxy, forward_proxy, tunnel
from mcpwatch.http_client.trust import Trust
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom, Target
from mcpwatch.model.spec import CheckSpec
from mcpwatch.registry import find
from tests.fuzz.mutation import mutate
from tests.gateway.program import TINY, gateway, http, request

pytestmark = pytest.mark.anyio
LIMIT = 30.0
HTTP, HTTPS = "http://mcp.test/mcp", "https://mcp.test/mcp"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the machine's own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- the rule ---


@pytest.mark.parametrize(
    ("url", "environ", "taken"),
    [
        (HTTP, {}, None),
        (HTTP, {"HTTP_PROXY": "http://p:1"}, "p:1"),
        (HTTP, {"http_proxy": "p:1"}, "p:1"),
        (HTTP, {"http_proxy": "p"}, "p:80"),
        (HTTP, {"http_proxy": "http://[fd00::1]:3/"}, "[fd00::1]:3"),
        (HTTP, {"HTTP_PROXY": "http://p:1", "http_proxy": "http://q:2"}, "q:2"),
        (HTTP, {"HTTP_PROXY": "http://p:1", "http_proxy": ""}, None),
        (HTTP, {"HTTPS_PROXY": "http://p:1"}, None),
        (HTTPS, {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://q:2"}, "p:1"),
        (HTTPS, {"HTTP_PROXY": "http://q:2"}, None),
        (HTTPS, {"ALL_PROXY": "http://p:1"}, "p:1"),
        (HTTPS, {"ALL_PROXY": "http://p:1", "https_proxy": ""}, None),
        ("ftp://mcp.test/", {"ALL_PROXY": "http://p:1"}, None),
        # loopback never
        ("http://127.0.0.1:80/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://127.9.9.9/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://[::1]/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://[::ffff:127.0.0.1]/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://LocalHost./", {"ALL_PROXY": "http://p:1"}, None),
        ("http://127.1/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://0x7f000001/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://0/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://10.1/", {"ALL_PROXY": "http://p:1"}, "p:1"),
        ("http://999.1/", {"ALL_PROXY": "http://p:1"}, "p:1"),
        ("http://[::1", {"ALL_PROXY": "http://p:1"}, None),  # no URL, and told by who asks for it
        ("http://mcp.test:x/", {"ALL_PROXY": "http://p:1"}, "p:1"),
        ("http://a.localhost/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://localhost.test/", {"ALL_PROXY": "http://p:1"}, "p:1"),
    ],
)
def test_a_url_takes_the_proxy_of_its_scheme(url: str, environ: dict[str, str], taken: str | None) -> None:
    found = forward_proxy(url, environ)
    assert (found and found.shown.split()[2]) == taken


@pytest.mark.parametrize(
    ("host", "no_proxy", "exempt"),
    [
        ("mcp.test", "*", True),
        ("mcp.test", "mcp.test", True),
        ("MCP.test.", "mcp.TEST", True),
        ("a.mcp.test", "mcp.test", True),
        ("a.mcp.test", ".mcp.test", True),
        ("a.mcp.test", "*.mcp.test", True),
        ("amcp.test", "mcp.test", False),
        ("mcp.test", "other.test, mcp.test", True),
        ("mcp.test", "other.test mcp.test", True),
        ("mcp.test", "mcp", False),
        ("mcp.test:8080", "mcp.test:8080", True),
        ("mcp.test:8081", "mcp.test:8080", False),
        ("mcp.test", "mcp.test:80", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "1.2.3", False),
        ("10.1.2.3:81", "10.1.2.3:80", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:81", "[fd00::1]:80", False),
        ("mcp.test", "", False),
        ("mcp.test", " , ,", False),
        ("10.1.2.3", "10.0.0.0/99", False),
        ("mcp.test", "a:\N{SUPERSCRIPT TWO}", False),
        ("mcp.test", "a:" + "1" * 5000 + ",mcp.test", True),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_networks_and_ports(host: str, no_proxy: str, exempt: bool) -> None:
    found = forward_proxy(f"http://{host}/", {"http_proxy": "http://p:1", "NO_PROXY": no_proxy})
    assert (found is None) is exempt


@pytest.mark.parametrize("written", ["socks5://p:1", "https://p:1", "http://", "http://p:x", "://", "http://p:99999"])
def test_a_proxy_that_cannot_be_used_is_told_with_its_variable(written: str) -> None:
    with pytest.raises(BadProxy, match="ALL_PROXY"):
        forward_proxy(HTTP, {"ALL_PROXY": written})
    assert forward_proxy("http://127.0.0.1/", {"ALL_PROXY": written}) is None
    assert forward_proxy(HTTP, {"ALL_PROXY": written, "NO_PROXY": "mcp.test"}) is None


def test_credentials_of_a_proxy_are_sent_and_never_shown() -> None:
    found = forward_proxy(HTTP, {"http_proxy": "http://me%40x:pa%3Ass@p:1"})
    assert found is not None
    assert found.headers() == {"Proxy-Authorization": "Basic " + base64.b64encode(b"me@x:pa:ss").decode()}
    assert "Basic" not in repr(found) + found.shown


def test_credentials_that_are_no_utf_8_go_as_they_are_written() -> None:
    written = os.fsdecode(b"http://me:p\xe4ss@p:1")  # as the environment has them
    found = forward_proxy(HTTP, {"http_proxy": written})
    assert found is not None
    assert found.headers() == {"Proxy-Authorization": "Basic " + base64.b64encode(b"me:p\xe4ss").decode()}


def test_a_proxy_is_asked_for_an_international_name_in_ascii() -> None:
    asked = ForwardProxy("p", 1, "https_proxy").connect("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test", 443)
    assert asked.startswith(b"CONNECT xn--bcher-kva.test:443 HTTP/1.1\r\nHost: xn--bcher-kva.test:443\r\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", ""),
        (b"HTTP/1.0 200\r\nVia: p\r\n\r\n", ""),
        (b"HTTP/1.1 407 Who?\r\n\r\n", "407"),
        (b"HTTP/1.1 502 No\r\n\r\nsorry", "502"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", "spoke before"),
        (b"SSH-2.0 hello\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "no HTTP"),
        (b"HTTP/1.1 \xb2\xb2 OK\r\n\r\n", "no HTTP"),
        (b"", "no HTTP"),
    ],
)
def test_only_a_plain_answer_of_200_opens_a_tunnel(answer: bytes, said: str) -> None:
    refusal = ForwardProxy("p", 1, "http_proxy").refusal(answer)
    assert (refusal == "") is (said == "")
    assert said in refusal


def test_no_answer_but_a_whole_head_of_a_200_opens_a_tunnel() -> None:
    rng, sources = random.Random(1129), [b"HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n", b"HTTP/1.0 407 No\r\n\r\n"]
    found = 0
    for _ in range(2000):
        answer = mutate(rng.choice(sources), sources, rng)
        if not ForwardProxy("p", 1, "http_proxy").refusal(answer):
            found += 1
            assert answer.find(b"\r\n\r\n") == len(answer) - 4, answer
            assert answer.startswith(b"HTTP/1."), answer
            assert 200 <= int(answer.split(b" ")[1].split(b"\r\n")[0]) < 300, answer
    assert found > 100


# --- on the wire ---


@dataclass
class Proxy:
    """A small real proxy: it passes every host's traffic to 127.0.0.1, and notes what it was asked. `answer` is said instead."""

    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    heads: list[bytes] = field(default_factory=list[bytes])
    answer: bytes = b""
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near: asyncio.StreamWriter | None = None
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.split(b" ", 2)
            self.asked.append(f"{method.decode()} {target.decode()}")
            if self.answer:
                writer.write(self.answer)
                return
            authority = target if method == b"CONNECT" else target.split(b"/")[2]
            back, near = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(b":")[2]))
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.split(authority, 1)[1]
                near.write(head.replace(target, path, 1).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await asyncio.gather(_pass(reader, near), _pass(back, writer))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            if near is not None:
                near.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying() -> AsyncGenerator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """A server that answers 200 to every request; its URL under a name that only the proxy knows."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://mcp.test:{server.sockets[0].getsockname()[1]}/mcp?a=b"
    finally:
        server.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(where / "ca.pem"))
    ca.issue_cert("mcp.test").private_key_and_cert_chain_pem.write_to_path(str(where / "server.pem"))
    return where


def context(authority: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(authority / "server.pem")
    return made


async def probe(target: Target) -> ProbeResult:
    found = find(CHECKS, "http")
    assert found is not None
    prober = Prober()
    try:
        return await prober.probe(
            CheckSpec("c", kind="http", timeout=LIMIT, options=found.spec.model_validate({})), target, "direct"
        )
    finally:
        await prober.close()


async def ask(url: str, trust: Trust) -> bytes:
    """What the gateway's client gets. Raises `HttpFailed`."""
    client = HttpClient(url, (), trust)
    try:
        async with asyncio.timeout(LIMIT):
            first = await (await client.request("GET", url, {})).read()
            assert await (await client.request("GET", url, {})).read() == first
            return first
    finally:
        client.close()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_checks_and_gateway_reach_a_server_by_the_same_proxy(
    secure: bool, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxying() as proxy, serving(context(authority) if secure else None) as url:
        monkeypatch.setenv("HTTPS_PROXY" if secure else "HTTP_PROXY", proxy.url)
        ca = str(authority / "ca.pem") if secure else None
        assert await ask(url, Trust(ca)) == b"ok"
        by_gateway = set(proxy.asked)
        proxy.asked.clear()
        assert (await probe(Target(url, "http", ca_file=ca))).outcome is Outcome.SUCCESS
        host = url.split("/")[2]
        assert by_gateway == set(proxy.asked) == {f"CONNECT {host}" if secure else f"GET {url}"}
        assert all(b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head for head in proxy.heads)
        proxy.asked.clear()
        monkeypatch.setenv("NO_PROXY", ".test")
        with pytest.raises(HttpFailed):  # nobody else knows that name
            await ask(url, Trust(ca))
        assert (await probe(Target(url, "http", ca_file=ca))).symptom is Symptom.UNRESOLVED
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "spoke before"),
        (b"hello\r\n\r\n", "no HTTP"),
        (b"x" * 100_000, "no HTTP"),
    ],
    ids=["407", "502", "early", "no HTTP", "endless"],
)
async def test_a_refused_tunnel_is_told_by_both_with_the_name_of_the_proxy(
    answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxying() as proxy:
        proxy.answer = answer
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with pytest.raises(HttpFailed, match=said) as caught:
            await ask("https://mcp.test:443/mcp", Trust())
        assert not caught.value.connected
        found = await probe(Target("https://mcp.test:443/mcp", "http"))
        assert (found.symptom, said in found.message) == (Symptom.UNREACHABLE, True)
        for text in (str(caught.value), found.message):
            assert "of ALL_PROXY" in text
            assert "secret" not in text


async def test_a_certificate_that_is_not_believed_is_the_servers_fault_and_not_the_proxys(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxying() as proxy, serving(context(authority)) as url:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with pytest.raises(HttpFailed, match=r"the certificate of mcp\.test is not accepted"):
            await ask(url, Trust())
        found = await probe(Target(url, "http"))
        assert (found.symptom, "ALL_PROXY" in found.message) == (Symptom.TLS, False)


async def test_a_proxy_that_wants_other_credentials_is_told_by_both_for_a_url_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying() as proxy:
        proxy.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(HttpFailed, match=r"of HTTP_PROXY answered 407") as caught:
            await ask(HTTP, Trust())
        assert (caught.value.connected, caught.value.sent) == (False, False)
        found = await probe(Target(HTTP, "http"))
        assert (found.symptom, "of HTTP_PROXY answered 407" in found.message) == (Symptom.UNREACHABLE, True)


async def test_an_international_name_reaches_the_proxy_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying() as proxy, serving() as url:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        named = url.replace("mcp.test", "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test")
        assert await ask(named, Trust()) == b"ok"
        assert (await probe(Target(named, "http"))).outcome is Outcome.SUCCESS
        assert set(proxy.asked) == {f"GET {url.replace('mcp.test', 'xn--bcher-kva.test')}"}


async def test_a_tls_handshake_that_breaks_in_a_tunnel_makes_no_other_connection_to_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with proxying() as proxy, server:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        found = await probe(Target(f"https://mcp.test:{server.sockets[0].getsockname()[1]}/", "http"))
        assert found.symptom in {Symptom.TLS, Symptom.CUT}, found.message
        assert proxy.connections == 1


@pytest.mark.parametrize("url", ["http://[::1", "http://mcp.test:x/", "ftp://mcp.test/", "http:///mcp", f"http://{'a' * 70}/"])
async def test_what_is_no_url_of_a_server_is_a_failure_in_words_that_hold_no_secret(url: str) -> None:
    with pytest.raises(HttpFailed) as caught:
        await ask(url.replace("http://m", "http://me:secret@m"), Trust())
    assert not caught.value.connected
    assert "secret" not in str(caught.value)


async def test_a_connection_that_a_proxy_closed_at_once_is_told_without_waiting() -> None:
    async with proxying() as proxy:
        port = int(proxy.url.rpartition(":")[2])
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
        transport.abort()
        async with asyncio.timeout(LIMIT):
            said = await tunnel(transport, ForwardProxy("127.0.0.1", port, "https_proxy"), "mcp.test", 443)
        assert said == f"the proxy 127.0.0.1:{port} of https_proxy closed the connection"


@pytest.mark.parametrize("url", [HTTP, HTTPS])
async def test_a_proxy_that_is_not_there_is_told_by_both(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying() as proxy:
        gone = proxy.url
    monkeypatch.setenv("ALL_PROXY", gone)
    with pytest.raises(HttpFailed, match="of ALL_PROXY cannot be used"):
        await ask(url, Trust())
    found = await probe(Target(url, "http"))
    assert (found.symptom, "of ALL_PROXY" in found.message) == (Symptom.UNREACHABLE, True)
    monkeypatch.setenv("ALL_PROXY", "socks5://p:1")
    with pytest.raises(HttpFailed, match="socks5"):
        await ask(url, Trust())
    assert "socks5" in (await probe(Target(url, "http"))).message


@pytest.mark.slow
async def test_a_gateway_serves_a_member_behind_a_proxy_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "admin,127.0.0.1")  # httpx, by which the tests ask, exempts nothing by itself
        with gateway({"servers": {"it": TINY}, "allowed_hosts": ["mcp.test"]}) as far:
            url = f"http://mcp.test:{far.url.rpartition(':')[2]}/it"
            members = {"a": {"url": f"{url}/sse", "transport": "sse"}, "b": {"url": f"{url}/mcp"}}
            with gateway({"servers": members}) as near:
                await asyncio.to_thread(near.wait, dict.fromkeys(members, "running"))
                for name in members:
                    async with http(f"{near.url}/{name}/mcp") as client:
                        await client.hello()
                        answer = await client.post(request(1, "tools/list"))
                        assert "result" in json.dumps(answer.text)
        assert {asked.split()[0] for asked in proxy.asked} >= {"GET", "POST"}
        assert all(asked.split()[1].startswith("http://mcp.test:") for asked in proxy.asked)
