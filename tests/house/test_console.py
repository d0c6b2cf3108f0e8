"""What is written works as written: every command line of the documentation parses, and the tutorial runs from a fresh HOME."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from mcpwatch.cli.main import app
from tests.house.console.blocks import ROOT, blocks
from tests.house.console.params import TUTORIAL
from tests.parts import SERVERS


def of_mcpwatch(line: str) -> Iterator[list[str]]:
    """The invocations of mcpwatch in a line, as words; pipes, redirections and `…` end one."""
    if "…" in line:
        return
    for part in re.split(r"&&|;|\||>>?|\$\(|\)", line):
        words = shlex.split(part)
        if words[:1] in (["mcpwatch"], [".venv/bin/mcpwatch"]):
            yield words[1:]


LINES = sorted({(block.page, step.command) for block in blocks() for step in block.steps})


@cache
def program_command() -> Any:
    """The whole command line, built once: it has some hundred options."""
    return typer.main.get_command(app)


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line}" for page, line in LINES])
def test_a_command_line_of_the_documentation_is_understood(page: str, line: str) -> None:
    for words in of_mcpwatch(line):
        command: Any = program_command()
        name, rest = "mcpwatch", list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            name, known = rest.pop(0), command.commands
            if name not in known:
                assert "find" in known, f"{page}: no command '{name}'"  # a word to search the catalogue for
                return
            command = known[name]
        if not hasattr(command, "commands"):
            command.make_context(name, rest)  # raises what a person would be told


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(400)
def test_the_tutorial_runs_from_a_fresh_home_as_it_is_written(tmp_path: Path) -> None:
    """Each line in its order, in one shell, with the exit code 0; on a loopback of its own where the kernel gives one."""
    written = (step.command for block in blocks() if block.page == TUTORIAL for step in block.steps)
    lines = [line for line in written if line != "make setup"]
    assert len(lines) > 15
    script = "set -e\n" + "".join(f"echo '+ '{shlex.quote(line)}\n{line}\n" for line in lines)
    (tmp_path / "tutorial.sh").write_text(script, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("MCPWATCH_")}
    home = Path(tempfile.mkdtemp(prefix="mw-"))  # short: the path of a socket has a limit
    env |= {"HOME": str(home), "XDG_STATE_HOME": str(home / ".local" / "state"), "NO_COLOR": "1"}
    env["PATH"] = f"{ROOT / '.venv' / 'bin'}:{SERVERS}:{env['PATH']}"
    own_network = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec bash "$0"', str(tmp_path / "tutorial.sh")]
    possible = shutil.which("ip") and shutil.which("unshare") and subprocess.run(["unshare", "--net", "true"]).returncode == 0
    argv = own_network if possible else ["bash", str(tmp_path / "tutorial.sh")]
    with (tmp_path / "out.txt").open("wb") as output:
        done = subprocess.run(argv, cwd=ROOT, env=env, stdout=output, stderr=output, timeout=390, check=False)
    said = (tmp_path / "out.txt").read_text(errors="replace")
    try:
        assert done.returncode == 0, said[-6000:]
    finally:
        subprocess.run(["mcpwatch", "down"], env=env, capture_output=True, timeout=60, check=False)
        shutil.rmtree(home, ignore_errors=True)
