"""A tiny real MCP server on stdio that starts in no time: one thread for each call, every feature a gateway must carry.

python -m tests.servers.tiny [--deaf-to-end] [--dies-at-start] [--stateless]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

lock = threading.Lock()
answers: dict[str, dict[str, Any]] = {}
arrived = threading.Condition()
client: dict[str, Any] = {}

TOOLS = ["echo", "raw", "die", "sleep", "count", "ask", "ask_both", "progress", "log", "environment", "hello", "noise", "stderr"]


def send(message: dict[str, Any]) -> None:
    line = json.dumps(message, separators=(",", ":"))
    with lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
    number = f"q{threading.get_ident()}-{time.monotonic_ns()}"
    send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    with arrived:
        arrived.wait_for(lambda: number in answers, timeout=20)
        return answers.pop(number, {"error": "nobody answered"})


def answer_as(number: Any, arguments: dict[str, Any]) -> None:
    """Answer with the caller's own bytes around the id."""
    with lock:
        sys.stdout.buffer.write(f"{arguments['before']}{json.dumps(number)}{arguments['after']}\n".encode())
        sys.stdout.buffer.flush()


def call(request: dict[str, Any], line: str) -> Any:
    name, arguments = request["params"]["name"], request["params"].get("arguments", {})
    match name:
        case "echo":
            return arguments
        case "raw":
            return line
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
            return None
        case "sleep":
            time.sleep(float(arguments.get("seconds", 0.2)))
            return "slept"
        case "ask":
            time.sleep(float(arguments.get("after", 0)))
            return ask("sampling/createMessage", {"messages": [], "maxTokens": 1, "who": arguments.get("who")})
        case "progress":
            token = request["params"]["_meta"]["progressToken"]
            for step in (1, 2):
                send({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
            return str(token)
        case "meta":
            return request["params"]["_meta"]
        case "change":
            for number in arguments["numbers"]:
                send({"jsonrpc": "2.0", "method": "notifications/resources/list_changed", "params": {"_meta": {"x": number}}})
            if "touch" in arguments:
                send({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": arguments["touch"]}})
            return "told"
        case "batch":
            told = [{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": n}} for n in (1, 2)]
            with lock:
                sys.stdout.write(json.dumps(told) + "\n")
                sys.stdout.flush()
            return "told"
        case "log":
            send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "a line"}})
            return "logged"
        case "environment":
            return dict(os.environ)
        case "hello":
            return client
        case "noise":
            with lock:
                sys.stdout.write("this is no JSON-RPC\n")
                sys.stdout.flush()
            return "made noise"
        case "write":
            with lock:
                sys.stdout.buffer.write(bytes.fromhex(arguments["hex"]) * int(arguments.get("times", 1)) + b"\n")
                sys.stdout.buffer.flush()
            return "wrote"
        case "close_stdout":
            with lock:
                os.close(1)
                time.sleep(120)
            return None
        case "stderr":
            sys.stderr.write("x" * 200_000 + "\n")
            sys.stderr.flush()
            return "wrote"
        case "pid":
            return os.getpid()
        case _:
            return None


def serve(line: str) -> None:
    request = json.loads(line)
    method, number = request.get("method"), request.get("id")
    if method is None:
        with arrived:
            answers[number] = request
            arrived.notify_all()
        return
    if number is None:
        return
    match method:
        case "initialize" if "--stateless" in sys.argv:
            send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "Method not found"}})
            return
        case "server/discover" if "--stateless" in sys.argv:
            result: Any = {
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "ttlMs": 0,
                "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "tiny", "version": "1.2.3"}},
            }
        case "initialize":
            client.update(request["params"])
            result = {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}, "resources": {"subscribe": True}, "logging": {}},
                "serverInfo": {"name": "tiny", "version": "1.2.3"},
                "x-unknown": 1.50,
            }
        case "tools/list":
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in [*TOOLS, "pid"]]}
        case "tools/call" if request["params"]["name"] == "answer_as":
            answer_as(number, request["params"]["arguments"])
            return
        case "tools/call":
            result = {"content": [{"type": "text", "text": json.dumps(call(request, line))}]}
        case "resources/list":
            result = {"resources": [{"uri": "tiny://one", "name": "one"}]}
        case "resources/read":
            result = {"contents": [{"uri": request["params"]["uri"], "text": "one"}]}
        case "resources/subscribe" | "resources/unsubscribe" | "ping" | "logging/setLevel":
            result = {}
        case _:
            send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": f"no {method} here"}})
            return
    if "--stateless" in sys.argv:
        result |= {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    send({"jsonrpc": "2.0", "id": number, "result": result})


def main() -> None:
    if "--dies-at-start" in sys.argv:
        sys.exit(7)
    if "--deaf-to-end" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        threading.Thread(target=serve, args=(line,), daemon=True).start()
    if "--deaf-to-end" in sys.argv:
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
