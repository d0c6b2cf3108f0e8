"""`up` reads arguments and configuration in a process that ends: what it says and what it leaves with are the full program's."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mcpwatch.cli import fast, main
from mcpwatch.model.errors import McpwatchError

pytestmark = pytest.mark.slow

FLEET = """
version: 1
web: false
proxy: false
members:
  plain: {process: {command: sleep, args: ["1"]}, route: false}
"""
# The program up to where the watchdog would run; before it, what makes trouble.
CODE = """
import os, signal, sys
from mcpwatch import __main__
from mcpwatch.cli import begin
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
exec(sys.argv[1])
sys.argv = ["mcpwatch", *sys.argv[2:]]

def run(options, plan):
    print(os.getpid(), *[member.name for member in plan.members], options.watch_config, options.config.name)
    return 7

begin.run = run
__main__.main()
"""


def up(directory: Path, *arguments: str, before: str = "", text: str = FLEET) -> tuple[int, str, str, int]:
    """Exit code, output, errors, and the pid of the process that was begun."""
    file = directory / "fleet.yaml"
    file.write_text(text, encoding="utf-8")
    argv = [sys.executable, "-c", CODE, before, "--state-dir", str(directory / "state"), "up", "-c", str(file), *arguments]
    with subprocess.Popen(argv, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        said, errors = child.communicate(timeout=60)
    return child.returncode, said, errors, child.pid


@pytest.mark.parametrize(
    "trouble",
    [
        "",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "os.fork = lambda: (_ for _ in ()).throw(OSError(11, 'no process left'))",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        "begin.hand_over = lambda *_: os.kill(os.getpid(), signal.SIGKILL) if begin.Handover.target is not None else None",
    ],
    ids=["nothing", "children are ignored", "there is no room for a process", "threads run", "that process is killed"],
)
def test_the_watchdog_runs_in_the_process_that_was_begun_whatever_happens_to_the_one_that_reads(
    tmp_path: Path, trouble: str
) -> None:
    before = f"from mcpwatch.cli import up\nup.run = lambda *a: begin.run(*a)\n{trouble}"
    before += "\nup.hand_over = lambda *a: begin.hand_over(*a)"
    code, said, errors, pid = up(tmp_path, "--no-watch-config", before=before)
    assert (code, said, errors) == (7, f"{pid} plain False fleet.yaml\n", "")


def test_a_faulty_file_is_told_once_with_its_exit_code(tmp_path: Path) -> None:
    code, said, errors, _ = up(tmp_path, text=FLEET.replace("proxy: false", "proxi: false"))
    assert (code, said) == (3, "")
    assert errors == f"mcpwatch: {tmp_path}/fleet.yaml:4: proxi: unknown key; did you mean 'proxy'?\n"


def test_a_wrong_option_is_told_as_by_any_command(tmp_path: Path) -> None:
    code, said, errors, _ = up(tmp_path, "--log-format", "jsn")
    assert (code, said) == (2, "")
    assert "Invalid value for '--log-format': 'jsn' is not one of" in errors


def test_an_error_of_the_watchdog_itself_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    raising = "from mcpwatch.model.errors import McpwatchError"
    raising += "\ndef run(*_):\n    raise McpwatchError('somebody else watches')"
    code = CODE.replace("begin.run = run", f"{raising}\nbegin.run = run")
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET, encoding="utf-8")
    argv = [sys.executable, "-c", code, "", "--state-dir", str(tmp_path / "state"), "up", "-c", str(file)]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (McpwatchError.exit_code, "mcpwatch: somebody else watches\n")


def test_ctrl_c_while_it_reads_ends_both_processes_with_130(tmp_path: Path) -> None:
    before = "from mcpwatch.cli import up\ndef wait(*_):\n    print('reading', flush=True)\n    signal.pause()\nup._read = wait"
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET, encoding="utf-8")
    argv = [sys.executable, "-c", CODE, before, "--state-dir", str(tmp_path / "state"), "up", "-c", str(file)]
    begun = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert begun.stdout is not None
    assert begun.stdout.readline() == "reading\n"
    os.killpg(begun.pid, signal.SIGINT)
    assert begun.communicate(timeout=60) == ("", "")
    assert begun.returncode == 130


def test_only_shapes_of_up_that_the_full_program_takes_in_the_foreground_begin_a_watchdog() -> None:
    group: Any = get_command(main.app)
    up = group.commands["up"].params
    options: dict[str, Any] = {name: one for one in up for name in (*one.opts, *one.secondary_opts)}
    for name in fast.UP_VALUES:
        assert not options[name].is_flag
    for name in fast.UP_FLAGS:
        assert options[name].is_flag
    assert set(options) - {*fast.UP_VALUES, *fast.UP_FLAGS} == {"names", "--all", "--detach", "-d", "--wait", "--rehearse"}
    begun = [["up"], ["up", "-c", "up"], ["--state-dir", "s", "up", "--plain"], ["up", "--log-format", "json", "--no-watch-config"]]
    not_begun = [["up", one] for one in ("time", "--help", "-d", "--detach", "--rehearse", "--all", "-cfleet.yaml", "--config=f")]
    not_begun += [[], ["status"], ["--version", "up"], ["--state-dir", "up"], ["--url", "http://127.0.0.1:1", "up"]]
    for words, is_begun in itertools.chain(zip(begun, itertools.repeat(True)), zip(not_begun, itertools.repeat(False))):
        assert fast.begins(words) == is_begun, words
