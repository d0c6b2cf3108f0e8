"""The doctor finds what is wrong with a fleet, says why it matters and what mends it, and mends the safe ones."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import resource
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.doctor.run import CHECKS, doctor, examine
from mcpwatch.cli.edit import transaction
from mcpwatch.cli.edit.transaction import Edit


@pytest.fixture(autouse=True)
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A healthy fleet: a file, an env file, a state directory, and programs that say what they are asked."""
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))  # trials that other tests left are theirs
    file = tmp_path / "fleet.yaml"
    write(file, {"members": {"a": {"stdio": {"command": "python3"}}}})
    return file


def write(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps({"version": 1, **data}))
    file.chmod(0o600)


def program(directory: Path, name: str, text: str) -> None:
    file = directory / "bin" / name
    file.write_text(text)
    file.chmod(0o755)


def said(file: Path) -> dict[str, str]:
    """What is found of the fleet's own, by check: the last of each."""
    return {finding.check: finding.what for finding in examine(file) if finding.check not in ("limits", "disk", "clock")}


def test_a_healthy_fleet_has_no_finding_and_every_finding_has_a_known_check(fleet: Path) -> None:
    assert said(fleet) == {}


def test_a_file_with_faults_and_a_missing_one_are_findings(fleet: Path, tmp_path: Path) -> None:
    write(fleet, {"members": {"a": {"stdoi": {}}}})
    assert "stdio" in said(fleet)["file"]
    assert "cannot read it" in said(tmp_path / "none.yaml")["file"]


