"""The official SDKs as referees: over generated answers, mcpwatch fails what official clients refuse and takes what they take.

Three clients judge: the Python SDK, version 1 of the TypeScript SDK (what most applications have) and its version 2. What two of
them refuse must fail; what all take must succeed; what one alone refuses is written down in `DECIDED` with what mcpwatch says.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pytest

from mcpwatch.checks import Prober
from mcpwatch.model.probe import Outcome, Target
from mcpwatch.model.spec import CheckSpec
from tests.checks.referees.answers import Case, cases
from tests.parts import PARTS, ROOT, program
from tests.servers.scripted import Scripted, scripted

pytestmark = pytest.mark.anyio

CASES = tuple(cases())
QUICK = 70
"""Cases judged in the quick suite; the slow one judges all."""
ONLY_TYPESCRIPT_1 = "official clients are divided: TypeScript SDK 1 refuses it; schema lint, degraded"
ONLY_PYTHON = "official clients are divided: the Python SDK refuses it; schema lint, degraded"
DECIDED: dict[str, tuple[str, Outcome]] = {
    # a boolean is a schema by JSON Schema 2020-12, and valid wherever a model reads it
    **{
        f"tools/list result.tools.0.{schema}=true": (ONLY_TYPESCRIPT_1, Outcome.SUCCESS)
        for schema in ("inputSchema.properties.text", "outputSchema.properties.said")
    },
    **{
        f"tools/list result.tools.0.outputSchema.properties.said.type={value}": (ONLY_TYPESCRIPT_1, Outcome.DEGRADED)
        for value in ("null", "true", "7", "text", "object")
    },
    **{
        f"tools/list result.tools.0.{schema}=list": (ONLY_PYTHON, Outcome.DEGRADED)
        for schema in ("inputSchema.properties.text", "outputSchema.properties.said")
    },
    # all official clients take it; jsonschema refuses it, and so may the service behind a client
    **{
        f"tools/list result.tools.0.inputSchema.properties.text.type={value}": ("no valid JSON Schema", Outcome.DEGRADED)
        for value in ("null", "true", "7", "text", "list", "object")
    },
    "tools/list result.tools.0.outputSchema.properties.said.type=list": ("no valid JSON Schema", Outcome.DEGRADED),
    # no tools at all, or none offered: refused by no client, and what expectations are for
    "tools/list result.tools=list": ("an empty list", Outcome.FAILURE),
    "tools/list result.tools.0=gone": ("an empty list", Outcome.FAILURE),
}


async def outcomes(chosen: Iterable[Case]) -> dict[str, Outcome]:
    """What mcpwatch says of each case, asked over Streamable HTTP."""
    prober = Prober()
    found: dict[str, Outcome] = {}
    async with scripted(Scripted({})) as server:
        target = Target(server.url("/mcp"), "http")
        check = CheckSpec("mcp", timeout=10, contract="ignore")
        for case in chosen:
            server.says = {"initialize": case.hello, "tools/list": case.listed}
            found[case.name] = (await prober.probe(check, target, "direct")).outcome
    return found


def disagreements(ours: dict[str, Outcome], refusals: dict[str, int], needed: int) -> list[str]:
    """The cases where mcpwatch and the referees differ and nothing is decided."""
    found: list[str] = []
    for name, outcome in ours.items():
        if name in DECIDED:
            if outcome is not DECIDED[name][1]:
                found.append(f"{name}: {outcome}, decided: {DECIDED[name][1]}")
        elif (outcome is Outcome.FAILURE) is not (refusals[name] >= needed) or outcome in (Outcome.UNKNOWN, Outcome.DEGRADED):
            found.append(f"{name}: {outcome}, refused by {refusals[name]}")
    return found


def typescript(which: str, folder: Path) -> dict[str, str]:
    """Why the client of the TypeScript SDK refuses each case; empty where it takes it."""
    file = folder / "cases.json"
    file.write_text(json.dumps([asdict(case) for case in CASES]))
    script = ROOT / "tests" / "checks" / "referees" / "typescript.mjs"
    command = [str(program("node22")), str(script), str(PARTS / "npm" / "node_modules"), which, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
async def test_what_the_python_sdk_refuses_fails_and_what_it_takes_does_not_break() -> None:
    """A sample by a fixed seed. What TypeScript alone refuses (`null` and NaN) fails too: the slow test holds that."""
    from tests.checks.referees.python import taken  # half a second that only who runs this should pay

    only_typescript = ("=null", "=NaN")
    fit = [case for case in CASES[1:] if not case.name.endswith(only_typescript)]
    chosen = [CASES[0], *random.Random(13).sample(fit, QUICK)]
    refusals = {case.name: int(bool(await taken(case))) for case in chosen}
    assert refusals["good"] == 0
    assert sum(refusals.values()) > QUICK // 3
    assert disagreements(await outcomes(chosen), refusals, needed=1) == []


@pytest.mark.slow
@pytest.mark.needs("npm", "node22")
async def test_what_two_of_three_official_clients_refuse_fails_and_what_all_take_succeeds(tmp_path: Path) -> None:
    older, newer = typescript("sdk", tmp_path), typescript("client", tmp_path)
    from tests.checks.referees.python import taken

    python = {case.name: await taken(case) for case in CASES}
    refusals = {name: sum(bool(referee[name]) for referee in (python, older, newer)) for name in python}
    assert disagreements(await outcomes(CASES), refusals, needed=2) == []
    divided = {name for name, count in refusals.items() if count == 1}
    assert divided <= DECIDED.keys()
