"""Every console line of the documentation, and so of `--help`, works as it is written, in a fresh home with a running fleet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.house.test_console import LINES, ROOT
from tests.parts import SERVERS

REFUSED = {
    "mcpwatch alerts ack fetch": "no open alert is called 'fetch'",
    "mcpwatch alerts ack down:fetch --comment 'rolling back'": "no open alert is called 'down:fetch'",
    "mcpwatch silence expire s1a2b3c": "no silence has the id 's1a2b3c'",
    "mcpwatch maintenance stop m1a2b3c": "m1a2b3c",
    "mcpwatch remove clock": "no member 'clock'",
}
"""Lines that a healthy fleet answers with a refusal, and what that says."""


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1200)
@pytest.mark.needs("npm", "promtool")
@pytest.mark.skipif(not shutil.which("ip") or not shutil.which("unshare"), reason="needs a loopback of its own")
def test_every_console_line_works_as_it_is_written_in_a_fresh_home() -> None:
    """On a loopback of its own: the documentation's ports are the usual ones."""
    lines = sorted({line for page, line in LINES if not page.endswith("tutorial.md") and "mcpwatch" in line})
    lines.sort(key=lambda line: "backup create" not in line)
    assert len(lines) > 100
    env = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{SERVERS}:{os.environ['PATH']}"}
    argv = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec python -m tests.house.console_stage"]
    done = subprocess.run(
        argv, cwd=ROOT, env=env, input=json.dumps(lines), capture_output=True, text=True, timeout=1180, check=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["line"] for one in found] == lines, done.stderr[-3000:]
    for one in found:
        assert "Traceback" not in one["said"], one
        refusal = REFUSED.get(one["line"])
        assert (one["code"] == 0) == (refusal is None), one
        assert (refusal or "") in one["said"], one
