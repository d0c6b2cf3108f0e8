"""Examination of what the fleet runs: programs, interpreters, versions, ports, the engine, cold starts, other supervisors."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcpwatch.cli.doctor.finding import Finding, Patient
from mcpwatch.foreign.launchers import launched
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.port import PortWatch

MINIMUM = {"docker": "Docker 20.10 (API 1.41)", "node": "18", "uv": "0.4"}
"""Oldest versions of foreign programs that are known to do; `docs/reference/minimum-versions.md` says what each lacks before."""
COLD_START = 45.0
"""Seconds of start grace below which a first start of `uvx` or `npx`, which downloads, may be cut off."""

_ASK = 15.0
_VERSION = re.compile(r"(\d+)\.(\d+)")


def _asked(argv: Sequence[str]) -> str:
    """What a program prints, or the empty string."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_ASK, check=False, stdin=subprocess.DEVNULL, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def proxy_version(patient: Patient) -> Iterator[Finding]:
    """A foreign proxy that is too old for what mcpwatch writes for it."""
    proxy = patient.plan.proxy if patient.plan else None
    if proxy is None or not proxy.traits.needs or proxy.contained:
        return
    binary = str(getattr(proxy.options, "binary", "mcp-proxy"))
    found = shutil.which(binary, path=patient.environ.get("PATH"))
    if found is None:
        return
    option = proxy.traits.needs
    said = _asked([found, "--help"])
    if said and option.lstrip("-") not in said:
        why = f"mcpwatch writes files that need {option}; {proxy.kind} has it from {proxy.traits.since} on"
        command = f"install a newer {proxy.kind} mcp-proxy, or use 'kind: gateway'"
        yield Finding("versions", "error", f"{found}: too old: it does not know {option}", why, command)


def launchers(patient: Patient) -> Iterator[Finding]:
    """`npx` and `uvx`: there, new enough, their packages pinned, and given the time of a first start."""
    graces = {member.name: member.start_grace for member in patient.plan.members} if patient.plan else {}
    seen: set[str] = set()
    for name, argv in commands(patient):
        launch = launched(argv)
        if launch is None:
            continue
        program, package = launch.launcher, launch.package
        if program not in seen:
            seen.add(program)
            yield from _launcher_version(program, patient)
        if not launch.pinned:
            why = "a server that changes under the fleet changes its tools, and a start needs the registry"
            yield Finding(
                "pins",
                "warning",
                f"{name}: {program} {package} has no version",
                why,
                f"write {package}{'==' if program == 'uvx' else '@'}VERSION",
            )
        if graces.get(name, COLD_START) < COLD_START:
            what = f"{name}: start_grace is {graces[name]:g}s, and {program} downloads at its first start"
            yield Finding(
                "cold start",
                "warning",
                what,
                "the first start may be cut off and begun again",
                f"mcpwatch edit {name} start_grace=2m",
            )


def _launcher_version(program: str, patient: Patient) -> Iterator[Finding]:
    behind = "node" if program == "npx" else "uv"
    found = shutil.which(program, path=patient.environ.get("PATH"))
    if found is None:
        return
    match = _VERSION.search(
        _asked([str(Path(found).with_name(behind)) if Path(found).with_name(behind).exists() else behind, "--version"])
    )
    wanted = _VERSION.search(MINIMUM[behind] + ".0")
    if match and wanted and (int(match[1]), int(match[2])) < (int(wanted[1]), int(wanted[2])):
        what = f"{behind} {match[0]} is older than {MINIMUM[behind]}"
        yield Finding(
            "versions",
            "error",
            what,
            f"servers that {program} starts need a newer one",
            f"install {behind} {MINIMUM[behind]} or newer",
        )


