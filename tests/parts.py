"""Where the real parts are: programs that tests run against, and why one is absent. `.ci/parts` installs them all."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(os.environ.get("MCPWATCH_PARTS", ROOT / ".parts"))
SERVERS = ROOT / ".servers" / "bin"

PROGRAMS: dict[str, Path | str] = {
    "tbxark": PARTS / "tbxark-a" / "mcp-proxy",
    "tbxark-new": PARTS / "tbxark-new" / "mcp-proxy",
    "sparfenyuk": PARTS / "sparfenyuk" / "bin" / "mcp-proxy",
    "npm": PARTS / "npm" / "node_modules" / ".bin" / "mcp-server-everything",
    "fastmcp": PARTS / "fastmcp" / "bin" / "python",
    "conformance-next": PARTS / "npm" / "node_modules" / "conformance-next" / "dist" / "index.js",
    "node22": PARTS / "npm" / "node_modules" / ".bin" / "node",
    "claude": PARTS / "clients" / "node_modules" / ".bin" / "claude",
    "codex": PARTS / "clients" / "node_modules" / ".bin" / "codex",
    "gemini": PARTS / "clients" / "node_modules" / ".bin" / "gemini",
    "qwen": PARTS / "clients" / "node_modules" / ".bin" / "qwen",
    "copilot": PARTS / "clients" / "node_modules" / ".bin" / "copilot",
    "cn": PARTS / "clients" / "node_modules" / ".bin" / "cn",
    "cline": PARTS / "clients" / "node_modules" / ".bin" / "cline",
    "opencode": PARTS / "clients" / "node_modules" / "opencode-linux-x64" / "bin" / "opencode",
    "mcp-remote": PARTS / "npm" / "node_modules" / ".bin" / "mcp-remote",
    "inspector": PARTS / "npm" / "node_modules" / ".bin" / "mcp-inspector",
    "mcpo": PARTS / "mcpo" / "bin" / "mcpo",
    "litellm": PARTS / "litellm" / "bin" / "litellm",
    "open-webui": PARTS / "open-webui" / "bin" / "open-webui",
    "compose": PARTS / "trixie" / "docker-compose",
    "kubernetes-schema": PARTS / "kubernetes-schema" / "bin" / "kubernetes-validate",
    "systemd-analyze": "systemd-analyze",
    "quadlet": PARTS / "trixie" / "quadlet",
    "kubernetes": PARTS / "kubernetes" / "kube-apiserver",
    "kube-apiserver": PARTS / "kubernetes" / "kube-apiserver",
    "kube-controller-manager": PARTS / "kubernetes" / "kube-controller-manager",
    "kube-scheduler": PARTS / "kubernetes" / "kube-scheduler",
    "kubectl": PARTS / "kubernetes" / "kubectl",
    "helm": PARTS / "helm" / "helm",
    "kwok": PARTS / "kubernetes" / "kwok",
    "etcd": PARTS / "kubernetes" / "etcd",
    "node": "node",
    "jq": "jq",
    "prometheus": "prometheus",
    "promtool": "promtool",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "amtool",
    "chromium": "chromium",
    "faketime": "faketime",
}
"""Part name to its program: a path, or a name looked up on PATH."""

ASKED_FOR = frozenset({"kubernetes", "helm", "open-webui"})
"""Parts that take long to build or are large: `.ci/parts` makes them when named, and `MCPWATCH_REQUIRE=all` does not mean them."""


FILES = {
    "logql": PARTS / "logql" / "node_modules" / "@grafana" / "lezer-logql" / "index.cjs",
    "catalogue": PARTS / "catalogue" / "absent.json",
    "axe": PARTS / "axe" / "node_modules" / "axe-core" / "axe.min.js",
}
"""Part name to a file of it that is not run by itself."""

IMAGES = {
    "base-image": "mcpwatch-base:bookworm",
    "reference-fleet": "mcpwatch-reference-fleet:test",
    "own-image": "mcpwatch:test",
    "systemd": "mcpwatch-systemd:test",
}
"""Part name to an image on the Docker engine."""


def program(part: str) -> Path:
    """The program of a part. Raises `LookupError` when it is absent."""
    where = PROGRAMS[part]
    found = shutil.which(str(where))
    if not found:
        raise LookupError(f"{part}: {where} is not installed; run .ci/parts")
    return Path(found)


def server(name: str) -> Path:
    """A real MCP server from PyPI, e.g. `mcp-server-time`, as `make dev` installs it."""
    return SERVERS / name


def faked_clock(offset: Path) -> dict[str, str]:
    """The environment in which a program's wall clock is off by what `offset` says (`+3600`, seconds), read at every look.

    Its monotonic clocks run on. `time.sleep` does not work in such a program (a fault of libfaketime); waits of asyncio do.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
        "NO_FAKE_STAT": "1",
        "MCPWATCH_SLOW_CALLBACK": "0",  # each look at a clock reads the file: what takes long there is not ours
    }


