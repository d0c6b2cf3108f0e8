"""`logs`: what a member wrote, read from its files; needs no daemon."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from mcpwatch import journal
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say
from mcpwatch.cli.since import since_epoch
from mcpwatch.cli.table import coloured, paint
from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.time import iso


def show_logs(names: Sequence[str], *, follow: bool, lines: int, stream: str | None, since: str | None, as_json: bool) -> int:
    """Print members' lines (without names: of all), the latest first to last; of several in the order of time, with their names.

    With `follow`, go on.
    """
    if ControlSettings.url:
        return _remote(names, follow=follow, lines=lines, stream=stream, since=since, as_json=as_json)
    state = ControlSettings.paths().root
    known = journal.members(state)
    wanted = list(dict.fromkeys(names)) or sorted(known)
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None or not wanted:
        hint = suggest(unknown or "", known) if known else f"; nothing has been logged in {state} yet"
        raise UsageError(f"no logs of '{unknown or 'any member'}'{hint}")
    streams = journal.STREAMS if stream is None else (stream,)
    begin = since_epoch(since, time.time())
    colour, named = coloured(), len(wanted) > 1
    for line in _several(state, wanted, streams, lines, begin, follow=follow):
        say(_json(line) if as_json else _text(line, colour=colour, named=named))
        if follow:
            sys.stdout.flush()
    return exits.OK


def _remote(names: Sequence[str], *, follow: bool, lines: int, stream: str | None, since: str | None, as_json: bool) -> int:
    """The same from a watchdog on another machine."""
    if len(names) != 1:
        raise UsageError("name one member: over --url logs are shown of one at a time")
    name = names[0]
    if follow:
        raise UsageError("--follow reads the files of this machine; leave out --url, or use 'mcpwatch events -f'")
    query = {"lines": str(min(lines, 1000))} | ({"stream": stream} if stream else {})
    if (begin := since_epoch(since, time.time())) is not None:
        query["since"] = str(begin)
    for one in call("GET", f"/logs/{quote(name, safe='')}?{urlencode(query)}")["lines"]:
        say(json.dumps({"member": name, **one}, ensure_ascii=False) if as_json else f"{one['time']}  {one['text']}")
    return exits.OK


def _several(
    state: Path, names: Sequence[str], streams: Sequence[str], lines: int, begin: float | None, *, follow: bool
) -> Iterator[journal.Line]:
    """The lines of several members: what is there in the order of time, then what comes as it comes."""
    if len(names) == 1:
        yield from (journal.follow if follow else journal.read)(state, names[0], tuple(streams), lines, begin)
        return
    found = sorted(
        (line for name in names for line in journal.read(state, name, tuple(streams), lines, begin)), key=lambda line: line.at
    )
    yield from found[-lines:] if lines else ()
    if not follow:
        return
    coming: queue.Queue[journal.Line] = queue.Queue(maxsize=1000)

    def feed(name: str) -> None:
        for line in journal.follow(state, name, tuple(streams), 0, None):
            coming.put(line)

    for name in names:
        threading.Thread(target=feed, args=(name,), daemon=True).start()
    while True:
        yield coming.get()


def _json(line: journal.Line) -> str:
    return json.dumps({"time": iso(line.at), "member": line.member, "stream": line.stream, "text": line.text}, ensure_ascii=False)


def _text(line: journal.Line, *, colour: bool, named: bool = False) -> str:
    stamp = paint(f"{iso(line.at)}  {line.member}" if named else iso(line.at), "grey", on=colour)
    return f"{stamp}  {paint(line.text, 'yellow', on=colour) if line.stream == 'stderr' else line.text}"
