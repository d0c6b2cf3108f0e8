"""The plan that a process of its own hands over is the plan; what that process cannot do is done again, and told the same."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.app.kinds import all_kinds
from mcpwatch.registry import KindSpec
from tests.parts import ROOT

pytestmark = pytest.mark.slow

# A program without threads, as `apart` wants it; a test runner has some.
CODE = """
import json, os, signal, sys
from pathlib import Path
from mcpwatch.app import plan_reader
from mcpwatch.model.errors import ConfigError
exec(sys.argv[1])
state, said = Path(sys.argv[2]), {"loaded": None}
for name in sys.argv[3:]:
    try:
        apart = plan_reader.apart(Path(name), lambda: plan_reader.read_plan(Path(name), state))
        if said["loaded"] is None:
            said["loaded"] = [one for one in sys.modules if one.startswith(("mcpwatch.config.", "mcpwatch.app.kinds", "ruamel"))]
        said[name] = "same" if apart == plan_reader.read_plan(Path(name), state) else "another"
    except ConfigError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
EVERY = """
version: 1
proxy: {kind: gateway, listen: "127.0.0.1:19090", auth: {tokens: [a-token-of-enough-length]}}
members:
  time: {stdio: {command: sh}, checks: {mcp: {expect: {tools: [a]}}, port: {kind: tcp}}}
  box: {docker: {image: "time:1", ports: ["19091:80"]}, url: "http://127.0.0.1:19091/sse"}
  plain: {process: {command: sh, args: ["-c", "exit 0"]}, route: false}
clients: [{kind: claude-code}]
alerts: {receivers: {ops: {kind: webhook, url: "http://127.0.0.1:1/"}}, silences: [{match: {member: time}}]}
telemetry: {metrics: {listen: "127.0.0.1:19464"}, loki: {url: "http://127.0.0.1:3100/loki/api/v1/push"}}
backup: {cron: "@daily"}
logs: {keep: 3}
web: {listen: "127.0.0.1:19465"}
"""


def read(directory: Path, *files: Path, before: str = "") -> dict[str, Any]:
    argv = [sys.executable, "-c", CODE, before, str(directory / "state"), *map(str, files)]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict[str, Any](json.loads(done.stdout))


def written(directory: Path, text: str) -> Path:
    file = directory / "fleet.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_plan_with_every_room_s_section_comes_over_whole_and_loads_no_parser(tmp_path: Path) -> None:
    file = written(tmp_path, EVERY)
    assert read(tmp_path, file) == {"loaded": [], str(file): "same"}


def test_the_plans_of_the_examples_come_over_whole(tmp_path: Path) -> None:
    files = [*ROOT.glob("examples/*.yaml"), *ROOT.glob("examples/topologies/*.yaml")]
    said = read(tmp_path, *files)
    told = [said[str(file)] for file in files]
    assert "same" in told
    assert "another" not in told  # what needs variables that are not set here is told by its faults


@pytest.mark.parametrize(
    "trouble",
    [
        "plan_reader.pickle.dumps = lambda *_: b'cut'",
        "os.fork = lambda: (_ for _ in ()).throw(OSError(11, 'no process left'))",
        "plan_reader._hand_over = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    ],
    ids=["what it says is cut off", "there is no room for a process", "it is killed", "threads run, which a fork would lose"],
)
def test_without_that_process_the_plan_is_read_here(tmp_path: Path, trouble: str) -> None:
    file = written(tmp_path, EVERY)
    said = read(tmp_path, file, before=trouble)
    assert said[str(file)] == "same"
    assert "mcpwatch.config.load" in said["loaded"]


def test_a_parent_that_ignores_its_children_gets_the_plan(tmp_path: Path) -> None:
    file = written(tmp_path, EVERY)
    assert read(tmp_path, file, before="signal.signal(signal.SIGCHLD, signal.SIG_IGN)") == {"loaded": [], str(file): "same"}


def test_a_parent_that_is_killed_leaves_no_process_that_waits_for_it(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from mcpwatch.app import plan_reader

def work() -> bytes:
    print("reading", flush=True)
    sys.stdin.readline()
    return bytes(1_000_000)

plan_reader.apart(Path(sys.executable), work)
"""
    begun = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert begun.stdin is not None
    assert begun.stdout is not None
    assert begun.stdout.readline() == "reading\n"
    begun.kill()
    begun.wait()
    begun.stdin.write("go on\n")
    begun.stdin.flush()
    assert begun.stdout.read() == ""  # ends when nobody has it any more
    begun.stdin.close()
    begun.stdout.close()


def test_a_place_that_cannot_even_be_looked_at_is_told_as_one_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mcpwatch", "--state-dir", str(tmp_path), "up", "-c", str(tmp_path / ("a" * 300))]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "File name too long" in done.stderr


def test_a_faulty_file_is_told_with_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, EVERY.replace("keep: 3", "kep: 3"))
    assert read(tmp_path, file)[str(file)] == f"{file}:12: logs.kep: unknown key; did you mean 'keep'?"


def test_a_reload_after_the_code_on_disk_has_changed_says_what_to_do(tmp_path: Path) -> None:
    file = written(tmp_path, EVERY)
    said = read(tmp_path, file, before="sys.modules['mcpwatch.config.load'] = None")
    assert said[str(file)].startswith(f"{file}: cannot be read by the code that is on disk now (")
    assert said[str(file)].endswith("; run 'mcpwatch upgrade'")


def test_a_configuration_from_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = "print(len(up._read(Path(sys.argv[2]), Path(sys.argv[1]))[0].members))"
    code = f"import sys\nfrom pathlib import Path\nfrom mcpwatch.cli import up\n{code}"
    argv = [sys.executable, "-c", code, str(tmp_path), str(pipe)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        pipe.write_text(EVERY, encoding="utf-8")
        assert child.communicate(timeout=60)[0].strip() == "4"


def test_a_start_reads_the_configuration_once(tmp_path: Path) -> None:
    file = written(tmp_path, EVERY)
    code = """
import sys
from pathlib import Path
from mcpwatch.cli import up
opened = []
sys.addaudithook(lambda event, about: opened.append(event) if event == "open" and about[0] == sys.argv[2] else None)
plan, told = up._read(Path(sys.argv[2]), Path(sys.argv[1]))
print(len(plan.members), told, opened)
"""
    argv = [sys.executable, "-c", code, str(tmp_path / "state"), str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "4 [] ['open']", done.stderr


def specs() -> list[Any]:
    kinds = all_kinds()
    rooms = (*kinds.checks, *kinds.runtimes, *kinds.proxies, *kinds.notifiers, *kinds.clients)
    importlib.import_module("mcpwatch.config.models")  # else it depends on the other tests which are known
    found: set[Any] = {*(kind.spec for kind in rooms), *(spec for _, spec in kinds.sections)}
    todo = list(KindSpec.__subclasses__())
    while todo:
        found.add(one := todo.pop())
        todo += one.__subclasses__()
    made = [one for one in found if issubclass(one, KindSpec) and one.__module__.startswith("mcpwatch.")]
    return sorted(made, key=lambda one: (one.__module__, one.__name__))


@pytest.mark.parametrize("spec", [one for one in specs() if not any(info.is_required() for info in one.model_fields.values())])
def test_what_nobody_wrote_is_what_an_empty_section_means(spec: type[KindSpec]) -> None:
    try:
        empty = spec.model_validate({})
    except ValueError:
        return  # it must say something, so that nothing stands for it
    assert spec.unwritten() == empty
    assert spec.unwritten().model_fields_set == empty.model_fields_set
