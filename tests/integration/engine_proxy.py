"""Stands where tecnativa/docker-socket-proxy stands in compose.yaml: the same variables, the same rules, one request at a time.

Runs inside a container as `python3 engine_proxy.py`; listens on 2375 and speaks to /var/run/docker.sock.
"""

import os
import re
import socket
import threading

ENGINE = "/var/run/docker.sock"
SECTIONS = {
    "PING": r"/_ping",
    "VERSION": r"(/v[\d.]+)?/version",
    "INFO": r"(/v[\d.]+)?/info",
    "EVENTS": r"(/v[\d.]+)?/events",
    "CONTAINERS": r"(/v[\d.]+)?/containers",
}
WRITES = {
    "ALLOW_START": r"(/v[\d.]+)?/containers/[a-zA-Z0-9_.-]+/start",
    "ALLOW_RESTARTS": r"(/v[\d.]+)?/containers/[a-zA-Z0-9_.-]+/(stop|restart|kill)",
}
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 9\r\nConnection: close\r\n\r\nforbidden"


def on(name: str) -> bool:
    return os.environ.get(name, "0") == "1"


def allowed(method: str, path: str) -> bool:
    if any(on(name) and re.match(pattern, path) for name, pattern in WRITES.items()):
        return True
    if method not in {"GET", "HEAD"} and not on("POST"):
        return False
    return any(on(name) and re.match(pattern, path) for name, pattern in SECTIONS.items())


def serve(client: socket.socket) -> None:
    """One connection carries one request: the answer says so, so that every request is judged."""
    with client, socket.socket(socket.AF_UNIX) as engine:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        top, _, body = head.partition(b"\r\n\r\n")
        first, *rest = top.split(b"\r\n")
        method, path = first.decode().split(" ")[:2]
        if not allowed(method, path):
            client.sendall(REFUSAL)
            return
        kept = [line for line in rest if not line.lower().startswith(b"connection:")]
        engine.connect(ENGINE)
        engine.sendall(b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n\r\n" + body)
        threading.Thread(target=pump, args=(client, engine), daemon=True).start()
        pump(engine, client)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


if __name__ == "__main__":
    with socket.create_server(("", 2375)) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
