"""Every loop of ours that goes through a text by position is known, and has texts that show how its cost grows.

A loop that is new is found in the source and fails here until it is in the table: with texts of a growth test that really run it,
or with what bounds it. Patterns need no entry: `test_patterns` makes their texts from themselves.
"""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import mcpwatch
from mcpwatch.checks import rpc
from mcpwatch.checks.stdout import Stdout
from mcpwatch.clients.formats.edit import edit
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.formats.yaml_tree import single
from mcpwatch.clients.formats.yaml_window import value_after
from mcpwatch.foreign.launchers import launched
from mcpwatch.gateway.protocol import json_edit, reading
from mcpwatch.gateway.protocol.message import InvalidMessage
from mcpwatch.http_client.sse import EventParser
from mcpwatch.journal.form import cut
from mcpwatch.telemetry.redact import Redactor
from tests.clients.test_growth import OURS, TEXTS
from tests.foreign.test_scan import HOSTILE
from tests.fuzz.readers import our_answer, ours
from tests.growth import Text, Work, must_be_linear, read

SEARCHES = {"find", "rfind", "index", "rindex", "startswith", "endswith", "match", "search", "fullmatch", "partition", "split"}


def changed(text: str) -> object:
    """A YAML text after a change of its first value, read by the lines around that."""
    document = single(text)
    assert document is not None
    return value_after(document, text.replace(": ", ":  ", 1))


def message(text: str) -> object:
    """A message as the gateway reads it."""
    with suppress(InvalidMessage):
        return reading.of_client(text.encode())
    return None


def put(text: str) -> object:
    """A message as the gateway changes it."""
    return json_edit.with_members(text.encode(), ("params", "_meta"), b'"a":1', lambda key: key == "b")


def lines_of_server(text: str) -> None:
    """What a stdio server wrote, as a check reads it."""

    async def listen() -> None:
        stream, stdout = asyncio.StreamReader(), Stdout()
        stream.feed_data(text.encode())
        stream.feed_eof()
        while line := await stdout.line(stream):
            stdout.messages(line)

    asyncio.run(listen())


def in_pieces(text: str) -> None:
    """An event stream that comes in small pieces."""
    parser, data = EventParser(), text.encode()
    for at in range(0, len(data), 7):
        parser.feed(data[at : at + 7])


def by_name(name: str) -> Work:
    """One edit of a client's file, by the name of its text."""
    syntax, path, _ = TEXTS[name]

    def work(text: str) -> None:
        with suppress(EditRefused):
            edit(syntax, text, {path: OURS})

    return work


CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}'
MORE: dict[str, tuple[Work, Text]] = {
    "message: keys": (message, lambda n: CALL % ("{ " + ", ".join(f'"k{i}": 1' for i in range(n)) + "}")),
    "message: depth": (message, lambda n: CALL % ("[" * n)),
    "message: blanks": (message, lambda n: CALL % ('{"_meta": {"a" :' + " " * n + "1}}")),
    "message: an escaped string": (message, lambda n: CALL % ('{ "name" : "' + '\\"' * n + '"}')),
    "message: members put": (put, lambda n: CALL % ('{"_meta": {' + ", ".join(f'"k{i}": [1]' for i in range(n)) + "}}")),
    "message: put into depth": (put, lambda n: CALL % ('{"a": ' + "[" * n + "]" * n + ', "_meta": {}}')),
    "lines of a server: empty": (lines_of_server, lambda n: "\n" * n),
    "lines of a server: one": (lines_of_server, lambda n: "x" * 20 * n),
    "answers of a server": (rpc.parse, lambda n: "[" + ", ".join(["{}"] * n) + "]"),
    "events: lines": (lambda text: EventParser().feed(text.encode()), lambda n: "data: x\n" * n),
    "events: one line in pieces": (in_pieces, lambda n: "data: " + "x" * n),
    "events: many in pieces": (in_pieces, lambda n: "event: a\rdata: b\r\n\n" * n),
    "requests behind each other": (lambda text: ours(text.encode()), lambda n: "GET / HTTP/1.1\r\nHost: x\r\n\r\n" * n),
    "a body in chunks": (
        lambda text: ours(text.encode()),
        lambda n: "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + "1\r\nx\r\n" * n + "0\r\n\r\n",
    ),
    "an answer in chunks": (
        lambda text: asyncio.run(our_answer(text.encode())),
        lambda n: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "1\r\nx\r\n" * n + "0\r\n\r\n",
    ),
    "log: lines": (lambda text: cut(text.encode()), lambda n: "x\n" * n),
    "log: one line of odd bytes": (lambda text: cut(text.encode()), lambda n: "é" * 20 * n),
    "words of a command": (lambda text: launched(text.split()), lambda n: "uvx " + "--with a " * n + "b"),
    "changed: mappings": (changed, lambda n: "servers:\n" + "".join(f"  k{i}:\n    url: x\n" for i in range(n))),
    "changed: keys in question": (changed, lambda n: "a: 1\n" + "".join(f"? k{i}\n: 1\n" for i in range(n))),
    "secrets: one word": (Redactor(["s3cr3t-s3cr3t"]), lambda n: "token=" + "s3cr3t-" * n),
}
GROWTH: dict[str, tuple[Work, Text]] = {
    **HOSTILE,
    **{name: (by_name(name), text) for name, (_, _, text) in TEXTS.items()},
    **MORE,
}
"""Every growth test of the tree: those of files in `tests/foreign` and `tests/clients`, and those of the rest here."""

