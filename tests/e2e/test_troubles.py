"""Trouble of the watchdog itself, in `status` as long as it lasts, on a real watchdog."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.e2e.daemon import free_port, running
from tests.e2e.test_restart_once import fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_port_of_the_metrics_that_another_program_has_is_shown_until_it_is_free(tmp_path: Path) -> None:
    config = fleet(tmp_path, free_port())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        config["telemetry"] = {"metrics": {"listen": place}}
        with running(tmp_path, config) as daemon:
            status = daemon.wait(lambda seen: bool(seen["daemon"]["troubles"]), "it is told")
            (trouble,) = status["daemon"]["troubles"]
            assert trouble["name"] == "metrics"
            assert f"metrics cannot be served on {place}" in trouble["reason"]
            text = daemon.run("status").stdout
            assert "the watchdog is in trouble (metrics, for " in text
            taken.close()
            daemon.wait(lambda seen: not seen["daemon"]["troubles"], "it is over")
            assert "in trouble" not in daemon.run("status").stdout
