"""Foreign programs and the oldest version of each that does: one table for commands and documentation. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIRST_LINE = re.compile(r"(?:[A-Za-z@][\w@/ -]*[ @])?v?(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class ForeignProgram:
    """A program of others. `ask` are the words that make it tell its version; none: it is never asked.

    `option` is named by its help from the oldest version on: for builds that tell no version. `use`: what needs it.
    """

    key: str
    name: str
    oldest: str
    lacks: str
    ask: tuple[str, ...] = ()
    option: str = ""
    use: str = ""

    def too_old(self, said: str) -> str:
        """Why what it said of its version is too old, or the empty string. What cannot be read is not."""
        told = version_of(said)
        return f"{self.name} {_spell(told)} is older than {self.oldest}" if told and told < (version_of(self.oldest) or ()) else ""


def version_of(text: str) -> tuple[int, ...]:
    """The version that a text begins with, as `18`, `v20.1.0`, `uv 0.9.1 (1f2e 2026-01-01)`; `()` for none."""
    match = _FIRST_LINE.match(text.strip().partition("\n")[0] + ".0")
    return tuple(int(part) for part in match.groups(default="0")) if match else ()


def _spell(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


PROGRAMS: tuple[ForeignProgram, ...] = (
    ForeignProgram("docker", "Docker Engine API", "1.41", "refused by the docker runtime; 1.41 came with Docker 20.10"),
    ForeignProgram(
        "tbxark", "TBXark/mcp-proxy", "0.40", "`-expand-env`: `${NAME}` in its file would be taken literally",
        ("-version",), "-expand-env",
    ),
    ForeignProgram(
        "sparfenyuk", "sparfenyuk/mcp-proxy", "0.8", "`--named-server-config`: several servers in one proxy",
        ("--version",), "--named-server-config",
    ),
    ForeignProgram("npx", "Node.js", "18", "the servers of the catalogue need it", ("--version",), use="`npx`"),
    ForeignProgram("uvx", "uv", "0.4", "`uvx PACKAGE==VERSION`", ("--version",), use="`uvx`"),
    ForeignProgram("supergateway", "supergateway", "3.0", "Streamable HTTP", ("--version",)),
    ForeignProgram(
        "mcp-remote", "mcp-remote", "0.1.16", "a server that it connects to can run commands here (CVE-2025-6514)", ("--version",)
    ),
    ForeignProgram("compose", "Docker Compose", "2.0", "files without `version:`", ("version", "--short"), use="`export compose`"),
    ForeignProgram(
        "podman", "Podman", "5.2", "`.build` units; `.container` units alone need 4.4", ("--version",), use="`export quadlet`"
    ),
    ForeignProgram(
        "kubernetes", "Kubernetes", "1.22", "server-side apply; tried on 1.33 and 1.34", use="`export kubernetes` and `kubernetes:`"
    ),
    ForeignProgram(
        "python", "Python", "3.11", "single servers need 3.12 or 3.13: their catalogue entries ask `uvx` for it", use="mcpwatch"
    ),
)  # fmt: skip
"""All of them. A fleet is examined only for those that it uses."""


def program(key: str) -> ForeignProgram:
    """The one of that key."""
    return next(one for one in PROGRAMS if one.key == key)
