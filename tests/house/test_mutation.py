"""The mutation test: no mutant reaches a process of this machine, and what is kept of a run is true of the code of today."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcpwatch.slow import VARIABLE
from tests.parts import ROOT
from tools import mutant_record
from tools.mutant_cell import ENDS, OUTSIDE
from tools.mutant_record import EQUIVALENT, Record, table
from tools.mutants import mutants

IN_CELL = """
import json, os
from tools.mutant_cell import enter
enter()
print(json.dumps(sorted(name for name in os.listdir("/proc") if name.isdecimal())))
"""


def cell(**variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IN_CELL]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=30)


@pytest.mark.skipif(sys.platform != "linux", reason="process namespaces are Linux's")
def test_mutants_see_no_process_of_this_machine_or_do_not_run() -> None:
    ended = cell()
    if not ended.returncode:
        assert json.loads(ended.stdout) == ["1", "2"]
    else:  # this machine lets nobody have a namespace
        assert (ended.stdout, "unshare" in ended.stderr) == ("", True)
    claimed = cell(**{OUTSIDE: str(Path("/proc/self/ns/pid").readlink())})
    assert (claimed.returncode, claimed.stdout) == (1, "")
    assert claimed.stderr == "no mutant runs without a process namespace of its own: this one is the machine's\n"
    missing = cell(PATH="")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "unshare of util-linux): [Errno 2]" in missing.stderr


IN_CELL_FOR_EVER = """
import os, sys, time
from tools.mutant_cell import enter
enter()
if not os.fork():
    os.setsid()
held = os.open(sys.argv[1], os.O_WRONLY)
os.write(held, b"here ")
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="process namespaces are Linux's")
@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_signal_ends_a_run_with_all_its_children(tmp_path: Path, number: signal.Signals) -> None:
    if cell().returncode:
        pytest.skip("this machine lets nobody have a namespace")
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    argv = [sys.executable, "-c", IN_CELL_FOR_EVER, str(fifo)]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL) as run:
        try:
            said = b""
            while said.count(b"here") < 2:
                assert select.select([held], [], [], 30)[0], said
                said += os.read(held, 64)
                assert run.poll() is None, "it runs"
            run.send_signal(number)
            assert run.wait(30) == 128 + number
            assert select.select([held], [], [], 30)[0]
            assert os.read(held, 64) == b"", "a child of it lives"
        finally:
            run.kill()
            os.close(held)


def test_a_kill_is_kept_while_its_file_is_the_same_and_a_survivor_while_the_tests_are_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutant_record, "ROOT", tmp_path)
    room, tests = tmp_path / "mcpwatch" / "room", tmp_path / "test_code.py"
    room.mkdir(parents=True)
    code = room / "code.py"
    code.write_text("def larger(a, b):\n    return a > b\n")
    tests.write_text("assert True\n")

    def record() -> Record:
        return Record(tmp_path / "kept", [tests])

    dead, alive = mutants(code)
    record().add(dead, 3, killed=True)
    record().add(alive, 3, killed=False)
    assert [record().tests(mutant) for mutant in (dead, alive)] == [-1, 3]
    assert [record().stands(mutant, 3) for mutant in (dead, alive)] == [True, True]
    assert [record().stands(mutant, 4) for mutant in (dead, alive)] == [True, False]
    lines, score = table("room", [dead, alive], record())
    assert (score, lines[0]) == (50.0, f"survived 3 tests, line 2: mcpwatch/room/code.py: return a > b: {alive.text}")
    assert lines[-2].startswith("| code.py | 2 | 1 | 0 | 0 | 50.0 % |")
    tests.write_text("assert 1\n")
    assert [record().stands(mutant, 3) for mutant in (dead, alive)] == [True, False]
    assert table("room", [dead, alive], record())[1] == 50.0, "until it is tried again it counts as it was"
    code.write_text("def larger(a, b):\n    return b > a\n")
    assert [record().tests(mutant) for mutant in mutants(code)] == [None, None]
    assert table("room", mutants(code), record())[0][-2].startswith("| code.py | 2 | 0 | 0 | 2 | 0.0 % |")


def test_a_line_that_was_cut_costs_its_own_mutant_only(tmp_path: Path) -> None:
    code, kept = ROOT / "mcpwatch" / "watchdog" / "order.py", tmp_path / "kept"
    first, second, third, *_ = mutants(code)
    Record(kept, []).add(first, 3, killed=True)
    Record(kept, []).add(second, 3, killed=True)
    whole = kept.read_bytes()
    for cut in (1, 2, whole.index(b"\n") // 2):
        kept.write_bytes(whole[:-cut])
        resumed = Record(kept, [])
        resumed.add(third, 4, killed=False)
        assert resumed.tests(third) == 4, "without reading it again"
        resumed.read()
        assert [resumed.tests(mutant) for mutant in (first, second, third)] == [-1, -1 if cut == 1 else None, 4]
        assert resumed.stands(second, 0) is (cut == 1)


def test_each_mutant_said_to_be_equivalent_is_of_a_line_that_is_there_and_has_a_reason() -> None:
    for line in EQUIVALENT.read_text().splitlines():
        name, _, reason = line.partition("  # ")
        path, _, change = name.partition(": ")
        assert reason
        assert any(code.strip() and change.startswith(f"{code.strip()}: ") for code in (ROOT / path).read_text().splitlines()), line


def test_a_slow_mutant_is_not_told_to_those_after_it() -> None:
    program = "from tools.mutant_tests import quiet\nfrom tests.held import Held\nimport os, sys\n"
    program += "quiet()\nheld = Held()\nheld.begin()\n"
    program += "if not os.fork():\n    held._tell('slow')\n    os._exit(0)\nos.wait()\nsys.exit(len(held.fresh()))\n"
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, timeout=60).returncode == 0
