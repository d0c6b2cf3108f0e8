"""A member for chaos: serves its pid on a port, numbers every line it writes, and keeps a child in a session of its own."""

import os
import signal
import socket
import sys
import time


def child() -> None:
    """A child in its own session, deaf to SIGTERM."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()


def main(port: int) -> None:
    """Answer every connection with the pid; write a numbered line for it. A killed child is replaced."""

    def replace(*_: object) -> None:
        while os.waitpid(-1, os.WNOHANG)[0]:
            child()

    signal.signal(signal.SIGCHLD, replace)
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(64)
    child()
    number = 0
    life = f"{os.getpid()}@{time.time_ns()}"
    while True:
        connection, _ = server.accept()
        os.write(1, f"{life} {number}\n".encode())
        number += 1
        connection.sendall(str(os.getpid()).encode())
        connection.close()


main(int(sys.argv[1]))