RUN_BY: dict[str, tuple[str, ...]] = {
    "checks.stdout:Stdout.line": ("lines of a server: empty", "lines of a server: one"),
    "clients.formats.jsonc:_box": ("jsonc: many members", "jsonc: many members outside"),
    "clients.formats.jsonc:_value_end": ("jsonc: many members",),
    "clients.formats.toml:_put_inline": ("toml: one inline table",),
    "clients.formats.toml:_pairs": ("toml: one inline table",),
    "clients.formats.toml:_inline_end": ("toml: one inline table",),
    "clients.formats.toml_scan:statements": ("toml: tables", "toml: blank lines", "toml: assignments"),
    "clients.formats.toml_scan:dotted": ("toml: one dotted key", "toml: quoted keys with escapes"),
    "clients.formats.toml_scan:_value_end": ("toml: an array over lines", "toml: brackets"),
    "clients.formats.toml_scan:_quotes_end": (
        "toml: a string of quotes",
        "toml: escaped quotes that are closed",
        "toml: backslashes before the end",
    ),
    "clients.formats.yaml_tree:YamlNode.children": ("yaml: mappings", "yaml: mappings outside"),
    "clients.formats.yaml_tree:_back": ("yaml: blank lines at the end of a block scalar", "yaml: block scalars"),
    "clients.formats.yaml_tree:line_start": ("yaml: mappings",),
    "clients.formats.yaml_window:_levels": ("changed: mappings", "changed: keys in question"),
    "clients.formats.yaml_window:_entries": ("changed: mappings", "changed: keys in question"),
    "clients.rotation:_lines": ("env edited",),
    "foreign.json_text:_Walk.object": ("JSON: members", "JSON: a duplicate each"),
    "foreign.launchers:_options": ("words of a command",),
    "foreign.scan:string_end": ("string", "jsonc: backslashes"),
    "foreign.scan:trivia": ("trivia", "jsonc: blanks", "jsonc: comments on one line"),
    "foreign.scan:bracket_end": ("brackets", "jsonc: many members outside"),
    "foreign.scan:plain": ("plain: comments", "plain: openings", "plain: quotes", "plain: commas"),
    "foreign.variables:_unquote": ("env: blanks before no comment", "env: lines"),
    "gateway.protocol.json_edit:members": ("message: members put",),
    "gateway.protocol.json_edit:_value": ("message: members put", "message: put into depth"),
    "gateway.protocol.reading:_walk": ("message: keys", "message: blanks", "message: an escaped string"),
    "journal.form:cut": ("log: lines", "log: one line of odd bytes"),
}
"""Loops by module and name, and the growth tests that run them."""

