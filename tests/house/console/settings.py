"""For each block: the fleet it presupposes, and what cannot be as written; a block not named here runs on `RUNNING`. Data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.house.console.blocks import Block
from tests.house.console.fleets import (
    ARCHIVE,
    BROKEN,
    CLUSTER,
    EMPTY,
    GUARDED,
    LOST,
    OTHER,
    QUICKSTART,
    RUNNING,
    SAVED,
    STOPPED,
    Fleet,
)

GUIDES = "docs/how-to"
CLI = "docs/reference/cli.md"
ADD = f"{GUIDES}/add-servers.md"
NOT_RUN = {
    "make test": "it is the suite that this test is part of",
    "make setup": "a test would install into the checkout that the suite runs from",
}
"""Commands that no test can run, and why."""
SHOWN_ONLY = {
    "https://mcp.linear.app": "a company's server",
    "--docker crystaldba": "an image that only a registry has",
    "import compose.yaml": "an image that only a registry has",
    "--from postgres": "a database that only its owner has",
}
"""What is in commands that need something beyond this machine: those run with `--dry-run`."""
FOREVER = {
    "make up": "mcpwatch health",
    "mcpwatch up -c fleet.yaml": "mcpwatch health",
    "mcpwatch bridge --listen 127.0.0.1:9072 -- mcp-server-fetch": "mcpwatch check --url http://127.0.0.1:9072/sse",
    "mcpwatch gateway -c mcp-servers.json --listen :12009 --log syslog": "mcpwatch check --url http://127.0.0.1:12009/time/sse",
    "mcpwatch events -f": "true",
    "mcpwatch logs time -f": "true",
    "mcpwatch logs -f --all": "true",
}
"""Commands that run until Ctrl-C, and the command whose success shows that they do what they are for."""
TELLS = {
    "mcpwatch report": "an objective was missed",
    "mcpwatch report --json": "an objective was missed",
    "mcpwatch report --since 30d --html report.html": "an objective was missed",
    "mcpwatch alerts list": "an alert fires",
    "mcpwatch alerts list --json | jq '.alerts[].id'": "an alert fires",
}
"""Commands that may also exit with 1, and what they tell by it: on a busy machine it can be so."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a block runs. `put`: words of the page to words of this machine.

    `apart`: its commands are alternatives, each begins from the fleet. `before`: commands that come first, `first`: one that
    comes before a single command.
    """

    fleet: Fleet = RUNNING
    apart: bool = False
    put: Mapping[str, str] = field(default_factory=dict[str, str])
    before: tuple[str, ...] = ()
    first: Mapping[str, str] = field(default_factory=dict[str, str])
    needs: tuple[str, ...] = ()


_GIT = "$(mcpwatch status --json | jq '.members[] | select(.name == \"git\") | .pid')"
_SILENCE = {"s1a2b3c": "$(mcpwatch silence list --json | jq -r '[.. | .id? // empty] | first')"}
_SILENT = "mcpwatch silence add git --for 1h"
_MAINTAINED = "mcpwatch maintenance start git --for 1h"
_MAINTENANCE = {"m1a2b3c": "$(mcpwatch maintenance list --json | jq -r '[.. | .id? // empty] | first')"}

SETTINGS: Mapping[tuple[str, str], Setting] = {
    ("README.md", "mcpwatch status"): Setting(QUICKSTART, put={"26330": _GIT}, needs=("jq",)),
    ("README.md", "make up"): Setting(EMPTY),
    (ADD, "mcpwatch add time -- uvx mcp-server-time"): Setting(OTHER, apart=True),
    (ADD, "mcpwatch catalog database"): Setting(OTHER, needs=("npm",)),
    (ADD, "mcpwatch import --dry-run"): Setting(OTHER),
    (f"{GUIDES}/alerts.md", 'mcpwatch silence add fetch --for 2h --comment "upstream is moving"'): Setting(
        put=_SILENCE, needs=("jq",)
    ),
    (f"{GUIDES}/disaster-recovery.md", "mcpwatch backup create --secrets --dir /mnt/backup/mcp"): Setting(SAVED),
    (f"{GUIDES}/disaster-recovery.md", f"mcpwatch backup restore /mnt/backup/mcp/{ARCHIVE} --dry-run"): Setting(LOST),
    (f"{GUIDES}/kubernetes.md", "mcpwatch rbac -c mcpwatch.yaml --service-account mcpwatch/mcpwatch | kubectl apply -f -"): (
        Setting(CLUSTER, needs=("kubernetes-schema",))
    ),
    (CLI, "mcpwatch add time -- uvx mcp-server-time"): Setting(OTHER, apart=True),
    (CLI, 'mcpwatch add-json time \'{"command": "uvx", "args": ["mcp-server-time"]}\''): Setting(OTHER),
    (CLI, "mcpwatch alerts ack fetch"): Setting(BROKEN),
    (CLI, "mcpwatch alerts list"): Setting(needs=("jq",)),
    (CLI, "mcpwatch backup create"): Setting(SAVED),
    (CLI, f"mcpwatch backup restore /mnt/usb/{ARCHIVE}"): Setting(LOST),
    (CLI, "mcpwatch bridge --listen 127.0.0.1:9072 -- mcp-server-fetch"): Setting(EMPTY),
    (CLI, "mcpwatch catalog"): Setting(EMPTY),
    (CLI, "mcpwatch catalog show filesystem"): Setting(EMPTY),
    (CLI, "mcpwatch clean --dry-run"): Setting(STOPPED, before=("mcpwatch up --detach --wait", "mcpwatch down")),
    (CLI, "mcpwatch gateway -c mcp-servers.json --listen :12009 --log syslog"): Setting(STOPPED),
    (CLI, "mcpwatch import --dry-run"): Setting(OTHER),
    (CLI, "mcpwatch init"): Setting(EMPTY),
    (CLI, "mcpwatch maintenance stop"): Setting(before=(_MAINTAINED,), put=_MAINTENANCE, apart=True, needs=("jq",)),
    (CLI, "mcpwatch rbac | kubectl apply -f -"): Setting(CLUSTER, needs=("kubernetes-schema",)),
    (CLI, "mcpwatch remove time"): Setting(apart=True),
    (CLI, "mcpwatch rules export rules.yml"): Setting(needs=("promtool",)),
    (CLI, "mcpwatch silence expire s1a2b3c"): Setting(before=(_SILENT,), put=_SILENCE, needs=("jq",)),
    (CLI, "mcpwatch token rotate --wait 1h"): Setting(GUARDED, apart=True),
    (CLI, "mcpwatch up -c fleet.yaml"): Setting(
        STOPPED, apart=True, first={"mcpwatch up time fetch": "mcpwatch up --detach --wait"}
    ),
    (CLI, "mcpwatch why fetch"): Setting(needs=("jq",)),
}  # fmt: skip


def setting_of(block: Block) -> Setting:
    """How it runs."""
    return SETTINGS.get((block.page, block.steps[0].command), Setting())


def runnable(command: str, setting: Setting) -> str:
    """The command with what the page cannot know put in, or as a dry run."""
    for theirs, ours in setting.put.items():
        command = command.replace(theirs, ours)
    return f"{command} --dry-run" if any(word in command for word in SHOWN_ONLY) else command
