"""An engine behind ssh: a local socket whose every connection is one `ssh HOST docker system dial-stdio`, as Docker itself does.

Owns: the socket, the ssh processes and their last words. The user's own ssh is run, so keys, agents and ~/.ssh/config apply; it is
never let ask anything, because nobody is there to answer. Must not know: what is said to the engine.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mcpwatch.model.errors import RuntimeFailed

CONNECT_SECONDS = 10
"""Longest wait of ssh for the other machine."""
END_SECONDS = 2.0
"""Longest wait for an ssh process that was told to end."""
ACCEPT_PAUSE = 0.2
"""Seconds to wait after a connection could not be taken: there may be no free descriptor for a while."""
WAITING = 16
"""Connections that may wait to be taken."""


class Dialled:
    """The way to one engine, `ssh://[user@]host[:port][/socket]`. Raises `RuntimeFailed` when there is no ssh or no host."""

    def __init__(self, url: str) -> None:
        self._argv = _argv(url)
        self._home = Path(tempfile.mkdtemp(prefix="mcpwatch-ssh-"))
        self._words = self._home / "stderr"
        self._living: list[subprocess.Popen[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._home / "engine.sock"))
        self._listener.listen(WAITING)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"docker-ssh {url}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the engine answers from here."""
        return f"unix://{self._home}/engine.sock"

    @property
    def words(self) -> str:
        """The last line that ssh said, or the empty string."""
        try:
            lines = self._words.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def close(self) -> None:
        """Listen no more and end every ssh."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(END_SECONDS)  # it may be starting one more
        self._listener.close()
        for process in self._living:
            process.terminate()
        for process in self._living:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                self._closed.wait(ACCEPT_PAUSE)
                continue
            self._living = [process for process in self._living if process.poll() is None]
            with contextlib.suppress(OSError), connection, self._words.open("wb") as words:
                both = connection.fileno()
                self._living.append(subprocess.Popen(self._argv, stdin=both, stdout=both, stderr=words, start_new_session=True))


def _argv(url: str) -> list[str]:
    parts = urlsplit(url)
    ssh = shutil.which("ssh")
    if ssh is None:
        raise RuntimeFailed(f"{url} needs the program ssh, which is not on PATH; install it", permanent=True)
    if not parts.hostname or parts.hostname.startswith("-"):
        raise RuntimeFailed(f"{url} names no host; write ssh://user@host", permanent=True)
    user = ["-l", unquote(parts.username)] if parts.username else []
    port = ["-p", str(parts.port)] if parts.port else []
    engine = f"docker --host {shlex.quote(f'unix://{parts.path}')}" if parts.path.strip("/") else "docker"
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-T"]
    return [ssh, *options, *user, *port, "--", parts.hostname, f"{engine} system dial-stdio"]
