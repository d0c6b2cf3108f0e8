"""What follows where mcpwatch itself repairs nothing: who acts, and what that person can do, in words. Pure."""

from __future__ import annotations

from mcpwatch.watchdog.finding import UNKILLABLE, Finding

_POLICY = "left to its restart policy; look at {look_at}"
_OTHERS = "left to a person: mcpwatch did not start it and does not restart it; look where it runs"
ADVICE: dict[str, str] = {
    "member_down": _POLICY,
    "proxy_down": _POLICY,
    "member_oom": "left to its restart policy; give it more memory, or find out why it takes so much",
    "planned_restart": "nothing: it is being done",
    "starting": "nothing: it is given time to start",
    "single_client": "nothing: it works through the proxy",
    "noisy_stdout": "nothing while it works; have it write messages alone to its stdout, and its log to stderr",
    "flapping": "nothing while it works; look at {look_at}",
    "auth": "left to a person: make the token that is sent and the one that it takes the same",
    "licence": "left to a person: give it back the licence, quota or subscription that it asks for",
    "overloaded": "left to a person: lower its load, or wait; a restart makes it no faster",
    "busy": "left to a person: end the other client, or wait for it; restart '{subject}' by hand if nobody is connected to it",
    "slow_answer": "left to a person: look at its load, and at what stands between; a restart makes it no faster",
    "dependency": "left to a person: mend what it depends on; a restart of it does not",
    "unexpected": "left to a person: compare what it said with what its check asks and expects; a restart is not known to help",
    "empty_tools": "left to a person: find out why it lists fewer tools, or whether a restart brings them back",
    "drift": "left to a person: accept the change with 'mcpwatch pin {subject}', or take it back",
    "config": "left to a person: mend the configuration that the evidence names",
    "wrong_base_url": "left to a person: have it announce the base URL, or prefix, that clients use",
    "upstream_unreachable": "left to a person: mend the way, then restart '{subject}'; look at {look_at}",
    "daemonised": "left to a person: have it stay in the foreground, without an option that forks or daemonises",
    UNKILLABLE: "left to a person: look what its processes wait for (a mount that is away, a frozen cgroup); it is tried again",
    "wrong_server": "left to a person: make the address lead to the server that was meant",
    "wrong_port": "left to a person: make its url and the port that it listens on the same",
    "network_left": "left to a person: put its container on that network again ('docker network connect')",
    "unreachable": "left to a person: look at the network between, and at the one it is in; a restart of it does not help",
    "traced": "left to a person: let the debugger go on, or end it; no signal reaches what it has stopped",
    "frozen": "left to a person: thaw its cgroup; no signal reaches what is frozen",
    "port_shared": "left to a person: end the other program, or give one of them another port",
    "port_taken": "left to a person: end what holds the port, if nobody needs it (its start follows), or choose another",
    "polluted": "left to a person: have it write messages alone to its stdout, each as one line of UTF-8, and its log to stderr",
    "engine_gone": "left to a person: start the engine again; its members are looked at when it is back",
    "host_trouble": "left to a person: give the machine what it is short of",
}
"""Cause to words."""
REPAIRED = frozenset({
    "child_died", "cut_short", "member_exhausted", "member_failing", "member_hung", "network_disconnected",
    "not_mounted", "paused", "proxy_exhausted", "proxy_hung", "route_failing", "stale_session",
})  # fmt: skip
"""Causes with a step of the ladder, unless somebody else started the member or the proxy."""


def advice(found: Finding) -> str:
    """What comes next for a finding that no step of the ladder answers; an engine may name causes that have no words here."""
    words = _OTHERS if found.cause in REPAIRED else ADVICE.get(found.cause, "left to a person: see what its engine says")
    return words.format(subject=found.subject, look_at=found.look_at or "the evidence")