def test_secrets_that_others_may_read_are_found_and_mended(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(fleet, {"members": {"a": {"stdio": {"command": "python3", "env": {"API_KEY": "s3cret-value"}}}}})
    fleet.chmod(0o644)
    assert "everyone on this machine may read it" in said(fleet)["secrets"]
    assert doctor(fleet, fix=True, as_json=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["done"] for one in shown["mended"]] == [f"{fleet}: only its owner may read it now"]
    assert stat.S_IMODE(fleet.stat().st_mode) == 0o600
    assert said(fleet) == {}


def test_a_secret_that_git_tracks_or_that_is_an_argument_is_found(fleet: Path) -> None:
    write(fleet, {"members": {"a": {"stdio": {"command": "python3", "args": ["--api-key", "s3cret-value"]}}}})
    assert said(fleet)["secrets"] == "members.a.stdio.args: --api-key puts a secret on the command line"
    write(fleet, {"members": {"a": {"stdio": {"command": "python3", "env": {"API_KEY": "s3cret-value"}}}}})
    for argv in (["init", "-q"], ["add", fleet.name]):
        subprocess.run(["git", *argv], cwd=fleet.parent, check=True)
    assert "git tracks it" in said(fleet)["secrets"]


@pytest.mark.parametrize(("token", "what"), [("changeme-token", "examples use"), ("abc1234", "only 7 characters")])
def test_a_token_that_can_be_guessed_is_found(token: str, what: str, fleet: Path) -> None:
    write(fleet, {"proxy": {"auth": {"tokens": [token]}}, "members": {}})
    assert what in said(fleet)["tokens"]


def test_a_proxy_without_a_token_on_the_network_is_found(fleet: Path) -> None:
    write(fleet, {"proxy": {"listen": ":9090"}, "members": {}})
    assert "asks for no token" in said(fleet)["tokens"]


def test_packages_without_a_version_and_lost_interpreters_are_found(fleet: Path, tmp_path: Path) -> None:
    program(tmp_path, "uvx", "#!/bin/sh\n")
    program(tmp_path, "old", "#!/no/such/python\n")
    members = {
        "web": {"stdio": {"command": "uvx", "args": ["mcp-server-fetch"]}},
        "pinned": {"stdio": {"command": "uvx", "args": ["mcp-server-time==1.0"]}},
        "old": {"stdio": {"command": "old"}},
    }
    write(fleet, {"members": members})
    found = said(fleet)
    assert found["pins"] == "web: uvx mcp-server-fetch has no version"
    assert found["interpreter"].endswith("is run by /no/such/python, which is not there")


def test_a_port_that_another_program_holds_is_found(fleet: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        write(fleet, {"proxy": {"listen": f"127.0.0.1:{port}"}, "members": {}})
        assert f"proxy: port {port} is held by pid {os.getpid()}" in said(fleet)["ports"]


def test_a_name_that_does_not_resolve_is_found(fleet: Path) -> None:
    write(fleet, {"members": {"far": {"url": "http://no-such-host.invalid/sse"}}})
    assert said(fleet)["names"].startswith("no-such-host.invalid: does not resolve")


def test_an_open_state_directory_and_an_interrupted_edit_are_found_and_mended(fleet: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    old = fleet.read_text()
    with transaction.locked(state):
        transaction.begin(state, "add news", [Edit(str(fleet), old, "broken")])
    fleet.write_text("broken")
    state.chmod(0o755)
    assert "others may look into it" in said(fleet)["state"]
    assert said(fleet)["leftovers"] == f"{fleet}: a command that edited it was killed"
    doctor(fleet, fix=True, as_json=True)
    assert fleet.read_text() == old
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert said(fleet) == {}


def test_what_killed_trials_left_is_found_and_removed_and_that_of_living_ones_stays(fleet: Path, tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    dead, living = (tmp_path / "tmp" / f"mcpwatch-try-{pid}-x" for pid in (ended.pid, os.getpid()))
    dead.mkdir()
    living.mkdir()
    assert said(fleet)["leftovers"] == "1 directories of trials that were killed"
    assert doctor(fleet, fix=True, as_json=True) == 0
    assert (dead.exists(), living.exists()) == (False, True)
    assert said(fleet) == {}


def test_every_finding_is_told_with_its_reason_and_its_command(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(fleet, {"proxy": {"auth": {"tokens": ["changeme"]}}, "members": {}})
    assert doctor(fleet, fix=False, as_json=False) == 1
    out = capsys.readouterr().out
    assert "✗ tokens: proxy: a token is one that examples use\n    why: it can be guessed" in out
    assert "    do:  mcpwatch token rotate" in out
    assert all(finding.check in CHECKS for finding in examine(fleet))


def test_an_engine_that_cannot_be_reached_is_found(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    write(fleet, {"members": {"a": {"docker": {"image": "x:1"}, "url": "http://127.0.0.1:1/sse"}}})
    assert "no such socket" in said(fleet)["engine"]


@pytest.mark.slow
@pytest.mark.needs("docker", "base-image")
def test_a_container_that_others_restart_too_is_found(fleet: Path) -> None:
    name = f"mw-{os.getpid()}-doctor"
    argv = ["docker", "create", "--name", name, "--restart", "always", "--label", "autoheal=true", "mcpwatch-base:bookworm", "true"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    try:
        write(fleet, {"members": {"a": {"docker": {"container": name}, "url": "http://127.0.0.1:1/sse"}}})
        found = [finding.what for finding in examine(fleet) if finding.check == "supervisors"]
        assert found == [
            f"a: the engine restarts container {name} itself (restart: always)",
            f"a: autoheal restarts container {name} too",
        ]
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True, timeout=60)


def test_too_few_files_and_a_clock_that_is_behind_are_found(fleet: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    os.utime(fleet, (2**32, 2**32))
    try:
        found = {finding.check: finding.what for finding in examine(fleet)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "may open 512 files" in found["limits"]
    assert "the clock is behind" in found["clock"]


def test_a_clients_file_that_cannot_be_kept_is_found_while_no_watchdog_runs(fleet: Path, tmp_path: Path) -> None:
    clients = [{"kind": "cursor", "path": "./mcp.json"}, {"kind": "claude-code", "path": "./none.json"}]
    write(fleet, {"members": {"a": {"stdio": {"command": "python3"}}}, "clients": clients})
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}, // mine\n}')
    assert said(fleet) == {}
    (tmp_path / "mcp.json").write_text('{"mcpServers": {broken')
    assert said(fleet)["clients"].startswith(f"cursor: {tmp_path}/mcp.json: not valid JSONC: line 1")


def test_a_certificate_that_ends_soon_is_found(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=5, hours=12)
    certificate: Any = authority.issue_cert("localhost", not_after=soon)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def serve() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as one:
                one.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        write(fleet, {"members": {"a": {"url": f"https://localhost:{listener.getsockname()[1]}/sse"}}})
        found = said(fleet)
        thread.join()
    assert found["certificates"].endswith("its certificate ends in 5 days") or found["certificates"].endswith("ends in 6 days")
