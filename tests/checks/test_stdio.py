"""A stdio server is spawned, spoken to, and ended with everything it started."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mcpwatch.checks import probe
from mcpwatch.model.probe import Outcome
from tests.checks.until import until
from tests.parts import server

pytestmark = pytest.mark.anyio

SPEAK = """
import json, sys, os, signal, subprocess
for line in sys.stdin:
    ask = json.loads(line)
    if ask["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "tiny", "version": "1"}}
    elif ask["method"] == "tools/list":
        result = {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}
    elif "id" in ask:
        print(json.dumps({"jsonrpc": "2.0", "id": ask["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
        continue
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": ask["id"], "result": result}), flush=True)
"""

MODERN = """
import itertools, json
ANSWERS = {
    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"},
    "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}], "resultType": "complete"},
}
for line in itertools.chain(early, sys.stdin):
    ask = json.loads(line)
    refused = {"error": {"code": -32022, "message": "connection is serving the 2026-07-28 protocol"}}
    reply = {"result": ANSWERS[ask["method"]]} if ask["method"] in ANSWERS else refused
    print(json.dumps({"jsonrpc": "2.0", "id": ask["id"], **reply}), flush=True)
"""


def tiny(before: str = "") -> list[str]:
    return [sys.executable, "-c", before + SPEAK]


@pytest.mark.slow
async def test_a_real_stdio_server_is_probed_through_all_stages() -> None:
    result = await probe(command=[str(server("mcp-server-time"))], timeout=30)
    assert result.outcome is Outcome.SUCCESS, result
    assert result.server is not None
    assert (result.server.wire, len(result.tools or ())) == ("stdio", 2)


async def test_an_old_server_is_initialized_after_it_refused_to_discover() -> None:
    result = await probe(command=tiny(), timeout=20)
    assert result.outcome is Outcome.SUCCESS, result
    assert result.server is not None
    assert (result.server.name, result.server.protocol) == ("tiny", "2025-11-25")


async def test_a_modern_server_that_is_slow_to_start_is_taken_for_what_it_is() -> None:
    slow = "import sys\nearly = [sys.stdin.readline(), sys.stdin.readline()]\n"  # it answers neither before it has both
    result = await probe(command=[sys.executable, "-c", slow + MODERN], timeout=6)
    assert result.outcome is Outcome.SUCCESS, result
    assert result.server is not None
    assert (result.server.wire, result.server.protocol) == ("stdio", "2026-07-28")


@pytest.mark.slow
async def test_an_old_server_that_is_slow_to_start_and_dies_of_the_first_question_is_asked_again_without_it() -> None:
    dies = "import itertools, json, sys\nfirst = json.loads(sys.stdin.readline())\n"
    dies += 'if first["method"] != "initialize": sys.stdin.readline(); sys.exit(1)\n'  # by then the second question is there too
    result = await probe(
        command=[sys.executable, "-c", dies + SPEAK.replace("sys.stdin:", "itertools.chain([json.dumps(first)], sys.stdin):")],
        timeout=9,
    )
    assert result.outcome is Outcome.SUCCESS, result
    assert result.server is not None
    assert (result.server.name, result.server.protocol) == ("tiny", "2025-11-25")


async def test_lines_on_stdout_that_are_no_messages_make_it_degraded() -> None:
    result = await probe(command=tiny("print('Starting up...', flush=True)\n"), timeout=20)
    assert (result.outcome, result.symptom_text) == (Outcome.DEGRADED, "polluted")
    assert "Starting up..." in result.message


async def test_a_flood_on_stderr_does_not_block_it() -> None:
    result = await probe(command=tiny("import sys\nsys.stderr.write('x' * 300000 + chr(10))\nsys.stderr.flush()\n"), timeout=20)
    assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.parametrize(
    ("command", "symptom", "said"),
    [
        (["/nonexistent/server"], "not_found", "No such file"),
        ([str(Path(__file__))], "not_found", "Permission denied"),
        ([sys.executable, "-c", "import sys; sys.exit('no token given')"], "exited", "no token given"),
        ([sys.executable, "-c", "import os; os.abort()"], "exited", "SIGABRT"),
    ],
)
async def test_a_server_that_cannot_run_says_why(command: list[str], symptom: str, said: str) -> None:
    result = await probe(command=command, timeout=20)
    assert result.symptom_text == symptom, result
    assert said in f"{result.message} {result.said}"


async def test_a_server_that_only_reads_times_out_at_initialize() -> None:
    result = await probe(command=["cat", "/dev/stdin"], timeout=0.1)
    assert result.outcome is Outcome.FAILURE
    silent = await probe(command=["sleep", "60"], timeout=0.5)
    assert silent.symptom_text == "timeout@initialize"


async def test_nothing_of_it_lives_on_not_even_a_child_in_a_session_of_its_own(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    before = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen(['sleep', '300'], start_new_session=True, stdin=subprocess.DEVNULL)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
    )
    result = await probe(command=tiny(before), timeout=20)
    assert result.outcome is Outcome.SUCCESS, result
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    await until(lambda: not any(alive(pid) for pid in started))


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8") and os.kill(pid, 0) is None
    except OSError:
        return False


PRETTY = """
import json
for line in sys.stdin:
    print(json.dumps({"id": 1, "result": {}}, indent=2), flush=True)
"""


STDIO = {
    "pretty-printed JSON": (PRETTY, "{"),
    "LSP framing": (
        r'for line in sys.stdin: sys.stdout.write("Content-Length: 2\r\n\r\n{}"); sys.stdout.flush()',
        "Content-Length: 2",
    ),
    "a question of npx": ('sys.stdout.write("Ok to proceed? (y) "); sys.stdout.flush(); sys.stdin.read()', "Ok to proceed? (y)"),
    "an HTTP server": (
        'print("Listening on http://localhost:3000", flush=True); sys.stdin.read()',
        "Listening on http://localhost:3000",
    ),
}


ONE_ID = """
for line in sys.stdin:
    print('{"jsonrpc": "2.0", "id": 0, "result": {}}', flush=True)
"""


async def test_a_stdio_server_that_answers_nothing_is_told_with_what_it_said_instead() -> None:
    programs = {**{name: program for name, (program, _) in STDIO.items()}, "one id for all": ONE_ID}
    commands = [[sys.executable, "-S", "-c", "import sys\n" + program] for program in programs.values()]
    results = dict(zip(programs, await asyncio.gather(*(probe(command=argv, timeout=2.5) for argv in commands)), strict=True))
    for name, (_, line) in STDIO.items():
        result = results[name]
        assert (result.outcome, result.symptom_text, result.said) == (Outcome.FAILURE, "polluted", line), (name, result)
        assert line in result.message
    one_id = results["one id for all"]
    assert one_id.symptom_text == "no_reply", one_id
    assert "with id 0" in one_id.message


async def test_what_a_stdio_server_said_on_stdout_before_it_exited_is_shown() -> None:
    result = await probe(command=[sys.executable, "-S", "-c", "print('Error: no API key', flush=True)"], timeout=10)
    assert result.symptom_text == "exited", result
    assert "Error: no API key" in result.message