BOUNDED: dict[str, str] = {
    "alerts.suppress:spoken_for": "goes from alert to alert of ours, along causes",
    "checks.stdio:StdioWire._read_stderr": "a piece a turn, of which the last 4 KiB are kept",
    "clients.formats.toml:_drop_inline": "one pass over what `_pairs` found, of which the caller names one",
    "clients.formats.yaml:_opening": "the tag and the anchor of the one container that is edited",
    "gateway.http.intake:Intake.go_on": "a step a request that came, while there is room: `requests behind each other`",
    "journal.follow:Follower._take": "at most `limit` lines a turn, each cut at 64 KiB when it was stamped",
    "journal.form:past": "one bite of the file a turn",
    "journal.read:find": "halves the file, then goes through one block",
    "runtimes.log_collector:LogCollector._make_room": "over streams that are open",
    "runtimes.log_collector:LogCollector._heard": "over records of the kernel, at most as many as were read at once",
    "runtimes.log_stamper:LogStamper._append": "one block, written in as many calls as the kernel wants",
    "runtimes.log_stamper:LogStamper._skip": "at most 32 MiB a turn, a bite at a time",
    "runtimes.live_processes:LiveProcesses._remember": "goes over members",
    "runtimes.swarm.launch:ServiceLaunch.run": "asks the engine until a deadline",
    "telemetry.shipper:Shipper._send": "goes over batches, with a pause between two",
}
"""Loops that go through something else than a whole text of others, and what bounds them."""


def scans(loop: ast.While) -> bool:
    """Whether a loop looks at something by a place that it moves."""
    moved = {name.id for node in ast.walk(loop) for name in _assigned(node)}

    def uses(node: ast.AST) -> bool:
        return any(isinstance(one, ast.Name) and one.id in moved for one in ast.walk(node))

    for node in ast.walk(loop):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and uses(node.slice):
            return True
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEARCHES):
            continue
        if any(uses(given) for given in (node.func.value, *node.args)):
            return True
    return False


def _assigned(node: ast.AST) -> Iterator[ast.Name]:
    targets: list[ast.expr] = []
    if isinstance(node, (ast.AugAssign, ast.NamedExpr, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    for target in targets:
        yield from (one for one in ast.walk(target) if isinstance(one, ast.Name))


def loops() -> set[str]:
    """Every function that has such a loop, as `module:name`."""
    found: set[str] = set()
    root = Path(mcpwatch.__path__[0])

    def visit(node: ast.AST, module: str, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if isinstance(child, ast.While) and scans(child):
                found.add(f"{module}:{'.'.join(names)}")
            visit(child, module, (*names, child.name) if named else names)

    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "while " in text:
            visit(ast.parse(text), ".".join(path.relative_to(root).with_suffix("").parts), ())
    return found


@pytest.mark.slow
def test_every_loop_through_a_text_is_known_and_nothing_else_is() -> None:
    assert loops() == set(RUN_BY) | set(BOUNDED)
    assert not set(RUN_BY) & set(BOUNDED)


def test_the_growth_tests_of_a_loop_run_it() -> None:
    not_run: list[str] = []
    for loop, names in RUN_BY.items():
        for name in names:
            work, text = GROWTH[name]
            if loop not in ran(work, text(3)):
                not_run.append(f"{name} does not run {loop}")
    assert not_run == []


def ran(work: Work, text: str) -> set[str]:
    """Which functions of ours a work calls."""
    found: set[str] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event == "call" and module.startswith("mcpwatch."):
            found.add(f"{module.removeprefix('mcpwatch.')}:{frame.f_code.co_qualname}")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        read(work, text)
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", MORE)
def test_eight_times_the_text_takes_about_eight_times_the_time(name: str) -> None:
    must_be_linear(*MORE[name])


@pytest.mark.parametrize(
    ("source", "so"),
    [
        ("while at < len(text):\n at = text.find('x', at) + 1", True),
        ("while text[at] == ' ':\n at += 1", True),
        ("while (found := pattern.match(text, at)):\n at = found.end()", True),
        ("while left:\n left.pop()", False),
        ("while not done:\n time.sleep(1)", False),
    ],
)
def test_a_loop_through_a_text_is_told_from_others(source: str, so: bool) -> None:
    loop = ast.parse(source).body[0]
    assert isinstance(loop, ast.While)
    assert scans(loop) is so
