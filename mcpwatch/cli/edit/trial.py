"""Trying a server before it counts: by itself where that shows all, else by a watchdog of its own with that one member.

That watchdog has a scratch directory and a gateway, and says why a server does not answer. The fleet is not touched. It ends with
this process, also when that is killed (parent death signal on Linux).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mcpwatch import journal
from mcpwatch.app.kinds import all_kinds
from mcpwatch.cli.control import ControlSettings, call, stream
from mcpwatch.cli.edit.alone import ANSWERED, results_alone
from mcpwatch.cli.edit.proof import durations, one_of
from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import ConfigError, McpwatchError, NoDaemon
from mcpwatch.model.probe import Symptom
from mcpwatch.model.spec import Plan
from mcpwatch.runtimes.lock import runs
from mcpwatch.telemetry.redact import Redactor

TRIAL_WAIT = 120.0
"""Seconds that a server is given by default to answer its first handshake: `uvx` and `npx` download at the first start."""

PREFIX = "mcpwatch-try-"
"""Begins the name of a directory for a trial; the pid of the command follows, so that those of killed ones are swept."""
_PAUSE = 0.1
_DIAGNOSED = 4.0
"""Seconds for which a diagnosis must stand before the trial is called off."""
_ENDS = 3
"""Starts after which a server that always ends is given up."""
_STOP = 30.0
_LEAST = 10.0
"""Seconds that the whole trial of a server gets at least, which did not answer by itself."""

_PROGRAM = (
    "import sys\n"
    "if sys.platform == 'linux':\n"
    "    import ctypes; ctypes.CDLL(None).prctl(1, 15)\n"
    "sys.argv[0] = 'mcpwatch'\n"
    "from mcpwatch.__main__ import main\n"
    "main()\n"
)


class TrialFailed(McpwatchError):
    """The server did not answer as it must; nothing was changed."""

    exit_code = 1


class TrialTimedOut(TrialFailed):
    """The server neither answered nor ended in the time it was given."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a server showed: its tools by name, what the list weighs in a model's context, and how long it took.

    `seconds`: from its start to its first proof, as `durations` counts them; each further check of one tried alone starts it anew.
    """

    tools: tuple[str, ...]
    tokens: int
    seconds: float

    @property
    def text(self) -> str:
        """In a few words."""
        some = f": {', '.join(self.tools[:8])}{' …' if len(self.tools) > 8 else ''}" if self.tools else ""
        return f"answers with {len(self.tools)} tool{'s' * (len(self.tools) != 1)}, about {self.tokens} tokens{some}"


def try_member(
    name: str, member: Mapping[str, Any], base: Path, env_files: Sequence[Path], values: Mapping[str, str], wait: float = TRIAL_WAIT
) -> Trial:
    """Start the member, run every check of it, and stop it. `base`: where relative paths begin.

    `values` are variables beside those of the environment. Raises `TrialFailed` with the cause and its last lines.
    """
    _sweep()
    scratch = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    plan: Plan | None = None
    try:
        config = scratch / "trial.json"
        config.write_text(json.dumps(_config(name, member, base, env_files, wait)), encoding="utf-8")
        config.chmod(0o600)
        began = time.monotonic()
        plan = _plan(config, values)
        trial = _alone(name, plan, base if base.is_dir() else scratch, wait) if plan else None
        if trial is not None:
            return trial
        wait = max(_LEAST, wait - (time.monotonic() - began))
        with _watchdog(scratch, config, base, values) as process, _settings(scratch / "state"):
            return _proved(name, process, scratch, wait)
    except TrialFailed as error:
        hidden = Redactor((*values.values(), *(plan.secrets if plan else ())))
        raise type(error)(hidden.known(str(error))) from None  # a server may say its secrets
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _plan(config: Path, values: Mapping[str, str]) -> Plan | None:
    """The plan of the trial; `None` where it has a fault: the whole trial says which."""
    with contextlib.suppress(ConfigError):
        return load_plan(config, all_kinds(), {**values, **os.environ}, config.parent / "state")
    return None


def _alone(name: str, plan: Plan, base: Path, wait: float) -> Trial | None:
    """What the server shows by itself, if it answers. Raises `TrialTimedOut` when it says nothing in time."""
    results = results_alone(name, plan, base, wait)
    if results and all(result.outcome in ANSWERED for result in results):
        first = results[0]
        return Trial(tuple(tool.name for tool in first.tools or ()), first.tokens or 0, first.seconds)
    if results and results[-1].symptom is Symptom.TIMEOUT:
        said = f"\n    {results[-1].said}" if results[-1].said else ""
        raise TrialTimedOut(f"{name}: no proof within {wait:g}s; {results[-1].message}{said}")
    return None


def _config(name: str, member: Mapping[str, Any], base: Path, env_files: Sequence[Path], wait: float) -> dict[str, Any]:
    alone = {key: value for key, value in member.items() if key not in ("depends_on", "enabled", "auth", "route", "start_grace")}
    if "bridge" in alone:
        alone["bridge"] = {**alone["bridge"], "listen": f"127.0.0.1:{_free_port()}"}
    for key in ("stdio", "process"):
        if isinstance(alone.get(key), dict):
            alone[key] = _placed(cast("dict[str, Any]", alone[key]), base)
    if isinstance(alone.get("ca_file"), str):
        alone["ca_file"] = str(base / alone["ca_file"])
    return {
        "version": 1,
        "env_file": [str(path) for path in env_files if path.exists()],
        "proxy": {"kind": "gateway", "name": "trial-gateway", "listen": f"127.0.0.1:{_free_port()}"},
        "members": {name: alone},
        "defaults": {"start_grace": wait, "check": {"interval": "1s", "failure_threshold": 1}},
    }


def _placed(block: dict[str, Any], base: Path) -> dict[str, Any]:
    """Relative paths of a command made absolute: the scratch file is elsewhere."""
    made = dict(block)
    if str(made.get("command", "")).startswith(("./", "../")):
        made["command"] = str(base / made["command"])
    if isinstance(made.get("cwd"), str):
        made["cwd"] = str(base / Path(made["cwd"]).expanduser())
    if made.get("env_file"):
        written = made["env_file"]
        made["env_file"] = [str(base / one) for one in ([written] if isinstance(written, str) else written)]
    return made


@contextlib.contextmanager
def _watchdog(scratch: Path, config: Path, base: Path, values: Mapping[str, str]) -> Generator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", _PROGRAM, "--state-dir", str(scratch / "state"), "up", "--plain", "--no-watch-config"]
    with (scratch / "out.txt").open("wb") as output:
        process = subprocess.Popen(
            [*argv, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**values, **os.environ},
            cwd=base if base.is_dir() else scratch,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _settings(state: Path) -> Generator[None]:
    """Commands go to the watchdog on `state`."""
    before, ControlSettings.state_dir = ControlSettings.state_dir, state
    try:
        yield
    finally:
        ControlSettings.state_dir = before


def _proved(name: str, process: subprocess.Popen[bytes], scratch: Path, wait: float) -> Trial:
    began, diagnosed = time.monotonic(), 0.0
    route: dict[str, Any] = {}
    while time.monotonic() < began + wait:
        if process.poll() is not None:
            said = (scratch / "out.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise TrialFailed(f"{name}: the trial could not begin: {said[-1] if said else f'exit code {process.returncode}'}")
        try:
            status: dict[str, Any] = call("GET", "/status", timeout=5.0)
        except (NoDaemon, McpwatchError):
            time.sleep(_PAUSE)
            continue
        member = one_of(status["members"], "name", name) or {}
        route = one_of(status["routes"], "member", name) or {}
        if route.get("verdict") in ("healthy", "degraded"):
            return _listed(name, time.monotonic() - began)
        wrong = bool(status["diagnoses"]) and member.get("phase") != "starting"
        diagnosed = (diagnosed or time.monotonic()) if wrong else 0.0
        ended = member.get("last_exit") and (member.get("phase") in ("failed", "backoff") or member.get("restarts", 0) >= _ENDS)
        if ended or (diagnosed and time.monotonic() - diagnosed > _DIAGNOSED):
            raise TrialFailed(_why(name, status, scratch))
        time.sleep(_PAUSE)
    try:
        why = _why(name, call("GET", "/status"), scratch)
    except McpwatchError:
        why = "the trial had not begun: this machine is busy, or give it more time with --timeout"
    raise TrialTimedOut(f"{name}: no proof within {wait:g}s; {why}")


def _listed(name: str, seconds: float) -> Trial:
    """Run every check of the route once more, canaries included, and count what it lists. `seconds`: what the trial took."""
    for result in call("POST", "/probe", {"name": name, "vantage": "route"}):
        if result["outcome"] == "failure":
            raise TrialFailed(f"{name}: check {result['check']}: {result['symptom']}: {result['message']}")
    seen: list[dict[str, Any]] = call("GET", f"/tools/{name}")
    tools: dict[str, Any] = one_of(seen, "vantage", "route") or {"contract": {}, "tokens": 0}
    names = tuple(str(tool["name"]) for tool in tools["contract"].get("tools", []))
    return Trial(names, int(tools["tokens"] or 0), _first_proof(name, seconds))


def _first_proof(name: str, most: float) -> float:
    """Seconds from the server's start to its first proof, or `most` where it was proved but its start is not known."""
    facts = stream("/events", limit="1000", member=name)
    return max((seconds for seconds, cut in durations(facts) if not cut), default=most)


def _why(name: str, status: dict[str, Any], scratch: Path) -> str:
    """The cause in one line, and the last lines that the server wrote."""
    member = one_of(status["members"], "name", name) or {}
    route = one_of(status["routes"], "member", name) or {}
    cause = next((str(found["text"]) for found in status["diagnoses"]), "")
    told = f"{route['symptom']}: {route['message']}" if route.get("symptom") else ""
    parts = [part for part in (member.get("last_exit"), cause, told) if part]
    lines: list[str] = []
    with contextlib.suppress(McpwatchError, OSError):
        lines = [line.text for line in journal.read(scratch / "state", name, ("stderr",), 5, None)]
    text = parts[0] if parts else f"it is {member.get('phase', 'unknown')}"
    text += f" ({told})" if told and told not in text and not member.get("last_exit") else ""
    return "\n".join([text if text.startswith(name) else f"{name}: {text}", *(f"    {line}" for line in lines)])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _sweep() -> None:
    """Remove what trials that were killed left behind."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if time.time() - left.stat().st_mtime > _STOP * 2 and not runs(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