def interpreters(patient: Patient) -> Iterator[Finding]:
    """Scripts whose first line names a program that is not there: they start as 'no such file'."""
    for name, argv in commands(patient):
        found = shutil.which(argv[0], path=patient.environ.get("PATH"))
        if found is None:
            continue
        try:
            with Path(found).open("rb") as file:
                first = file.readline(512)
        except OSError:
            continue
        words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
        if words and not Path(words[0]).exists():
            what = f"{name}: {found} is run by {words[0]}, which is not there"
            yield Finding("interpreter", "error", what, "the server cannot start", f"install {argv[0]} again")


def commands(patient: Patient) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each member's own command, by name: of stdio servers, bridges and processes."""
    if patient.loaded is None:
        return
    for member in patient.loaded.config.members:
        if member.written.stdio is not None:
            yield member.name, (member.written.stdio.command, *member.written.stdio.args)
        for kind, block in member.blocks:
            values: Any = dict(block)
            if kind == "process" and values.get("command"):
                yield member.name, (str(values["command"]), *(str(word) for word in values.get("args", ())))


async def ports(patient: Patient) -> list[Finding]:
    """Ports that somebody else listens on."""
    if patient.plan is None:
        return []
    watch, found = PortWatch(patient.paths.instance), list[Finding]()
    for member in patient.plan.members:
        if member.runtime not in ("process", "hosted") or (patient.status is not None and member.kind == "proxy"):
            continue
        holder = await watch.held_by(member)
        if holder:
            port = urlsplit(member.direct.url).port if member.direct else 0
            why = f"{member.name} cannot listen there, and clients may talk to another program"
            found.append(
                Finding(
                    "ports",
                    "error",
                    f"{member.name}: port {port} is held by {holder}{_unit(holder)}",
                    why,
                    f"ss -ltnp 'sport = :{port}'",
                )
            )
    return found


def _unit(holder: str) -> str:
    """The systemd unit of `pid 7 (name)`: a supervisor that would start it again."""
    match = re.match(r"pid (\d+)", holder)
    try:
        text = Path(f"/proc/{match[1]}/cgroup").read_text(encoding="utf-8") if match else ""
    except OSError:
        return ""
    units = re.findall(r"([\w@.:-]+\.service)", text)
    return f", which systemd keeps running as {units[-1]}" if units else ""


def engine(patient: Patient) -> Iterator[Finding]:
    """The container engine, where the fleet needs it."""
    members = [member for member in patient.plan.members if member.runtime in ("docker", "swarm")] if patient.plan else []
    if not members:
        return
    from mcpwatch.runtimes.docker.engine import Engine

    door = Engine()
    try:
        door.connect()
    except McpwatchError as error:
        why = f"{', '.join(member.name for member in members)} cannot be started or seen"
        command = "docker version; is your user in the group of its socket (sudo usermod -aG docker $USER)?"
        yield Finding("engine", "error", str(error), why, command)
        return
    finally:
        door.close()
    yield from _other_supervisors(members)


def _other_supervisors(members: Sequence[MemberSpec]) -> Iterator[Finding]:
    """Containers of others that the engine itself, or autoheal, restarts too: two supervisors on one process fight."""
    for member in members:
        container = getattr(member.carrier, "container", None)
        if not container:
            continue
        said = _asked(
            ["docker", "inspect", "-f", '{{.HostConfig.RestartPolicy.Name}} {{index .Config.Labels "autoheal"}}', str(container)]
        )
        policy, _, heal = said.strip().partition(" ")
        if policy in ("always", "unless-stopped", "on-failure"):
            what = f"{member.name}: the engine restarts container {container} itself (restart: {policy})"
            command = f"docker update --restart no {container}; and 'restart: \"no\"' in its compose file"
            yield Finding(
                "supervisors", "warning", what, "two supervisors on one process fight: neither sees why it ended", command
            )
        if heal == "true":
            what = f"{member.name}: autoheal restarts container {container} too"
            yield Finding("supervisors", "warning", what, "two supervisors on one process fight", "take the label autoheal from it")
