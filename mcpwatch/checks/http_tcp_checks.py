"""The checks below MCP: `http` asks a URL for a status, `tcp` asks a port to take a connection. They prove little."""

from __future__ import annotations

from pydantic import Field

from mcpwatch.checks.context import CheckKind, Probe, as_written
from mcpwatch.checks.failure import PLACE_MAX, UNCUT_LIMIT, ProbeFailure, one_line
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.pattern import matches
from mcpwatch.registry import KindSpec

BODY_LIMIT = 1024 * 1024
"""Bytes of a plain answer that are looked at."""


class HttpCheck(KindSpec):
    """GETs a URL and looks at its status and text. Proves little: use it beside `mcp`, never instead."""

    path: str = Field("", description="Path to GET, from the root of the target. Default: the target's own URL.")
    status: tuple[int, ...] = Field((), description="Statuses that are fine. Default: 200 to 299.")


class TcpCheck(KindSpec):
    """Connects to the port (with a TLS handshake for https) and hangs up."""


async def run_http(probe: Probe, spec: HttpCheck) -> None:
    """GET a path of the target (by default its own) and judge status and text. Raises `ProbeFailure`."""
    from mcpwatch.checks.caller import read

    caller, expect = probe.caller(), probe.check.expect
    if spec.path:
        caller.url = caller.url.join(spec.path)
    await caller.transport.prepare(caller.url)
    probe.timeline.enter(Stage.OPEN)
    response = await caller.get((("Accept", "*/*"),))
    what = caller.path("GET")
    fits = response.status in spec.status if spec.status else response.ok
    if not fits:
        failure = await caller.refuse(response, what)
        if spec.status:
            failure.message += f"; expected {', '.join(str(code) for code in sorted(spec.status))}"
        raise failure
    if expect.contains is None and expect.regex is None:
        response.close()
        return
    text = (await read(response, BODY_LIMIT, cut=True)).decode("utf-8", "replace")
    if expect.contains is not None and expect.contains not in text:
        raise ProbeFailure(Symptom.UNEXPECTED, f"{what} does not contain {expect.contains!r}", said=one_line(text, UNCUT_LIMIT))
    if expect.regex is not None and not matches(expect.regex, text):
        raise ProbeFailure(
            Symptom.UNEXPECTED, f"{what} does not match /{one_line(expect.regex, PLACE_MAX)}/", said=one_line(text, UNCUT_LIMIT)
        )


async def run_tcp(probe: Probe, spec: TcpCheck) -> None:
    """Connect to the target's host and port (through TLS for `https`). Raises `ProbeFailure`."""
    del spec
    caller = probe.caller()
    await caller.transport.prepare(caller.url)


HTTP = CheckKind("http", HttpCheck, as_written, "GET a URL: status and text", run=run_http)
TCP = CheckKind("tcp", TcpCheck, as_written, "connect to the port", run=run_tcp)
