"""`why NAME`: the reasoning of `app.reasoning`, asked from the daemon and printed."""

from __future__ import annotations

import time

from mcpwatch.app.reasoning import FACTS, Document, causes, explain, gathered
from mcpwatch.cli import exits
from mcpwatch.cli.control import call, stream
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.table import coloured, paint


def show_why(name: str, *, as_json: bool) -> int:
    """Print the reasoning about one member or route. Exit 0 when nothing is wrong with it, 1 otherwise."""
    status: Document = call("GET", "/status")
    facts = list(stream("/events", limit=str(FACTS), since=str(time.time() - 24 * 3600)))
    if as_json:
        say_json(gathered(name, status, facts))
    else:
        for line in explain(name, status, facts, mark=lambda text: paint(text, "red", on=coloured())):
            say(line)
    return exits.UNHEALTHY if causes(name, status) else exits.OK
