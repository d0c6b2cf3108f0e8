"""The fixture server on stdio, forked off a process that has its imports: they take a second of processor, and a member
whose sessions have a process of their own starts it fifty times in a run of the conformance suite.

python -m tests.servers.forked SOCKET       the process that the others are forked off; ready with the first line of its stdout
python -S tests/servers/forked.py SOCKET    the fixture server on this process's stdio
"""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

STDIO = (0, 1, 2)


def fork(path: str) -> None:
    """Begin a server on the stdio of each process that connects, which lasts as long as that server; until stdin ends."""
    import select
    import signal

    from tests.servers import fixtures

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            if listening not in select.select([listening, STDIO[0]], [], [])[0]:
                return
            asking, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                serve(asking, fixtures)
            asking.close()


def serve(asking: socket.socket, fixtures: object) -> NoReturn:
    """Serve on the descriptors that the asking process sends. What only one process may know is drawn anew."""
    import secrets

    import anyio

    try:
        for own, given in zip(STDIO, socket.recv_fds(asking, 1, len(STDIO))[1], strict=True):
            os.dup2(given, own)
            os.close(given)
        vars(fixtures)["KEY"] = secrets.token_bytes(16)
        sys.argv[1:] = []
        anyio.run(vars(fixtures)["main"])
    finally:
        os._exit(0)


def ask(path: str) -> None:
    """Be that server until it ends."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        socket.send_fds(asking, [b"."], STDIO)
        for descriptor in STDIO:
            os.close(descriptor)
        asking.recv(1)


if __name__ == "__main__":
    (fork if __package__ else ask)(sys.argv[1])
