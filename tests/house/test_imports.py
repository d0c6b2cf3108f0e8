"""What a fleet does not use is not loaded: a daemon of processes alone holds no library of containers, metrics, Loki or alerts, and
none that reads configurations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OPTIONAL = {
    "apprise", "docker", "httpx", "jinja2", "logging_loki", "mcp", "opentelemetry", "prometheus_client", "psutil",
    "pygments", "pyrage", "requests", "rich", "ruamel", "sse_starlette", "tomlkit", "urllib3", "websockets", "yaml",
}  # fmt: skip
FLEET = """
version: 1
web: false
proxy: false
members:
  plain: {process: {command: sleep, args: ["1"]}, route: false}
"""
CODE = """
import sys
from mcpwatch.left_out import StandIn, leave_out
leave_out()
from mcpwatch import __main__
from mcpwatch.app.daemon import Daemon
from mcpwatch.cli import begin
sys.argv = ["mcpwatch", "--state-dir", sys.argv[2], "up", "-c", sys.argv[1]]

def run(options, plan):
    Daemon(options).carry(plan)
    print(*{name for name, module in sys.modules.items() if not isinstance(module, StandIn)})
    return 0

begin.run = run
__main__.main()
"""
COMMAND_LINE = {"mcpwatch.cli.main", "mcpwatch.cli.up", "mcpwatch.cli.control", "mcpwatch.app.kinds", "mcpwatch.config.load"}
NEVER_USED = {"click", "importlib.metadata", "multiprocessing", "typer", "zipfile"}
"""What libraries load with themselves, and a process of threads and pipes has no use for."""
ASKS = """
import sys
from mcpwatch.left_out import LATER, StandIn, leave_out, without_entry_points
leave_out()
import pydantic, uvicorn, watchfiles, httpx
with without_entry_points():
    import apscheduler.schedulers.asyncio
import importlib
import importlib.metadata
assert importlib.metadata.version("pydantic") == pydantic.VERSION  # the real one, from here on

class Model(pydantic.BaseModel):
    number: int

assert Model(number="1").number == 1
for name in LATER:
    assert isinstance(sys.modules[name], StandIn), name
for name, asked in zip(sorted(LATER), ("ProcessPoolExecutor", "click", "distributions", "LEVEL_CHOICES", "CombinedProcess")):
    getattr(sys.modules[name], asked, None)
    assert not isinstance(sys.modules[name], StandIn), name
    assert sys.modules[name].__file__.endswith(".py"), name
"""


def test_what_is_left_out_is_not_loaded_until_somebody_asks_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", ASKS], env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_daemon_of_a_minimal_fleet_loads_no_optional_library(tmp_path: Path) -> None:
    config = tmp_path / "fleet.yaml"
    config.write_text(FLEET, encoding="utf-8")
    argv = [sys.executable, "-c", CODE, str(config), str(tmp_path / "state")]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {name.partition(".")[0] for name in loaded} & OPTIONAL == set()
    assert loaded & (COMMAND_LINE | NEVER_USED) == set()
    assert {"pydantic", "mcpwatch.app.daemon"} <= loaded
