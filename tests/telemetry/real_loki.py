"""A real Loki for the time of a `with`: one process on loopback, everything it keeps in one directory."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.daemon import free_port
from tests.parts import program

READY = 120.0
"""Seconds that it may take until its rings agree that it is alone."""


def settings(directory: Path, port: int) -> dict[str, Any]:
    """Its own defaults, but for where it listens and keeps things. The limits are what the contract is about: not one is set."""
    return {
        "auth_enabled": False,
        "analytics": {"reporting_enabled": False},
        "server": {
            "http_listen_address": "127.0.0.1",
            "http_listen_port": port,
            "grpc_listen_address": "127.0.0.1",
            "grpc_listen_port": free_port(),
            "log_level": "warn",
        },
        "common": {
            "instance_addr": "127.0.0.1",
            "path_prefix": str(directory),
            "replication_factor": 1,
            "storage": {"filesystem": {"chunks_directory": str(directory / "chunks"), "rules_directory": str(directory / "rules")}},
            "ring": {"kvstore": {"store": "inmemory"}},
        },
        "ingester": {"lifecycler": {"min_ready_duration": "0s"}},
        "schema_config": {
            "configs": [
                {
                    "from": "2024-01-01",
                    "store": "tsdb",
                    "object_store": "filesystem",
                    "schema": "v13",
                    "index": {"prefix": "index_", "period": "24h"},
                }
            ]
        },
    }


@contextmanager
def real_loki(directory: Path) -> Generator[str]:
    """Its push URL, once it says that it is ready."""
    port = free_port()
    config = directory / "loki.yaml"
    config.write_text(json.dumps(settings(directory, port)), encoding="utf-8")
    said = directory / "loki.log"
    with said.open("wb") as log:
        process = subprocess.Popen([program("loki"), f"-config.file={config}"], cwd=directory, stdout=log, stderr=log)
    try:
        until = time.monotonic() + READY
        while not _ready(port):
            assert process.poll() is None, said.read_text()[-4000:]
            assert time.monotonic() < until, said.read_text()[-4000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/loki/api/v1/push"
    finally:
        process.kill()  # what it keeps is thrown away anyway
        process.wait(30)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
