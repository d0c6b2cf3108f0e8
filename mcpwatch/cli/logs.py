"""`logs`: what a member wrote, read from its files; needs no daemon."""

from __future__ import annotations

import json
import time
from urllib.parse import quote, urlencode

from mcpwatch import journal
from mcpwatch.app.paths import state_paths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say
from mcpwatch.cli.since import since_epoch
from mcpwatch.cli.table import coloured, paint
from mcpwatch.model.errors import UsageError
from mcpwatch.model.naming import suggest
from mcpwatch.model.time import iso


def show_logs(name: str, *, follow: bool, lines: int, stream: str | None, since: str | None, as_json: bool) -> int:
    """Print a member's lines, the latest first to last; with `follow`, go on."""
    if ControlSettings.url:
        return _remote(name, follow=follow, lines=lines, stream=stream, since=since, as_json=as_json)
    state = state_paths(ControlSettings.state_dir).root
    known = journal.members(state)
    if name not in known:
        hint = suggest(name, known) if known else f"; nothing has been logged in {state} yet"
        raise UsageError(f"no logs of '{name}'{hint}")
    streams = journal.STREAMS if stream is None else (stream,)
    begin = since_epoch(since, time.time())
    colour = coloured()
    found = journal.follow(state, name, streams, lines, begin) if follow else journal.read(state, name, streams, lines, begin)
    for line in found:
        say(_json(line) if as_json else _text(line, colour=colour))
    return exits.OK


def _remote(name: str, *, follow: bool, lines: int, stream: str | None, since: str | None, as_json: bool) -> int:
    """The same from a watchdog on another machine."""
    if follow:
        raise UsageError("--follow reads the files of this machine; leave out --url, or use 'mcpwatch events -f'")
    query = {"lines": str(min(lines, 1000))} | ({"stream": stream} if stream else {})
    if (begin := since_epoch(since, time.time())) is not None:
        query["since"] = str(begin)
    for one in call("GET", f"/logs/{quote(name, safe='')}?{urlencode(query)}")["lines"]:
        say(json.dumps({"member": name, **one}, ensure_ascii=False) if as_json else f"{one['time']}  {one['text']}")
    return exits.OK


def _json(line: journal.Line) -> str:
    return json.dumps({"time": iso(line.at), "member": line.member, "stream": line.stream, "text": line.text}, ensure_ascii=False)


def _text(line: journal.Line, *, colour: bool) -> str:
    stamp = paint(iso(line.at), "grey", on=colour)
    return f"{stamp}  {paint(line.text, 'yellow', on=colour) if line.stream == 'stderr' else line.text}"
