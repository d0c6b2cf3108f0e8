"""The file that `mcpwatch init` writes: small, commented, and right on this machine."""

from __future__ import annotations

from collections.abc import Callable

_SERVERS = (
    ("time", "mcp-server-time", "What time is it, anywhere", "{tool: get_current_time, arguments: {timezone: UTC}}"),
    ("fetch", "mcp-server-fetch", "Reads web pages", ""),
    ("git", "mcp-server-git", "Reads and writes git repositories", ""),
)
"""Name, program, what it is for, and a canary: a call that changes nothing and that only a server which works can answer."""

_HEAD = """\
# The fleet that mcpwatch keeps alive. Check it with 'mcpwatch config validate', run it with 'mcpwatch up'.
# Editors complete it after 'mcpwatch config schema > mcpwatch.schema.json' by this line:
# yaml-language-server: $schema=./mcpwatch.schema.json
version: 1

# env_file: .env                    # NAME=value lines that ${NAME} below may use; keep secrets there, not here

proxy:
  kind: gateway                     # our own proxy
  listen: 127.0.0.1:9090            # every member answers at http://127.0.0.1:9090/<name>/sse and /<name>/mcp
  # base_url: http://host.lan:9090  # how clients on other machines reach it
  # auth: {tokens: ["${MCP_PROXY_TOKEN}"]}

members:
"""

_TAIL = """
  # A stdio server in a bridge process of its own, so that it cannot hurt the others:
  # docs:
  #   stdio: {command: uvx, args: [some-mcp-server]}
  #   bridge: {listen: 127.0.0.1:9071}

  # A server that speaks SSE or HTTP itself, run by mcpwatch:
  # native:
  #   process: {command: my-server, args: [--port, "8686"]}
  #   url: http://127.0.0.1:8686/sse

  # A server that others run; watched, never started:
  # legacy:
  #   url: http://10.0.0.7:8585/sse

# What members and checks use unless they say otherwise; these are the built-in values:
# defaults:
#   check: {interval: 30s, timeout: 10s, failure_threshold: 3, success_threshold: 1}
#   restart: {intensity: 5, period: 2m, backoff: {first: 250ms, max: 30s}}
"""


def starter(which: Callable[[str], str | None]) -> str:
    """The text of a first file. Servers that `which` finds, directly or through `uvx`, are in it; the others in comments."""
    members = [_member(name, program, words, canary, which) for name, program, words, canary in _SERVERS]
    text = "\n".join(members)
    if not any(line.startswith("  ") and not line.startswith("  #") for line in text.splitlines()):
        head = _HEAD.replace("members:\n", "members: {}                        # remove the {} with the first member\n")
        return head + text + _TAIL
    return _HEAD + text + _TAIL


def _member(name: str, program: str, words: str, canary: str, which: Callable[[str], str | None]) -> str:
    found, uvx = which(program) is not None, which("uvx") is not None
    run = f"{{command: {program}}}" if found or not uvx else f"{{command: uvx, args: [{program}]}}"
    mark = "" if found or uvx else "# "
    text = f"  {mark}{name}:\n  {mark}  description: {words}\n  {mark}  stdio: {run}\n"
    if canary:
        text += f"  {mark}  # A real call, every 5 minutes: a list of tools alone does not prove that a server works.\n"
        text += f"  {mark}  # checks: {{canary: {{interval: 5m, {canary[1:-1]}}}}}\n"
    return text
