"""What the pages presuppose: files of a home, programs that are not on this machine, and the fleets that run. Data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.house.console.blocks import ROOT

UVX = """\
#!/bin/sh
# stands where uvx is: the servers of this checkout, whatever version is asked for
while case ${1:-} in -*) true;; *) false;; esac; do case $1 in --python|--with|--from) shift;; esac; shift; done
program=${1%%=*}; shift; exec "${program%%@*}" "$@"
"""
NPX = """\
#!/bin/sh
# stands where npx is: the servers of this machine, whatever version is asked for
while case ${1:-} in -*) true;; *) false;; esac; do shift; done
program=${1##*/}; shift; exec "@NPM@/mcp-${program%%@*}" "$@"
"""
KUBECTL = """\
#!/bin/sh
# stands where a cluster is: the published schema of Kubernetes reads what would be applied
[ "$*" = "apply -f -" ] && cat >/tmp/manifest-$$.yaml && "@SCHEMA@" --strict -k 1.33 /tmp/manifest-$$.yaml; code=$?
rm -f /tmp/manifest-$$.yaml; exit $code
"""
PROGRAMS = {"uvx": UVX, "npx": NPX, "kubectl": KUBECTL}
"""Name to text of programs in the home's `bin`."""

_CLOCK = {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}
_CONFIG = {
    "mcpProxy": {"baseURL": "http://127.0.0.1:9190", "addr": ":9190", "name": "p", "version": "1"},
    "mcpServers": {"time": {"command": "mcp-server-time"}},
}
FILES = {
    ".cursor/mcp.json": json.dumps({"mcpServers": {"clock": _CLOCK}}, indent=2),
    ".codex/config.toml": 'model = "x"\n',
    ".config/mcpwatch/contexts.yaml": "contexts:\n  here: {state_dir: ~/.local/state/mcpwatch}\n",
    "work/config.json": json.dumps(_CONFIG),
    "work/mcp-servers.json": json.dumps({"mcpServers": _CONFIG["mcpServers"]}),
    "work/compose.yaml": "services:\n  fetch: {image: 'mcp/fetch', ports: ['127.0.0.1:8099:8099']}\n",
}
"""Path from the home to text of what every home has."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One state of the home. `files`: more of them; `made`: commands that bring it about; `routes`: all that must be healthy."""

    name: str
    files: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    made: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a watchdog runs it, so that it can be used again as it is."""
        return bool(self.routes)


_MEMBERS = """\
members:
  time:   # the clock
    stdio: {command: mcp-server-time}
  fetch: {stdio: {command: mcp-server-fetch}}
  git: {stdio: {command: mcp-server-git}}
"""
_REST = """\
clients:
  - {kind: claude-code, hold_up: 100ms}
  - {kind: cursor, hold_up: 100ms}
  - {kind: vscode, hold_up: 100ms}
alerts:
  receivers: {ops: {kind: log}}
  route: {receiver: ops, for: 0, group_wait: 0}
"""
_WHOLE = f"version: 1\nproxy: {{listen: 127.0.0.1:9090}}\n{_MEMBERS}{_REST}"
_UP = "mcpwatch up --detach --wait"


def _both(text: str, **more: str) -> dict[str, str]:
    """The file under both of its names in the pages."""
    return {"work/mcpwatch.yaml": text, "work/fleet.yaml": text, **{f"work/{name}": one for name, one in more.items()}}


RUNNING = Fleet("running", _both(_WHOLE), (_UP, "mcpwatch sync --force"), ("time", "fetch", "git"))
QUICKSTART = Fleet(
    "quickstart", _both((ROOT / "examples" / "quickstart.yaml").read_text(encoding="utf-8")), (_UP,), ("time", "fetch", "git")
)
STOPPED = Fleet("stopped", _both(_WHOLE))
EMPTY = Fleet("empty")
"""A home without a fleet."""
OTHER = Fleet(
    "other",
    _both("version: 1\nproxy: {listen: 127.0.0.1:9090}\nmembers:\n  other: {stdio: {command: mcp-server-time}}\n"),
    (_UP,),
    ("other",),
)
"""A fleet that lacks the servers of the pages."""
GUARDED = Fleet(
    "guarded",
    {
        **_both(
            f'version: 1\nenv_file: .env\nproxy: {{listen: 127.0.0.1:9090, auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}\n{_MEMBERS}'
        ),
        "work/.env": "MCP_PROXY_TOKEN=tok-of-the-console\n",
    },
    (_UP,),
    ("time", "fetch", "git"),
)
"""A fleet whose proxy asks for a token."""
BROKEN = Fleet(
    "broken",
    _both(_WHOLE.replace("mcp-server-fetch", "'false'")),
    ("mcpwatch up --detach", "until { mcpwatch alerts list --json || true; } | grep -q fetch; do sleep 0.2; done"),
)
"""A fleet in which a server cannot start, and a person was told."""
ARCHIVE = "mcpwatch-20261129T030000Z.tar.gz"
SAVED = replace(
    STOPPED,
    name="saved",
    made=(
        "rm -rf /mnt/usb /mnt/backup; mkdir -p /mnt/usb /mnt/backup/mcp",
        "mcpwatch backup create --secrets --dir /mnt/usb",
        f"mv /mnt/usb/*.tar.gz /mnt/usb/{ARCHIVE} && cp /mnt/usb/{ARCHIVE} /mnt/backup/mcp",
    ),
)
"""A fleet with an archive of it, under the name that the pages use."""
LOST = replace(SAVED, name="lost", made=(*SAVED.made, "rm -rf ~/work/* ~/work/.git ~/.local"))
"""A fresh machine and the archive."""
CLUSTER = Fleet(
    "cluster",
    _both(
        "version: 1\nproxy: {listen: 127.0.0.1:9090}\nmembers:\n"
        "  pg: {kubernetes: {image: 'mcp/pg:1', port: 8000}, url: 'http://pg.mcp.svc:8000/sse'}\n"
    ),
)
