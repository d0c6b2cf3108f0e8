"""The table of bounds in docs/reference/gateway.md: each row says what the code says, and names tests that there are."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from functools import cache

import pytest

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.settings import ServingLimits
from mcpwatch.gateway.upstream import questions
from mcpwatch.http_client import connection, framing, keepalive, sse
from tests.gateway.test_http_bounds import CLIENT_STATES, SERVER_STATES
from tests.parts import ROOT

HERE = ROOT / "tests" / "gateway"
USUAL = "test_http_bounds.py"
KIB, MIB = 1024, 1024 * 1024
SILENCE = keepalive.IDLE + keepalive.COUNT * keepalive.INTERVAL
AROUND = f"{framing.FRAMING // KIB} KiB and {framing.CHUNK_FRAMING} bytes for each chunk"

BOUNDS = {
    "head of a request; blank lines before it": f"`limits.headers`, {limits.HEAD_LIMIT:g} s",
    "header lines": f"{limits.HEAD_LINES}",
    "body": f"`limits.body`, {limits.BODY_LIMIT:g} s; known from `Content-Length` before it is sent",
    "around chunks: sizes, extensions, trailers": f"{AROUND}; trailers are not kept",
    "requests behind the one being answered": (
        f"{limits.PIPELINED}, or {limits.PIPELINED_BYTES // MIB} MiB of bodies; more stay in the socket"
    ),
    "after a refusal or a last answer": f"{limits.LINGER:g} s and {limits.LINGER_BYTES // MIB} MiB, thrown away",
    "idle connection": f"{limits.KEEP_ALIVE:g} s",
    "what waits for a client that takes nothing of it": f"{limits.STALL_LIMIT:g} s; any byte taken begins them anew",
    "what a client leaves unread of a stream": f"{limits.SLOW_LIMIT // MIB} MiB beside one long message, at the next message",
    "request whose client has closed its sending side": (
        f"{limits.HALF_CLOSED:g} s; then the client counts as gone; a stream ends at once"
    ),
    "open connections": (
        f"`limits.connections_per_address` and `limits.connections`, while {limits.FILES_SPARED} file descriptors,"
        " or a quarter of the limit, are left"
    ),
    "bytes of requests in memory": (
        f"{limits.HELD_PER_ADDRESS // MIB} MiB, or four of `limits.body`, for an address; four times that in all"
    ),
    "bytes of answers that wait": f"{limits.UNSENT_TOTAL // MIB} MiB in all",
    "sessions of a token": "`limits.sessions_per_token`",
    "requests of a token": "`limits.calls_per_second`",
    "session without a stream or a request": "`limits.session_idle`",
    "a host that vanished without a word": (
        f"{SILENCE} s of silence; {limits.STALL_LIMIT:g} s while it acknowledges nothing of an answer"
        " ([ADR 0105](../adr/0105-watch-what-a-client-takes-ourselves.md))"
    ),
    "calls under way at a stop": "`limits.drain`; new connections are refused meanwhile",
    "head of an answer, interim answers included": f"{connection.HEAD_BYTES // KIB} KiB, {connection.HEAD_LINES} lines",
    "around chunks": AROUND,
    "body that is not taken": f"{connection.UNREAD_LIMIT // MIB} MiB; the rest stays in the socket",
    "answer, or one event of a stream": f"{sse.ANSWER_LIMIT // MIB} MiB",
    "questions for one client; questions whose cause is not clear": (
        f"{questions.OPEN} at once; {questions.HELD} and {questions.HELD_BYTES // MIB} MiB"
    ),
    "anything behind an answer, or unasked": "nothing",
}
"""What each row says of its bound, with the figures of the code."""


@cache
def rows() -> dict[str, list[str]]:
    """The other cells of each row, by the first one."""
    page = (ROOT / "docs" / "reference" / "gateway.md").read_text()
    section = page.partition("\n## Bounds\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in cells if first != "what"}


@cache
def sentences(file: str) -> list[str]:
    """The names of the tests of a file, as words."""
    tree = ast.parse((HERE / file).read_text())
    names = [node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [name.removeprefix("test_").replace("_", " ") for name in names if name.startswith("test_")]


def named(cell: str) -> list[tuple[str, str]]:
    """Which tests a cell names: file and sentence; a state of the parsers has no file, no sentence means the whole file."""
    found: list[tuple[str, str]] = []
    file, states = USUAL, False
    for before, word in re.findall(r"([^`]*)`([^`]+)`", cell):
        if re.search(r"\bstates? ", before):
            states = True
        match = re.match(r"(test_\w+\.py)(?:: (.+))?$", word)
        if match:
            file, states = match[1], False
        found.append(("", word) if states else (file, match[2] or "" if match else word))
    return found


def test_every_bound_of_the_table_is_known_here_and_each_known_one_is_in_it() -> None:
    assert set(rows()) == set(BOUNDS)


@pytest.mark.parametrize("row", BOUNDS)
def test_a_row_says_what_the_code_says(row: str) -> None:
    assert rows()[row][0] == BOUNDS[row]


@pytest.mark.parametrize("row", BOUNDS)
def test_a_row_names_tests_that_there_are(row: str) -> None:
    tests = named(rows()[row][-1])
    assert tests
    for file, sentence in tests:
        pattern = sentence.replace("[", "[[]").replace(" …", "*").replace("… ", "*").replace("…", "*")
        known = sentences(file) if file else [*SERVER_STATES, *CLIENT_STATES]
        assert any(fnmatchcase(name.replace("`", ""), pattern or "*") for name in known), (row, file, sentence)


@pytest.mark.parametrize("state", [*SERVER_STATES, *CLIENT_STATES])
def test_every_state_of_the_parsers_is_in_a_row(state: str) -> None:
    patterns = [
        word.replace(" …", "*").replace("… ", "*") for cells in rows().values() for file, word in named(cells[-1]) if not file
    ]
    assert any(fnmatchcase(state, pattern) for pattern in patterns), patterns


def test_the_limits_of_the_file_are_shown_with_their_defaults() -> None:
    page = (ROOT / "docs" / "reference" / "gateway.md").read_text()
    shown = re.search(r'"limits": \{([^}]*)\}', page)
    assert shown is not None
    found = {key: float(value) for key, value in re.findall(r'"(\w+)": ([\d.]+)', shown[1])}
    assert found == {name: float(getattr(ServingLimits(), name)) for name in ServingLimits.__slots__}
    mentioned = {word for cells in rows().values() for word in re.findall(r"`limits\.(\w+)`", cells[0])}
    assert mentioned == set(found) - {"call", "start"}
