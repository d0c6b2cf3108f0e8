"""A hosted server gets what its `env_file`s hold when it starts, as a process does, and not what they held before."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from mcpwatch.gateway import dialects
from mcpwatch.gateway.upstream import spawn
from mcpwatch.proxies.gateway import Gateway
from tests.config.plans import STATE, plan

NAMES = ("API_KEY", "MODE", "REGION", "EXTRA")


def held(chance: random.Random) -> dict[str, str]:
    """What one file may hold."""
    return {name: f"{name.lower()} {chance.randrange(100)}" for name in NAMES if chance.random() < 0.6}


def write(path: Path, values: dict[str, str]) -> None:
    path.write_text("".join(f'export {name}="{value}"\n' for name, value in values.items()), encoding="utf-8")


@pytest.mark.parametrize("seed", range(30))
def test_a_start_has_what_the_files_hold_by_then_under_its_own_variables(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    files = [tmp_path / f"{number}.env" for number in range(chance.randint(1, 2))]
    own = {name: "own" for name in NAMES if chance.random() < 0.3}
    before = [held(chance) for _ in files]
    for path, values in zip(files, before, strict=True):
        write(path, values)
    stdio = {"command": sys.executable, "env": own, "env_file": [path.name for path in files]}
    found = plan(json.dumps({"members": {"a": {"stdio": stdio}}, "proxy": {"listen": "127.0.0.1:9100"}}), tmp_path, {})
    assert found.proxy is not None
    (server,) = dialects.parse(json.loads(Gateway().render(found.proxy, STATE)[0].text)).servers
    asked = spawn.command(server, None)

    def started(*held_then: dict[str, str]) -> None:
        wanted = {name: value for values in (*held_then, own) for name, value in values.items()}
        environment = spawn.environment(asked)
        assert {name: environment[name] for name in NAMES if name in environment} == wanted

    started(*before)
    after = [held(chance) for _ in files]
    for path, values in zip(files, after, strict=True):
        write(path, values)
    started(*after)
    files[-1].unlink() if chance.random() < 0.5 else files[-1].write_bytes(b"API_KEY=\xff\n")
    started(*before)  # what cannot be read is as the configuration knew it
