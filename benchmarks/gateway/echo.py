"""The upstream of every gateway in the benchmark: an echo server on stdio that starts in 10 ms; `--delay S` starts later."""

import sys
import time

if "--delay" in sys.argv:
    time.sleep(float(sys.argv[sys.argv.index("--delay") + 1]))

TOOLS = b'{"tools":[{"name":"echo","description":"Echo","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}]}'
HELLO = b'{"protocolVersion":"%b","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}'
ECHO = b'{"content":[{"type":"text","text":"hello"}],"isError":false}'
reader, writer = sys.stdin.buffer, sys.stdout.buffer


def id_of(line: bytes) -> bytes | None:
    at = line.find(b'"id":')
    if at < 0:
        return None
    rest = line[at + 5 :].lstrip()
    end = min(index for mark in (b",", b"}") if (index := rest.find(mark)) >= 0)
    return rest[:end].strip()


def version_of(line: bytes) -> bytes:
    return line.partition(b'"protocolVersion":"')[2].partition(b'"')[0] or b"2025-06-18"


for line in reader:
    number = id_of(line)
    if number is None:
        continue
    body = (
        ECHO
        if b'"tools/call"' in line
        else TOOLS
        if b'"tools/list"' in line
        else HELLO % version_of(line)
        if b'"initialize"' in line
        else b"{}"
    )
    writer.write(b'{"jsonrpc":"2.0","id":' + number + b',"result":' + body + b"}\n")
    writer.flush()
