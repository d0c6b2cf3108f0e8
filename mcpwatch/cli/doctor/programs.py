"""Examination of what the fleet runs: programs, interpreters, versions, ports, the engine, cold starts, other supervisors."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.cli.versions import asked, commands, old_programs
from mcpwatch.foreign.launchers import launched
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.port import PortWatch


def versions(patient: Patient) -> Iterator[DoctorFinding]:
    """Programs that are too old for what the fleet needs of them."""
    for old in old_programs(patient.loaded, patient.plan, patient.environ):
        why = f"missing before {old.program.oldest}: {old.program.lacks.replace('`', '')}"
        command = f"install {old.program.name} {old.program.oldest} or newer"
        command += ", or use 'kind: gateway'" if old.proxy else ""
        yield DoctorFinding("versions", "error", old.what, why, command)


def pins(patient: Patient) -> Iterator[DoctorFinding]:
    """What `npx` and `uvx` fetch has a version."""
    for name, argv in commands(patient.loaded):
        launch = launched(argv)
        if launch is None:
            continue
        program, package = launch.launcher, launch.package
        if not launch.pinned:
            why = "a server that changes under the fleet changes its tools, and a start needs the registry"
            yield DoctorFinding(
                "pins",
                "warning",
                f"{name}: {program} {package} has no version",
                why,
                f"write {package}{'==' if program == 'uvx' else '@'}VERSION",
            )


def interpreters(patient: Patient) -> Iterator[DoctorFinding]:
    """Scripts whose first line names a program that is not there: they start as 'no such file'."""
    for name, argv in commands(patient.loaded):
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
            yield DoctorFinding("interpreter", "error", what, "the server cannot start", f"install {argv[0]} again")


async def ports(patient: Patient) -> list[DoctorFinding]:
    """Ports that somebody else listens on."""
    if patient.plan is None:
        return []
    watch, found = PortWatch(patient.paths.instance), list[DoctorFinding]()
    for member in patient.plan.members:
        if not (member.carried.own or member.carried.hosted) or (patient.status is not None and member.kind == "proxy"):
            continue
        holder = await watch.held_by(member)
        if holder:
            port = urlsplit(member.direct.url).port if member.direct else 0
            why = f"{member.name} cannot listen there, and clients may talk to another program"
            found.append(
                DoctorFinding(
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
    units = re.findall(r"(?<![\w@.:-])([\w@.:-]+\.service)", text)
    return f", which systemd keeps running as {units[-1]}" if units else ""


def engine(patient: Patient) -> Iterator[DoctorFinding]:
    """The container engine, where the fleet needs it."""
    members = [member for member in patient.plan.members if member.carried.container] if patient.plan else []
    if not members:
        return
    from mcpwatch.runtimes.docker.engine import Engine

    door = Engine()
    try:
        door.connect()
    except McpwatchError as error:
        why = f"{', '.join(member.name for member in members)} cannot be started or seen"
        command = "docker version; is your user in the group of its socket (sudo usermod -aG docker $USER)?"
        yield DoctorFinding("engine", "error", str(error), why, command)
        return
    finally:
        door.close()
    yield from _other_supervisors(members)


def _other_supervisors(members: Sequence[MemberSpec]) -> Iterator[DoctorFinding]:
    """Containers of others that the engine itself, or autoheal, restarts too: two supervisors on one process fight."""
    for member in members:
        container = getattr(member.carrier, "container", None)
        if not container:
            continue
        said = asked(
            ["docker", "inspect", "-f", '{{.HostConfig.RestartPolicy.Name}} {{index .Config.Labels "autoheal"}}', str(container)]
        )
        policy, _, heal = said.strip().partition(" ")
        if policy in ("always", "unless-stopped", "on-failure"):
            what = f"{member.name}: the engine restarts container {container} itself (restart: {policy})"
            command = f"docker update --restart no {container}; and 'restart: \"no\"' in its compose file"
            yield DoctorFinding(
                "supervisors", "warning", what, "two supervisors on one process fight: neither sees why it ended", command
            )
        if heal == "true":
            what = f"{member.name}: autoheal restarts container {container} too"
            yield DoctorFinding(
                "supervisors", "warning", what, "two supervisors on one process fight", "take the label autoheal from it"
            )
