"""`probe`: one check of one server, for anyone's test or script. See docs/how-to/pytest.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mcpwatch.checks.prober import Prober
from mcpwatch.model.probe import Canary, Expect, ProbeResult, Target, Transport
from mcpwatch.model.spec import CheckSpec


async def probe(  # noqa: PLR0913 - each is a word of its own at the call
    url: str = "",
    *,
    command: Sequence[str] = (),
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    transport: Transport = "auto",
    timeout: float = 10.0,
    expect: Expect | None = None,
    tool: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    safe_call: bool = False,
    ca_file: str | None = None,
    insecure: bool = False,
) -> ProbeResult:
    """Speak MCP to one server, once, and tell what happened; never raises for what the server does.

    Give `url` (HTTP, any wire) or `command` (stdio: the argv to spawn). `timeout` is the absolute deadline in seconds of
    everything. `tool` with `arguments` makes it a canary: that tool is really called. `expect` asserts more.
    The result's `outcome` is success, degraded or failure; `symptom_text`, `stage` and `message` say why.
    Raises `ValueError` when both or neither of `url` and `command` are given.
    """
    if bool(url) == bool(command):
        raise ValueError("give either a url or a command")
    wire: Transport = "stdio" if command else transport
    extra = tuple((headers or {}).items())
    target = Target(url, wire, token=token, headers=extra, command=tuple(command), ca_file=ca_file, insecure=insecure)
    canary = Canary(tool, json.dumps(dict(arguments or {}))) if tool else None
    check = CheckSpec(name="probe", timeout=timeout, expect=expect or Expect(), canary=canary, safe_call=safe_call)
    prober = Prober()
    try:
        return await prober.probe(check, target, "direct")
    finally:
        await prober.close()
