"""Plays TBXark's newer generations for its own command line: `generations.py B|C REAL-A -config FILE …`.

B is the real A behind a front that answers `/_readyz` as B does and passes everything else on byte for byte. C, which reconnects
and mounts late, is our own gateway reading the same file: it answers `/_readyz` in C's words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from tests.e2e.daemon import free_port

READY = json.dumps({"name": "mcp-proxy", "serverCount": 1, "status": "ok", "version": "1"}).encode()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def front(listen: str, inner: int) -> None:
    """Serve for ever: the generation's own answer, everything else passed on."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n")
            if head.startswith((b"GET /_readyz ", b"GET /_healthz ")):
                answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                writer.write(answer % len(READY) + READY)
                await writer.drain()
                writer.close()
                return
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", inner)
            inner_writer.write(head)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    host, _, port = listen.rpartition(":")
    async with await asyncio.start_server(serve, host or "127.0.0.1", int(port)) as server:
        await server.serve_forever()


def main() -> None:
    generation, real, *arguments = sys.argv[1:]
    if {"-help", "--help"} & {*arguments}:
        print("  -config string\n  -expand-env\n  -check-config" + ("\n  -doctor" if generation == "C" else ""))
        return
    file = Path(arguments[arguments.index("-config") + 1])
    if generation == "C":
        os.execv(sys.executable, [sys.executable, "-m", "mcpwatch.gateway", "--config", str(file)])
    config = json.loads(file.read_text(encoding="utf-8"))
    listen, inner = config["mcpProxy"]["addr"], free_port()
    config["mcpProxy"]["addr"] = f"127.0.0.1:{inner}"
    copy = file.with_name("inner.json")
    copy.write_text(json.dumps(config), encoding="utf-8")
    copy.chmod(0o600)
    child = subprocess.Popen([real, "-config", str(copy), "-expand-env=false"])

    def end(number: int, frame: FrameType | None) -> None:
        child.terminate()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    asyncio.run(front(listen, inner))


if __name__ == "__main__":
    main()
