"""Examination of the machine: state directory, disk, limits, clock, names, certificates, leftovers, and the running watchdog."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import ssl
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcpwatch import __version__
from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.cli.edit import transaction
from mcpwatch.cli.edit.run import undo_interrupted
from mcpwatch.model.errors import McpwatchError
from mcpwatch.runtimes import descriptors

DISK_WARNING, DISK_ERROR = 500 * 1024**2, 50 * 1024**2
"""Free bytes below which the store and the logs may not be written."""
FILES = 1024
"""Open files that a fleet needs at least: two a session, some for each member."""
CERTIFICATE_DAYS = 14

_LOOK = 5.0


def state_directory(patient: Patient) -> Iterator[DoctorFinding]:
    """The state directory: its rights and its disk."""
    root = patient.paths.root
    where = next(folder for folder in (root, *root.parents) if folder.exists())
    if not os.access(where, os.W_OK):
        yield DoctorFinding(
            "state", "error", f"{where}: you may not write there", "'up' cannot keep its state", "mcpwatch --state-dir DIR up …"
        )
    if root.exists() and root.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(root.stat().st_mode)

        def mend() -> str:
            root.chmod(0o700)
            return f"{root}: only its owner may look into it now"

        why = "logs and the proxy's file are in it"
        yield DoctorFinding("state", "warning", f"{root}: others may look into it (mode {mode:o})", why, f"chmod 700 {root}", mend)
    free = shutil.disk_usage(where).free
    if free < DISK_WARNING:
        level = "error" if free < DISK_ERROR else "warning"
        why = "history, logs and edits cannot be written on a full disk"
        yield DoctorFinding("disk", level, f"{where}: only {free // 1024**2} MiB are free", why, f"du -xsh {where}/* | sort -h")


def limits(patient: Patient) -> Iterator[DoctorFinding]:
    """How many files a process may open, and how many members a watchdog carries, which raises its own limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    members = len(patient.plan.members if patient.plan else ())
    wanted, carried = FILES + 32 * members, descriptors.carries(descriptors.bounded(hard))
    if carried and members > carried:
        what = f"the watchdog may open {hard} files, which carry about {carried} members; this fleet has {members}"
        why = "probes wait, then are unknown, and the last members cannot be started"
        yield DoctorFinding("limits", "error", what, why, f"ulimit -Hn {2 * wanted}; with systemd: LimitNOFILE=")
    elif 0 <= soft < wanted:
        what = f"a process may open {soft} files (hard limit {hard}); this fleet may need {wanted}"
        if carried:
            what += f"; the watchdog itself carries about {carried} members"
        yield DoctorFinding(
            "limits", "warning", what, "sessions are refused when they run out", f"ulimit -n {wanted}; with systemd: LimitNOFILE="
        )


def clock(patient: Patient) -> Iterator[DoctorFinding]:
    """A clock that is behind the newest of our own files, or that nothing keeps right."""
    newest = max((path.stat().st_mtime for path in (patient.file, Path(__file__)) if path.exists()), default=0.0)
    if newest > time.time() + 300:
        why = "certificates, silences, histories and tokens are judged by it"
        yield DoctorFinding(
            "clock", "error", "the clock is behind: files were changed in its future", why, "timedatectl set-ntp true"
        )


async def names(patient: Patient) -> list[DoctorFinding]:
    """Host names that do not resolve, and certificates that are about to end."""
    urls = sorted({url for url in _urls(patient) if urlsplit(url).hostname})
    found = await asyncio.gather(*(asyncio.to_thread(_url, url) for url in urls))
    return [one for many in found for one in many]


def _urls(patient: Patient) -> Iterator[str]:
    if patient.plan is None:
        return
    for member in patient.plan.members:
        if member.direct is not None and member.direct.url and member.want_up:
            yield member.direct.url
    if patient.plan.proxy is not None:
        yield patient.plan.proxy.base_url


def _url(url: str) -> list[DoctorFinding]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return [
            DoctorFinding(
                "names",
                "error",
                f"{host}: does not resolve: {error.strerror or error}",
                f"{url} cannot be reached",
                f"getent hosts {host}",
            )
        ]
    return _certificate(host, port, url) if parts.scheme == "https" else []


def _certificate(host: str, port: int, url: str) -> list[DoctorFinding]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
    with contextlib.suppress(OSError, ValueError):
        with (
            socket.create_connection((host, port), timeout=_LOOK) as raw,
            context.wrap_socket(raw, server_hostname=host) as wrapped,
        ):
            certificate: Any = wrapped.getpeercert()
        days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
        if days < CERTIFICATE_DAYS:
            what = f"{url}: its certificate ends in {days:.0f} days"
            return [DoctorFinding("certificates", "warning", what, "every client refuses the route from then on", "renew it")]
    return []


def leftovers(patient: Patient) -> Iterator[DoctorFinding]:
    """What killed commands and watchdogs left behind."""
    state = patient.paths.root
    with contextlib.suppress(McpwatchError):
        file = transaction.interrupted(state)
        if file is not None:

            def mend() -> str:
                undo_interrupted()
                return f"{file} is as it was"

            why = "the file may hold an edit that was never proved"
            yield DoctorFinding(
                "leftovers",
                "warning",
                f"{file}: a command that edited it was killed",
                why,
                "any mcpwatch command takes it back",
                mend,
            )
    old = [left for left in Path(tempfile.gettempdir()).glob("mcpwatch-try-*") if _abandoned(left)]
    if old:

        def sweep() -> str:
            for left in old:
                shutil.rmtree(left, ignore_errors=True)
            return f"{len(old)} removed"

        why = "they hold a copy of a server's definition"
        yield DoctorFinding(
            "leftovers",
            "warning",
            f"{len(old)} directories of trials that were killed",
            why,
            f"rm -r {old[0].parent}/mcpwatch-try-*",
            sweep,
        )


def _abandoned(left: Path) -> bool:
    pid = left.name.removeprefix("mcpwatch-try-").partition("-")[0]
    return pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists()


def watchdog(patient: Patient) -> Iterator[DoctorFinding]:
    """What the running watchdog itself knows to be wrong."""
    if patient.status is None:
        return
    daemon = patient.status["daemon"]
    if daemon["version"] != __version__:
        what = f"the watchdog runs version {daemon['version']}, installed is {__version__}"
        yield DoctorFinding(
            "watchdog", "warning", what, "it does not do yet what the documentation says", "mcpwatch upgrade-in-place"
        )
    if daemon.get("config_error"):
        why = "the fleet runs on as it was before the last change"
        yield DoctorFinding(
            "watchdog", "error", f"its configuration was rejected: {daemon['config_error']}", why, "mcpwatch config validate"
        )
    for found in patient.status["diagnoses"]:
        yield DoctorFinding(
            "fleet", "error", f"{found['subject']}: {found['text']}", "its routes do not work", f"mcpwatch why {found['subject']}"
        )
