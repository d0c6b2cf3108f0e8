"""Examination of the file: its faults, its secrets, its tokens, and who may read it. Reads files; starts nothing but `git`."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.config.importers import literal_secrets
from mcpwatch.foreign.document import spell
from mcpwatch.foreign.variables import secret_name

DEFAULT_TOKENS = frozenset({
    "changeme", "changeme-token", "change-me", "token", "secret", "password", "test", "testtoken", "default", "mcp", "mcp-token",
    "your_token", "your-token", "defaulttoken", "admin", "example", "1234", "12345", "123456", "12345678",
})  # fmt: skip
SHORT_TOKEN = 12
"""Characters below which a token can be guessed by trying."""


def faults(patient: Patient) -> Iterator[DoctorFinding]:
    """Every fault of the file."""
    for fault in patient.loaded.faults if patient.loaded else ():
        yield DoctorFinding(
            "file", "error", str(fault), "'up' and 'reload' refuse the file", f"edit {patient.file}, then mcpwatch config validate"
        )


def readable(patient: Patient) -> Iterator[DoctorFinding]:
    """Files with secrets that others on this machine may read."""
    document: Any = patient.loaded.document.data if patient.loaded else None
    secret = document is not None and any(True for _ in literal_secrets(document))
    for path, holds in ((patient.file, secret), *((path, True) for path in env_files(patient))):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if holds and mode & (stat.S_IRGRP | stat.S_IROTH):
            yield DoctorFinding(
                "secrets",
                "error" if mode & stat.S_IROTH else "warning",
                f"{path}: holds secrets, and {'everyone on this machine' if mode & stat.S_IROTH else 'its group'} may read it",
                "whoever reads a token may call every tool",
                f"chmod 600 {path}",
                _private(path),
            )


def _private(path: Path) -> Any:
    def mend() -> str:
        path.chmod(0o600)
        return f"{path}: only its owner may read it now"

    return mend


def env_files(patient: Patient) -> list[Path]:
    """The env files that the file names, absolute."""
    document: Any = patient.loaded.document.data if patient.loaded else None
    named: Any = cast("dict[str, Any]", document).get("env_file") if isinstance(document, dict) else None
    names = cast("list[str]", [named] if isinstance(named, str) else named if isinstance(named, list) else [])
    return [patient.file.absolute().parent / name for name in names]


def tokens(patient: Patient) -> Iterator[DoctorFinding]:
    """Tokens that are defaults of examples, or too short."""
    if patient.plan is None or patient.plan.proxy is None:
        return
    proxy = patient.plan.proxy
    for owner, found in ((proxy.member, proxy.tokens), *((one.name, one.tokens) for one in proxy.upstreams)):
        for token in found:
            if token.lower() in DEFAULT_TOKENS or len(token) < SHORT_TOKEN:
                what = "is one that examples use" if token.lower() in DEFAULT_TOKENS else f"has only {len(token)} characters"
                why = "it can be guessed, and with it every tool can be called"
                yield DoctorFinding("tokens", "error", f"{owner}: a token {what}", why, "mcpwatch token rotate")
    host = proxy.listen.rpartition(":")[0]
    if not proxy.tokens and host not in ("127.0.0.1", "localhost", "[::1]") and proxy.traits.runs:
        what = f"{proxy.member}: listens on {proxy.listen} and asks for no token"
        yield DoctorFinding("tokens", "warning", what, "everyone on the network may call every tool", "set proxy.auth.tokens")


_FLAG = re.compile(r"--?([A-Za-z][\w-]*)(?:=(.*))?")


def argv_secrets(patient: Patient) -> Iterator[DoctorFinding]:
    """Secrets in the arguments of a command: every user of the machine sees those."""
    document: Any = patient.loaded.document.data if patient.loaded else None
    for where, args in _arguments(document, ()):
        for index, word in enumerate(args):
            match = _FLAG.fullmatch(word)
            if not match or not secret_name(match[1]):
                continue
            value = match[2] if match[2] is not None else args[index + 1] if index + 1 < len(args) else ""
            if value and not value.startswith("-") and not value.endswith((".json", ".pem", ".key", ".env")):
                yield DoctorFinding(
                    "secrets",
                    "warning",
                    f"{spell(where)}: --{match[1]} puts a secret on the command line",
                    "every user of this machine sees it in the list of processes, and it is in every log of that",
                    "give it in env, if the server takes it from there",
                )


def _arguments(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], list[str]]]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            if key in ("args", "command") and isinstance(item, list):
                yield (*path, key), [str(word) for word in cast("list[Any]", item)]
            else:
                yield from _arguments(item, (*path, key))


def tracked(patient: Patient) -> Iterator[DoctorFinding]:
    """Files with secrets that git has in its history."""
    document: Any = patient.loaded.document.data if patient.loaded else None
    secret = document is not None and any(True for _ in literal_secrets(document))
    for path in ([patient.file] if secret else []) + env_files(patient):
        if path.exists() and _in_git(path):
            why = "whoever has the repository, now or later, has the secrets"
            yield DoctorFinding(
                "secrets", "error", f"{path}: holds secrets and git tracks it", why, f"git rm --cached {path}; then rotate them"
            )


def _in_git(path: Path) -> bool:
    argv = ["git", "-C", str(path.absolute().parent), "ls-files", "--error-unmatch", path.name]
    try:
        return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
