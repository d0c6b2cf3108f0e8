"""Every server of the catalogue that a registry has is started by its own launcher and answers; see `.ci/parts catalogue`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mcpwatch.checks import Prober
from mcpwatch.config.catalog import catalog
from mcpwatch.model.probe import Canary, Outcome, Symptom, Target
from mcpwatch.model.spec import CheckSpec
from tests.e2e.catalogue import FETCHED, GREETS, NEED_MORE, PROVED, absent, definition, environment
from tests.parts import PARTS

pytestmark = [pytest.mark.slow, pytest.mark.needs("catalogue"), pytest.mark.timeout(240)]

PART = PARTS / "catalogue"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A directory that is a git repository too."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.anyio
@pytest.mark.parametrize("name", FETCHED)
async def test_a_server_starts_lists_what_the_catalogue_says_and_answers_its_canary(name: str, repository: Path) -> None:
    if why := NEED_MORE.get(name) or absent(PART).get(name):
        pytest.skip(why)
    made, entry = definition(name, repository), catalog()[name]
    env = {**environment(PART, offline=True), **made.env, "HOME": str(repository)}
    arguments = json.dumps((made.canary or {}).get("arguments", {}))
    canary = Canary(entry.canary.tool, arguments) if entry.canary and name in PROVED else None
    prober = Prober()
    try:
        target = Target(transport="stdio", command=made.command, env=tuple(env.items()))
        result = await prober.probe(CheckSpec(name="mcp", timeout=180.0, canary=canary), target, "direct")
    finally:
        await prober.close()
    greets = name in GREETS and result.symptom is Symptom.POLLUTED
    assert result.outcome is (Outcome.DEGRADED if greets else Outcome.SUCCESS), result
    tools = {tool.name for tool in result.tools or ()}
    assert tools
    assert set(entry.read_only_tools) <= tools
    assert entry.canary is None or entry.canary.tool in tools
