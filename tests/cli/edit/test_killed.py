"""An `add` that is killed before any single operation on a file leaves the fleet's files as they were, or whole as meant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FLEET = "version: 1\nproxy: {listen: '127.0.0.1:19396'}   # the proxy\nmembers:\n  time:\n    stdio: {command: python3}\n"
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.chmod", "os.truncate", "os.link", "tempfile.mkstemp")
PROGRAM = f"""
import json, os, pathlib, signal, sys
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit.definition import Definition
from mcpwatch.cli.edit.members import How, add
from mcpwatch.cli.edit.run import undo_interrupted

place = pathlib.Path(sys.argv[1])
ControlSettings.state_dir = place / "state"
files = [place / name for name in ("fleet.yaml", ".env", "fleet.yaml.bak")]
sys.stdout = sys.stderr = open(os.devnull, "w")

def child(kill_at):
    seen = 0
    def hook(event, args):
        nonlocal seen
        if event in {EVENTS!r} and str(args[0]).startswith(str(place)):
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
    sys.addaudithook(hook)
    server = Definition(command=("python3",), env={{"API_KEY": "s3cret-value"}})
    os._exit(add("news", server, How(place / "fleet.yaml", test=False)))

found = []
for kill_at in range(1000):
    for file in files:
        file.unlink(missing_ok=True)
    files[0].write_text(sys.argv[2])
    pid = os.fork()
    if pid == 0:
        child(kill_at)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    undo_interrupted()
    texts = [file.read_text() if file.exists() else None for file in files]
    left = [str(path) for path in place.rglob("*") if path.is_file() and path not in files and path.name != "lock"]
    found.append([code, texts, left])
    if code == 0:
        break
os.write(1, json.dumps(found).encode())
"""


@pytest.mark.slow
def test_an_add_that_is_killed_before_any_operation_on_a_file_is_whole_or_never_was(tmp_path: Path) -> None:
    """Every fork is one `add`: the first dies before its first operation, the last is not killed."""
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path), FLEET]
    done = subprocess.run(argv, capture_output=True, timeout=50, check=True)
    found: list[tuple[int, list[str | None], list[str]]] = json.loads(done.stdout)
    *killed, (code, whole, _) = found
    assert (code, whole[1], whole[2]) == (0, "API_KEY=s3cret-value\n", FLEET)
    assert len(killed) > 15
    assert {ended for ended, _, _ in killed} == {-9}
    before = [FLEET, None]
    kinds = [texts[:2] == before for _, texts, _ in killed]
    assert kinds == sorted(kinds, reverse=True), "once it counts, it counts"
    for _, texts, _ in killed:
        assert texts[:2] == before or texts[:2] == whole[:2], "the file of the fleet and that of its secrets go together"
    left = {Path(name).name for _, _, names in found for name in names}
    assert all(name.startswith(".journal.json.") for name in left), (
        "nothing beside the files; the next edit sweeps the journal's own"
    )
    assert found[-1][2] == []
