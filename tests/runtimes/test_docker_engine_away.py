"""The engine behind a relay that can be cut, refuse, or speak TLS: what the docker runtime makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from pathlib import Path

import pytest
import trustme

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, Gone
from tests.runtimes.docker_lab import docker, laboratory
from tests.runtimes.engine_relay import relay

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs("docker"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::EncodingWarning"),  # of the docker SDK and trustme, when they read files
]


async def test_an_engine_that_goes_and_comes_back_loses_no_end_and_kills_nobody(tmp_path: Path) -> None:
    async with relay() as between, laboratory(tmp_path) as lab:
        path = tmp_path / "engine.sock"
        await between.listen(path)
        survivor, victim = lab.spec("survivor", host=f"unix://{path}"), lab.spec("victim", host=f"unix://{path}")
        await lab.runtime.start(survivor, 1)
        doomed = await lab.runtime.start(victim, 1)
        await between.cut()
        gone = await lab.event()
        assert isinstance(gone, Gone)
        assert not gone.back
        with pytest.raises(RuntimeFailed, match="does not answer"):
            await lab.runtime.start(lab.spec("third", host=f"unix://{path}"), 1)
        docker("kill", doomed.container or "")
        await between.listen(path)
        back = await lab.event()
        assert isinstance(back, Gone)
        assert back.back
        ended = await lab.event()
        assert isinstance(ended, Exited)
        assert (ended.member, ended.generation) == ("victim", 1)
        again = await lab.runtime.start(victim, 2)
        assert again.container == doomed.container
        assert lab.heard.empty()


async def test_an_event_stream_that_only_drops_resumes_without_a_word(tmp_path: Path) -> None:
    async with relay() as between, laboratory(tmp_path) as lab:
        path = tmp_path / "engine.sock"
        await between.listen(path)
        incarnation = await lab.runtime.start(lab.spec(host=f"unix://{path}"), 1)
        for writer in tuple(between._writers):  # pyright: ignore[reportPrivateUsage]
            writer.transport.abort()
        docker("kill", incarnation.container or "")
        assert (await lab.exited()).signal == 9


async def test_a_socket_proxy_that_refuses_a_call_is_named(tmp_path: Path) -> None:
    async with relay() as between, laboratory(tmp_path) as lab:
        path = tmp_path / "engine.sock"
        await between.listen(path)
        between.refuse = b"POST /v1.41/containers/create"
        with pytest.raises(
            RuntimeFailed, match=r"does not let mcpwatch create container .*allow that call in the socket proxy"
        ) as failed:
            await lab.runtime.start(lab.spec(host=f"unix://{path}"), 1)
        assert failed.value.permanent


async def test_an_engine_behind_tls_is_reached_by_docker_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    certificate, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    async with relay() as between, laboratory(tmp_path) as lab:
        port = await between.listen_tls(context)
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        incarnation = await lab.runtime.start(lab.spec(), 1)
        assert docker("inspect", "-f", "{{.State.Running}}", incarnation.container or "") == "true"
        docker("kill", incarnation.container or "")
        assert (await lab.exited()).signal == 9


async def test_an_engine_is_found_by_context_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").write_text(json.dumps({}), encoding="utf-8")
    async with relay() as between, laboratory(tmp_path) as lab:
        path = tmp_path / "engine.sock"
        await between.listen(path)
        await asyncio.to_thread(docker, "context", "create", "there", "--docker", f"host=unix://{path}")
        await lab.runtime.start(lab.spec(context="there"), 1)
        with pytest.raises(RuntimeFailed, match="Docker has no context 'nowhere'"):
            await lab.runtime.start(lab.spec("two", context="nowhere"), 1)
        await between.cut()
        assert isinstance(await lab.event(), Gone)


def fake_ssh(directory: Path, script: str) -> Path:
    """A program called ssh that notes how it was called."""
    directory.mkdir()
    program = directory / "ssh"
    program.write_text(f'#!/bin/sh\necho "$@" >>"{directory}/calls"\n{script}\n', encoding="utf-8")
    program.chmod(0o755)
    return directory


async def test_an_engine_behind_ssh_is_reached_by_the_users_own_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = fake_ssh(tmp_path / "bin", "exec docker system dial-stdio")
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    async with laboratory(tmp_path) as lab:
        started = await lab.runtime.start(lab.spec(host="ssh://me@far.lan:2222"), 1)
        assert docker("inspect", "-f", "{{.State.Running}}", started.container or "") == "true"
        docker("kill", started.container or "")
        assert (await lab.exited()).signal == 9
    called = set((here / "calls").read_text(encoding="utf-8").splitlines())
    assert called == {"-o BatchMode=yes -o ConnectTimeout=10 -T -l me -p 2222 -- far.lan docker system dial-stdio"}


async def test_what_ssh_said_is_what_is_told_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = fake_ssh(tmp_path / "bin", "echo 'ssh: Could not resolve hostname far.lan' >&2; exit 255")
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    async with laboratory(tmp_path) as lab:
        with pytest.raises(RuntimeFailed, match=r"ssh://far.lan does not answer: ssh: Could not resolve hostname"):
            await lab.runtime.start(lab.spec(host="ssh://far.lan"), 1)
        with pytest.raises(RuntimeFailed, match="names no host; write ssh://user@host"):
            await lab.runtime.start(lab.spec("two", host="ssh://"), 1)
