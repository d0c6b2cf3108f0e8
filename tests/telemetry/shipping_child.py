"""A daemon reduced to its shipping, for tests that kill it: ships STATE to URL and keeps appending own lines.

Each own line is `own RUN NUMBER`; its number is printed once it has been appended. With RUN `-` it appends none.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from mcpwatch.clock import SystemClock
from mcpwatch.telemetry import shipper as shipping
from mcpwatch.telemetry.loki import Push, SpoolHandler
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.shipper import Shipper
from mcpwatch.telemetry.spec import LokiSpec
from mcpwatch.telemetry.spool import OwnSpool

PAUSE = 0.0005


def main(state: Path, url: str, run: str) -> None:
    clock = SystemClock()
    spec = LokiSpec(url=url, host="box", wait=0.01, timeout=0.5, batch_lines=200)
    spool = OwnSpool(state, clock.wall)
    shipper = Shipper(spec, Push(spec), state, spool, wall=clock.wall)
    shipping.REST_MAX = 0.01  # nobody here says that members wrote
    shipper.start()
    os.write(1, b"ready\n")
    handler = SpoolHandler(spool, url, Redactor())
    never = threading.Event()
    number = 0
    while run != "-":
        number += 1
        handler.handle(logging.LogRecord("child", logging.INFO, "f", 1, "own %s %d", (run, number), None))
        os.write(1, b"%d\n" % number)
        never.wait(PAUSE)
    never.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
