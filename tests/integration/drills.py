"""Every fault of `drill` for every kind of member of the reference fleet: which causes must be named, and how a drill is judged."""

from __future__ import annotations

import json

from tests.e2e.daemon import Daemon
from tests.integration.reference_fleet import proven

PROXY = {"kill": {"proxy_down"}, "hang": {"proxy_hung"}, "stale": {"planned_restart"}, "oom": {"proxy_down"}}
MEMBER = {
    "kill": {"member_down"},
    "hang": {"member_hung"},
    "stale": {"stale_session"},
    "oom": {"member_oom"},
    "partition": {"unreachable", "network_disconnected"},
}
INSIDE = {"kill": {"child_died"}, "hang": {"member_hung", "proxy_hung"}, "stale": {"child_died"}, "oom": {"child_died"}}
"""A server inside the proxy ends as far as the proxy's pipe to it tells, which is all that can be seen of it; stopped, it is one
of the stopped processes of its proxy."""

KINDS: dict[str, dict[str, set[str]]] = {
    "proxy": {**PROXY, "partition": {"proxy_hung", "stale_session", "network_disconnected"}},  # whichever probe comes first
    "fetch": MEMBER,
    "files": MEMBER,
    "postgres": MEMBER,
    "clock": INSIDE,
}
DRILLS = sorted(
    ((member, fault) for member, faults in KINDS.items() for fault in faults),
    key=lambda drill: (list(MEMBER).index(drill[1]), drill[0]),
)
"""Another member each time, and so another repair: the same one is not tried again at once."""


def drilled(daemon: Daemon, member: str, fault: str) -> None:
    """Run a drill on a well fleet: one of the causes is named, and everything is proven again without a human."""
    proven(daemon, 120)
    done = daemon.run("drill", member, "--fault", fault, "--timeout", "150", "--json", timeout=200)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    shown = json.dumps([line for line in told["timeline"] if "mcp " not in line["text"]][:40], indent=1)
    assert done.returncode == 0, shown
    assert KINDS[member][fault] & set(told["causes"]), (told["causes"], shown)
    proven(daemon, 120)