def missing(part: str) -> str:
    """Why a part cannot be used here, or the empty string."""
    if part == "docker":
        return "" if Path("/var/run/docker.sock").exists() else "no Docker engine on /var/run/docker.sock; run .ci/parts"
    if part in IMAGES:
        return _no_image(IMAGES[part])
    if part in FILES:
        return "" if FILES[part].exists() else f"no {FILES[part]}; run .ci/parts {part}"
    if part == "loki":
        return "" if os.environ.get("MCPWATCH_TEST_LOKI_URL") else "MCPWATCH_TEST_LOKI_URL names no push URL of a Loki"
    if part == "swarm-nodes":
        return "" if os.environ.get("MCPWATCH_CLUSTER") else "needs root and five minutes alone; run make cluster"
    if part == "root":
        return "" if os.geteuid() == 0 else "needs root"
    if part == "mount":
        return _no_mount()
    if part == "other-user":
        return _refused(*as_other_user(), "prlimit", "--nproc")
    if part == "proc-mount":
        return _refused("unshare", "--mount", "mount", "-t", "proc", "-o", "hidepid=invisible", "proc", "/proc")
    if part == "user-namespace":
        return _no_user_namespace()
    if part == "pids-group":
        return "" if os.access(pids_group().parent, os.W_OK) and os.geteuid() == 0 else "no writable control group for processes"
    try:
        program(part)
    except LookupError as error:
        return str(error)
    return ""


@functools.cache
def _no_mount() -> str:
    """Why this process cannot mount a small disk of its own, or the empty string."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            subprocess.run(["umount", place], check=True)
        return done.stderr.strip()


OTHER_USER = 54321
"""Number of a user who owns nothing here."""


def as_other_user() -> list[str]:
    """A command before another: it runs as another user, who may read and run what root may, and nothing more."""
    may = "+dac_override,+dac_read_search"
    who = [f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"]
    return ["setpriv", *who, *(f"--{which}=-all,{may}" for which in ("inh-caps", "ambient-caps", "bounding-set")), "--"]


def _no_user_namespace() -> str:
    """Why no user namespace can be made here, or the empty string."""
    return _refused("unshare", "--user", "--map-root-user", "true")


@functools.cache
def _refused(*command: str) -> str:
    """What a command says that fails here, or the empty string."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} failed"


def pids_group(name: str = "mcpwatch-test") -> Path:
    """Where a control group that counts processes would be: version 1, or version 2 with that controller given to children."""
    home = Path("/sys/fs/cgroup/pids")
    return (home if home.is_dir() else Path("/sys/fs/cgroup")) / name


@functools.cache
def _no_image(name: str) -> str:
    """Why an image cannot be used here, or the empty string."""
    try:
        done = subprocess.run(["docker", "image", "inspect", name], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"no docker command line: {error}"
    return "" if done.returncode == 0 else f"no image {name}; run .ci/parts"
