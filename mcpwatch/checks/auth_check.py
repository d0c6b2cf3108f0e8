"""The `refusal` check: a guarded route must refuse a caller without a token, and one with a wrong token."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mcpwatch.checks import rpc
from mcpwatch.checks.context import CheckKind, Probe, as_written
from mcpwatch.checks.failure import SECRET_HEADERS, ProbeFailure
from mcpwatch.checks.wire import client_info, initialize_params
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.wire import names_sse
from mcpwatch.registry import KindSpec

if TYPE_CHECKING:
    from mcpwatch.checks.caller import ProbeHttp

WRONG_TOKEN = "mcpwatch-checks-that-this-is-refused"  # noqa: S105 - a token that is wrong on purpose


class RefusalCheck(KindSpec):
    """Must be refused: once without a token, once with a wrong one. For guarded routes."""


async def run_refusal(probe: Probe, spec: RefusalCheck) -> None:
    """Ask without a token, then with a wrong one. Raises `ProbeFailure` unless both are refused with 401 or 403."""
    del spec
    headers = tuple((name, value) for name, value in probe.target.headers if name.lower() not in SECRET_HEADERS)
    bare = replace(probe.target, token=None, headers=headers)
    for stranger, who in ((bare, "without a token"), (replace(bare, token=WRONG_TOKEN), "with a wrong token")):
        await _ask(probe.caller(stranger), who)


async def _ask(caller: ProbeHttp, who: str) -> None:
    from mcpwatch.checks.caller import ERROR_LIMIT, read
    from mcpwatch.checks.legacy import STREAM
    from mcpwatch.checks.streamable import ACCEPT

    await caller.transport.prepare(caller.url)  # connect first, so that a dead host is not mistaken for a refusal
    caller.timeline.enter(Stage.REFUSAL)
    legacy = caller.target.transport == "sse" or (caller.target.transport == "auto" and names_sse(caller.target.url))
    if legacy:
        response = await caller.get(STREAM)
    else:
        response = await caller.post(rpc.request(1, "initialize", initialize_params(client_info())), (ACCEPT,))
    what = caller.path("GET" if legacy else "POST")
    status = response.status
    if status in (401, 403):
        await read(response, ERROR_LIMIT, cut=True)
        return
    if response.ok:
        session = response.headers.get("mcp-session-id")
        response.close()
        if session:
            await caller.delete((ACCEPT, ("Mcp-Session-Id", session)))
        raise ProbeFailure(Symptom.UNGUARDED, f"{what} {who} is let in (HTTP {status})", status=status)
    raise await caller.refuse(response, f"{what} {who}")


REFUSAL = CheckKind("refusal", RefusalCheck, as_written, "a guarded route must refuse a caller without a token", run=run_refusal)
