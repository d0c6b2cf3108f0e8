"""Examination of AI clients' files: as the watchdog that keeps them says, or, while none runs, whether it could keep them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcpwatch.cli.control import call
from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.clients.adapters.open_webui import OpenWebUISpec
from mcpwatch.clients.catalog import ClientsSection
from mcpwatch.clients.files import read, resolve
from mcpwatch.clients.formats.edit import edit
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.location import Machine
from mcpwatch.model.errors import ClientFileError

_BLIND = "this client does not see the fleet as it is"


def clients_files(patient: Patient) -> Iterator[DoctorFinding]:
    """Clients' files that are not, or could not be, brought up to date."""
    yield from _as_kept() if patient.status is not None else _as_they_are(patient)


def _as_kept() -> Iterator[DoctorFinding]:
    rows: list[dict[str, Any]] = call("GET", "/clients")
    for row in rows:
        if row["error"]:
            yield DoctorFinding("clients", "error", f"{row['client']}: {row['error']}", _BLIND, f"mcpwatch sync {row['client']}")
        for drift in row["drift"]:
            why = "somebody changed an entry that mcpwatch keeps"
            yield DoctorFinding(
                "clients", "warning", f"{row['client']}: {drift['text']}", why, f"mcpwatch sync {row['client']} --force"
            )


def _as_they_are(patient: Patient) -> Iterator[DoctorFinding]:
    section = patient.plan.section("clients") if patient.plan else None
    for client in section.made() if isinstance(section, ClientsSection) else ():
        if isinstance(client.spec, OpenWebUISpec):
            continue
        path = Machine().locate(client, patient.file.absolute().parent)
        try:
            edit(client.adapter.syntax, read(path, resolve(path)).text or "", {})
        except ClientFileError as error:
            yield _unkept(client.spec.kind, str(error), path)
        except EditRefused as refusal:
            yield _unkept(client.spec.kind, f"{path}: {refusal}", path)


def _unkept(kind: str, what: str, path: Path) -> DoctorFinding:
    return DoctorFinding("clients", "error", f"{kind}: {what}", _BLIND, f"repair {path}, or take {kind} out of the configuration")
