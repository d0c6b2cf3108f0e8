"""A bare start of the tiny server, without any supervisor: what every peer's recovery is measured above.

`python bare.py PROGRAM` makes one for every port on its standard input and prints its seconds. Only the standard library: it runs
inside a container too.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time


def answer(port: int) -> int:
    """The pid that answers on a port, 0 when none does."""
    with contextlib.suppress(OSError, ValueError), socket.create_connection(("127.0.0.1", port), 2) as connection:
        return int(connection.recv(32) or b"0")
    return 0


def bare(program: str, port: int) -> float:
    """Seconds from spawn to the first answer."""
    start = time.perf_counter()
    with subprocess.Popen([program, str(port)]) as process:
        while answer(port) != process.pid:
            time.sleep(0.0001)
        took = time.perf_counter() - start
        process.kill()
    return took


if __name__ == "__main__":
    for line in sys.stdin:
        print(bare(sys.argv[1], int(line)), flush=True)
