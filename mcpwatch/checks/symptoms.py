"""Every symptom: what it usually means and what repairs it. Pure data; `docs/reference/symptoms.md` is made of it.

Cheap to import: no third-party library, so that every command may show a repair.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcpwatch.model.probe import Symptom

PAGE = "docs/reference/symptoms.md"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a symptom tells. `rows` are the rows of the failure catalogue (references/gateways.md §4) it makes visible."""

    seen: str
    """What the probe saw, in one sentence."""
    means: str
    """What it usually means."""
    repair: str
    """What to do about it."""
    rows: tuple[int, ...] = ()


MEANINGS: dict[Symptom, Meaning] = {
    Symptom.REFUSED: Meaning(
        "The port refuses the connection.",
        "Nothing listens there: the member is down, still starting, or listens on another port or address.",
        "Compare its `listen` address with the URL that is probed; see in its log why it is down, and start it.",
        (21, 22, 24, 31),
    ),
    Symptom.UNRESOLVED: Meaning(
        "The URL names no host that can be found.",
        "A typing error, a container that is not on this network, or a resolver that is down.",
        "Correct the URL; for a container, put the prober and the container on one network.",
        (26,),
    ),
    Symptom.UNREACHABLE: Meaning(
        "No way leads to the host.",
        "The network, a route or a firewall stands between: the member itself may be well.",
        "Look at the network first; a restart of the member cannot help.",
        (26,),
    ),
    Symptom.TLS: Meaning(
        "The TLS handshake failed.",
        "The certificate is expired, for another name, or signed by an unknown authority; or the port speaks no TLS.",
        "Renew the certificate, use the name it is for, or give its CA with `ca_file`.",
    ),
    Symptom.CERTIFICATE_EXPIRING: Meaning(
        "The certificate is valid for fewer days than expected.",
        "Its renewal did not happen.",
        "Renew it now, before clients are locked out.",
    ),
    Symptom.TIMEOUT: Meaning(
        "The stage named after the `@` did not end within its deadline.",
        "The member hangs: stopped, deadlocked (a full stderr pipe does it), swapping, or waiting for something behind it.",
        "Ask again: one that stays silent has to be restarted. If it comes again, look at its stderr and at what it depends on.",
        (10, 11, 30),
    ),
    Symptom.CUT: Meaning(
        "The connection ended in the middle of the stage named after the `@`.",
        "The member died, or something between (proxy, load balancer, VPN) cuts connections.",
        "Look whether the member exited; if not, raise the idle timeouts of what stands between and switch keep-alives on.",
        (13, 31),
    ),
    Symptom.DRIPPING: Meaning(
        "The answer comes, but so slowly that it does not end within the deadline.",
        "A server or a network that is out of strength, or something between that slows it down. It is not hung: it is sending.",
        "Look at the load of the server and at what stands between; give the check a longer `timeout` where that is its speed. "
        "A restart makes it no faster.",
        (30,),
    ),
    Symptom.NOT_MOUNTED: Meaning(
        "The server answers, but not at this path (HTTP 404).",
        "The route is not mounted: the member was down when the proxy started, or the path is wrong.",
        "Compare the path with what the server serves. Of a proxy, see in its log whether it connected to the member: "
        "one that mounts no late member has to be started again once the member answers.",
        (1, 24),
    ),
    Symptom.AUTH: Meaning(
        "The server refuses the token (HTTP 401 or 403).",
        "The token is missing, wrong or expired.",
        "Correct or renew the token. A restart cannot help.",
        (16,),
    ),
    Symptom.UNGUARDED: Meaning(
        "A caller without a valid token is let in.",
        "The proxy does not ask for tokens although the route should be guarded: anyone can call the tools behind it.",
        "Configure tokens on the proxy; take the route off the network until then.",
    ),
    Symptom.REDIRECT: Meaning(
        "The server redirects.",
        "A slash too many or too few at the end of the path, or http instead of https; many clients do not follow.",
        "Give clients the address it redirects to.",
        (14,),
    ),
    Symptom.HOST_GUARD: Meaning(
        "The server refuses the Host or Origin header (HTTP 421 or 403).",
        "Its protection against DNS rebinding does not know the name it is called by.",
        "Add the name to the server's allowed hosts or origins.",
        (15,),
    ),
    Symptom.HTTP_STATUS: Meaning(
        "The server answers with an HTTP error that has no name of its own here.",
        "An error inside the server.",
        "Read what the server said, and its log.",
    ),
    Symptom.OVERLOADED: Meaning(
        "The server says that it has too much to do (HTTP 429 or 503).",
        "Too many open sessions (often leaked by clients or checkers), or a rate limit.",
        "Find who opens sessions without closing them; lower the load, or raise its limits. A restart makes it no faster.",
        (9, 32),
    ),
    Symptom.REJECTED: Meaning(
        "The server does not take requests of the form that MCP clients send (HTTP 406, 411, 415, 417, 431, 501 …).",
        "Something else answers at this address, or what stands before the server does not let MCP through.",
        "Correct the URL, or the reverse proxy before the server; its own words are shown. A restart cannot help.",
        (20,),
    ),
    Symptom.UPSTREAM_DOWN: Meaning(
        "The server answers, but what is behind it does not.",
        "The proxy or bridge lives while its member or stdio child is dead.",
        "Ask the member behind: where that is down, it is what has to be started. Where it answers, the bridge or proxy lost it "
        "and has to connect again.",
        (1, 8, 26, 27),
    ),
    Symptom.WRONG_TYPE: Meaning(
        "The answer has a content type that MCP does not know.",
        "Something else answers here: a login page, a static site, another service.",
        "Correct the URL or the reverse proxy.",
        (20,),
    ),
    Symptom.NO_ENDPOINT: Meaning(
        "The SSE stream opens, but no `endpoint` event comes.",
        "The server is stuck in its start or waits for its child.",
        "See in its log what it waits for; one that stays silent has to be restarted.",
        (4,),
    ),
    Symptom.BAD_ENDPOINT: Meaning(
        "The `endpoint` event leads clients to a place that is not this server.",
        "A wrong `baseURL`, or a reverse proxy whose path prefix the server does not know. Real clients hang or fail on it.",
        "Set the server's base URL or prefix to what clients use.",
        (5,),
    ),
    Symptom.BUFFERED: Meaning(
        "Events do not arrive as they are sent.",
        "A reverse proxy buffers or compresses the stream.",
        "For nginx: `proxy_buffering off; gzip off; proxy_http_version 1.1;` or send `X-Accel-Buffering: no`.",
        (12,),
    ),
    Symptom.NO_REPLY: Meaning(
        "The server takes the request, but never answers it.",
        "The stream works in one direction only: the session behind it is dead, or the server is detached from its child.",
        "Ask the member direct: where that answers, the proxy holds a dead stream and has to connect again; where it does not, "
        "the member has to be restarted.",
        (6, 26),
    ),
    Symptom.BAD_REPLY: Meaning(
        "The answer is not what HTTP, JSON-RPC or MCP allow.",
        "A broken server, or something else on this port.",
        "Read what it said; update or replace the server.",
        (20, 23),
    ),
    Symptom.INCOMPATIBLE: Meaning(
        "The answers are read here, but they have a form that official clients refuse.",
        "A JSON array where one object was asked for, or a byte order mark before the JSON: many clients, and proxies built "
        "of them, cannot use this server, whatever is restarted.",
        "Have the server corrected or updated; until then reach it through something that reads it, as kind `gateway` does.",
        (20,),
    ),
    Symptom.TOO_LARGE: Meaning(
        "An answer or request is larger than allowed.",
        "A list that never ends, or a body limit of the server or of what stands before it.",
        "Filter the tools, or raise the limit.",
        (32,),
    ),
    Symptom.RPC_ERROR: Meaning(
        "The server answers with a JSON-RPC error.",
        "An error inside the server; its code and words are shown.",
        "Read the message and the server's log. A restart helps where the server itself is broken, not against a limit, a licence, "
        "a token or what it depends on.",
        (7,),
    ),
    Symptom.SESSION_LOST: Meaning(
        "The server does not know the session it gave a moment ago.",
        "It restarted, or several replicas stand behind one address without sticky sessions.",
        "Use sticky sessions or one replica; clients must initialize again.",
        (2, 3),
    ),
    Symptom.STALE_SESSION: Meaning(
        "The proxy answers, but its own session with the member is gone.",
        "The member restarted and the proxy still uses the old session. It may never reconnect by itself.",
        "The proxy has to connect again. One that never does so by itself has to be restarted, once the member answers.",
        (1, 2),
    ),
    Symptom.NOT_INITIALIZED: Meaning(
        "The server says that the session is not initialized.",
        "It lost its state, mixes sessions up, or its child restarted behind a living session.",
        "Ask in a new session: one that fails there too has to be restarted.",
        (7,),
    ),
    Symptom.ERA_MISMATCH: Meaning(
        "The server speaks another wire of MCP than it was asked in.",
        "The URL or `transport` is that of another wire (`/sse`, `/mcp`), or the server moved to another protocol version.",
        "Correct the URL or `transport`. A restart cannot help.",
        (28, 29),
    ),
    Symptom.EMPTY_TOOLS: Meaning(
        "The server lists no tools at all.",
        "It lost what is behind it and says so by an empty list, or it started without its configuration.",
        "Find out why what it lists from gave nothing; ask the member direct to see whether a proxy lost them. "
        "If it really has no tools, write `expect: {min_tools: 0}`.",
        (17, 27),
    ),
    Symptom.MISSING_TOOLS: Meaning(
        "Fewer tools are listed than expected, or expected ones are absent.",
        "A part of the server failed at its start, a filter hides them, or the server changed.",
        "Look at the member's log; correct `expect`, or accept the change with `mcpwatch pin NAME`, if it is wanted.",
        (17, 19),
    ),
    Symptom.SCHEMA: Meaning(
        "A listed tool has a definition that real clients cannot use.",
        "Some clients drop every tool of the server because of one bad schema.",
        "Have the server corrected; until then block the tool named in the message.",
        (18,),
    ),
    Symptom.HIDDEN_TEXT: Meaning(
        "Text that models read holds characters that people do not see.",
        "Terminal escapes, zero-width, direction or tag characters in a name, description or schema: an accident, or instructions "
        "meant for models alone.",
        "Read the raw text with `mcpwatch tools NAME --json`; have it removed, and block the tool named in the message until then.",
    ),
    Symptom.DRIFT: Meaning(
        "The contract of the server is not the pinned one.",
        "An update, or somebody changes what tools say of themselves: a way to inject prompts.",
        "Look at it with `mcpwatch tools NAME --diff`; accept it with `mcpwatch pin NAME`.",
        (19,),
    ),
    Symptom.TOOL_ERROR: Meaning(
        "The canary was called and failed in the tool.",
        "Its arguments are wrong, or what the tool depends on is down.",
        "Read the message: repair the dependency, or correct the canary.",
    ),
    Symptom.UNEXPECTED: Meaning(
        "The answer came, but is not what was expected.",
        "The tool works on other data than expected, or the expectation is wrong.",
        "Compare what it said with `expect`.",
    ),
    Symptom.WRONG_SERVER: Meaning(
        "Another server answers than the one expected.",
        "A port conflict: something else took the port, often a leftover of an earlier start.",
        "Find out who owns the port; stop it or move the member.",
        (20,),
    ),
    Symptom.SLOW: Meaning(
        "Everything works, but slower than expected.",
        "Load, a cold cache, or the beginning of a hang.",
        "Look at the slowest stage and at the member's CPU and memory.",
        (25, 30),
    ),
    Symptom.EXITED: Meaning(
        "The stdio server exited before it answered.",
        "It crashed at its start: its last stderr lines say why.",
        "Read its stderr; run the command by hand. For npx and uvx: pin versions, clear a corrupt cache.",
        (21, 22),
    ),
    Symptom.NOT_FOUND: Meaning(
        "The command of a stdio server does not exist or cannot be run.",
        "It is not installed here, not on PATH, or not executable.",
        "Install it, or give its full path.",
        (22,),
    ),
    Symptom.POLLUTED: Meaning(
        "The stdio server writes lines to its stdout that are no messages.",
        "It prints logs to stdout; strict clients fail on that.",
        "Have it log to stderr.",
        (23,),
    ),
}
"""One entry for every symptom, in the order of the documentation."""


def anchor(symptom: Symptom) -> str:
    """Where the documentation of a symptom is, e.g. `docs/reference/symptoms.md#no_endpoint`."""
    return f"{PAGE}#{symptom}"
