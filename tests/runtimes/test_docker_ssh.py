"""The socket in front of an engine behind ssh, with a program called ssh that only repeats what it hears."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.runtimes.docker import ssh

WAIT = 60.0


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


class Worn(socket.socket):
    """A socket that at first has no descriptor left for a connection."""

    left = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if Worn.left:
            Worn.left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def ask(dialled: ssh.Dialled, words: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT)
        client.connect(dialled.url.removeprefix("unix://"))
        client.sendall(words)
        return client.recv(100)


@pytest.mark.usefixtures("echo")
def test_no_free_descriptor_for_a_while_is_not_the_end_of_the_way_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh.socket, "socket", Worn)
    monkeypatch.setattr(Worn, "left", 2)
    dialled = ssh.Dialled("ssh://far.lan")
    try:
        assert ask(dialled, b"hello") == b"hello"
        assert Worn.left == 0
    finally:
        dialled.close()
    assert "docker-ssh ssh://far.lan" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(OSError, match="No such file"):
        ask(dialled, b"hello")
