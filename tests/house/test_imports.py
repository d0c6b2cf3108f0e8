"""What a fleet does not use is not loaded: a daemon of processes alone holds no library of containers, metrics, Loki or alerts, and
none that reads configurations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONAL = {
    "apprise", "docker", "httpx", "jinja2", "logging_loki", "mcp", "opentelemetry", "prometheus_client", "psutil",
    "pygments", "pyrage", "requests", "rich", "ruamel", "sse_starlette", "tomlkit", "urllib3", "websockets", "yaml",
}  # fmt: skip
FLEET = """
version: 1
web: false
proxy: false
members:
  plain: {process: {command: sleep, args: ["1"]}, route: false}
"""
CODE = """
import sys

from mcpwatch.left_out import StandIn, leave_out, leave_out_logging_config, leave_out_tls
leave_out()
leave_out_tls()
leave_out_logging_config()
from mcpwatch import __main__
from mcpwatch.app.daemon import Daemon
from mcpwatch.cli import begin
sys.argv = ["mcpwatch", "--state-dir", sys.argv[2], "up", "-c", sys.argv[1]]

def run(options, plan):
    Daemon(options).carry(plan)
    print(*{name for name, module in sys.modules.items() if module and not isinstance(module, StandIn)})
    return 0

begin.run = run
__main__.main()
"""
COMMAND_LINE = {"mcpwatch.cli.main", "mcpwatch.cli.up", "mcpwatch.cli.control", "mcpwatch.app.kinds", "mcpwatch.config.load"}
NEVER_USED = {"click", "difflib", "html.entities", "importlib.metadata", "multiprocessing", "socketserver"} | {
    "typer",
    "watchfiles",
    "zipfile",
}
"""What libraries load with themselves, and a process of threads and pipes has no use for."""
ASKS = """
import sys
from mcpwatch.left_out import LATER, StandIn, leave_out, without_entry_points
leave_out()
import pydantic, uvicorn, httpx
with without_entry_points():
    import apscheduler.schedulers.asyncio
import importlib
import importlib.metadata
assert importlib.metadata.version("pydantic") == pydantic.VERSION  # the real one, from here on

class Model(pydantic.BaseModel):
    number: int

assert Model(number="1").number == 1
for name in LATER:
    assert isinstance(sys.modules[name], StandIn), name
import html
assert html.escape("<&>") == "&lt;&amp;&gt;" and isinstance(sys.modules["html.entities"], StandIn)
assert html.unescape("&lt;&notit;&xyzzy;") == "<\\u00acit;&xyzzy;"
assert not isinstance(sys.modules["html.entities"], StandIn)
for name, asked in zip(sorted(LATER), ("ProcessPoolExecutor", "html5", "click", "distributions", "LEVEL_CHOICES")):
    getattr(sys.modules[name], asked, None)
    assert not isinstance(sys.modules[name], StandIn), name
    assert sys.modules[name].__file__.endswith(".py"), name
"""

LATE_TLS = """
import sys
from mcpwatch.left_out import StandIn, leave_out, leave_out_tls
leave_out()
leave_out_tls()
import asyncio, hashlib, anyio, uvicorn
import anyio._backends._asyncio
import anyio._core._sockets as sockets
import ssl as held
assert not sys.modules.get("_ssl") and not sys.modules["_hashlib"], "somebody needs TLS at once"
assert hashlib.sha256(b"x").hexdigest().startswith("2d711642")
import httpx, trustme

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    await writer.drain()
    writer.close()

async def scene():
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    import ssl
    ours, theirs = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(ours)
    issued.configure_cert(theirs)
    served = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=theirs)
    port = served.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ours)
    writer.write(b"GET / HTTP/1.1\\r\\n\\r\\n")
    assert (await reader.read()).endswith(b"ok")
    writer.close()
    try:
        await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        pass
    else:
        raise AssertionError("a certificate of nobody was taken")
    async with httpx.AsyncClient(verify=ours, trust_env=False) as client:
        assert (await client.get(f"https://127.0.0.1:{port}/")).text == "ok"
    served.close()

asyncio.run(scene())
import asyncio.sslproto, ssl
assert not isinstance(ssl, StandIn)
assert (uvicorn.config.SSL_PROTOCOL_VERSION, int(ssl.CERT_NONE)) == (ssl.PROTOCOL_TLS_SERVER, 0)
assert asyncio.sslproto.SSLAgainErrors == (ssl.SSLWantReadError, ssl.SSLSyscallError)
assert held.SSLSocket is ssl.SSLSocket, "who holds the stand-in has the real names too"
assert sockets.TLSStream is sys.modules["anyio.streams.tls"].TLSStream
assert sockets.TLSStream.__module__ == "anyio.streams.tls"
"""


def test_what_is_left_out_is_not_loaded_until_somebody_asks_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", ASKS], env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_daemon_of_a_minimal_fleet_loads_no_optional_library(tmp_path: Path) -> None:
    config = tmp_path / "fleet.yaml"
    config.write_text(FLEET, encoding="utf-8")
    argv = [sys.executable, "-c", CODE, str(config), str(tmp_path / "state")]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {name.partition(".")[0] for name in loaded} & OPTIONAL == set()
    assert loaded & (COMMAND_LINE | NEVER_USED) == set()
    assert {"pydantic", "mcpwatch.app.daemon"} <= loaded
    assert not {"_ssl", "_hashlib"} & loaded, "OpenSSL is for fleets that speak TLS"


LATE_LOGGING = """
from mcpwatch.left_out import StandIn, leave_out_logging_config
leave_out_logging_config()
import sys, logging.config, uvicorn.config
assert isinstance(logging.config, StandIn) and "socketserver" not in sys.modules
logging.config.dictConfig({"version": 1})
assert not isinstance(logging.config, StandIn) and logging.config is sys.modules["logging.config"]
uvicorn.config.Config(lambda: None)  # with the logging that it has by default
"""


def test_logging_is_configured_from_a_dictionary_by_who_asks_for_it_after_all() -> None:
    done = subprocess.run([sys.executable, "-c", LATE_LOGGING], env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_tls_is_loaded_whole_when_somebody_speaks_it_and_not_before() -> None:
    done = subprocess.run([sys.executable, "-c", LATE_TLS], env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
