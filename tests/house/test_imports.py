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
from pathlib import Path
import mcpwatch.__main__
from mcpwatch.app.daemon import Daemon, Options
from mcpwatch.app.paths import StatePaths
from mcpwatch.cli import main, up
from functools import partial
from mcpwatch.app.plan_reader import apart
plan, _ = apart(Path(sys.argv[1]), partial(up._read, Path(sys.argv[1]), Path(sys.argv[2])))
daemon = Daemon(Options(Path(sys.argv[1]), StatePaths(Path(sys.argv[2]))))
daemon.carry(plan)
print(*{name.partition(".")[0] for name, module in sys.modules.items() if module is not None})
"""


def test_the_daemon_of_a_minimal_fleet_loads_no_optional_library(tmp_path: Path) -> None:
    config = tmp_path / "fleet.yaml"
    config.write_text(FLEET, encoding="utf-8")
    argv = [sys.executable, "-c", CODE, str(config), str(tmp_path / "state")]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & OPTIONAL == set()
    assert "pydantic" in done.stdout.split()
