"""The HEALTHCHECK of our image, on a real container: it reports the watchdog, whatever its fleet does."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.reference_fleet import Names, sweep

IMAGE = "mcpwatch:test"
WAIT = 120.0
SOON = ("--health-interval=1s", "--health-timeout=10s", "--health-retries=2", "--health-start-period=1s")
"""The image's own command, asked more often than in 90 seconds."""
UP = ("mcpwatch", "up", "--plain", "--config", "/etc/mcpwatch/mcpwatch.yaml")
BROKEN: dict[str, Any] = {
    "version": 1,
    "proxy": {"kind": "none"},
    "members": {"ends": {"route": False, "process": {"command": "false"}}},
}
"""A fleet that is never well."""

pytestmark = [pytest.mark.needs("docker", "own-image"), pytest.mark.slow, pytest.mark.timeout(300)]


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, f"docker {words[0]}: {done.stderr}"
    return done.stdout.strip()


class Container:
    """One container of our image with a broken fleet."""

    def __init__(self, name: str) -> None:
        self.name = name

    def status(self) -> dict[str, Any]:
        """What `mcpwatch status` says inside, and its exit code as `code`."""
        asked = ["docker", "exec", self.name, "mcpwatch", "status", "--json"]
        done = subprocess.run(asked, capture_output=True, encoding="utf-8", timeout=60, check=False)
        return {**(json.loads(done.stdout) if done.stdout.startswith("{") else {"daemon": None}), "code": done.returncode}

    @property
    def health(self) -> str:
        """The engine's word for it."""
        return docker("inspect", "-f", "{{.State.Health.Status}}", self.name)

    def checks(self) -> list[dict[str, Any]]:
        """The last checks as the engine keeps them."""
        return json.loads(docker("inspect", "-f", "{{json .State.Health.Log}}", self.name)) or []

    def signal(self, name: str) -> None:
        """Send a signal to the watchdog itself, as the user that it is."""
        docker("exec", self.name, "sh", "-c", f"kill -{name} {self.pid}")

    def find(self) -> int:
        """The watchdog's number inside, once it answers."""
        self.until(lambda: self.status()["daemon"], "the watchdog answers")
        self.pid = int(self.status()["daemon"]["pid"])
        return self.pid

    def until(self, so: Callable[[], object], words: str) -> None:
        deadline = time.monotonic() + WAIT
        while not so():
            said = f"{words}; {self.checks()[-2:]}\n{docker('logs', '--tail', '20', self.name)}"
            assert time.monotonic() < deadline, said
            time.sleep(0.2)


@contextmanager
def container(tmp_path: Path, *how: str, argv: tuple[str, ...] = ()) -> Generator[Container]:
    (tmp_path / "mcpwatch.yaml").write_text(json.dumps(BROKEN), encoding="utf-8")
    (tmp_path / "mcpwatch.yaml").chmod(0o644)
    tmp_path.chmod(0o755)
    names = Names()
    try:
        mounted = f"{tmp_path}/mcpwatch.yaml:/etc/mcpwatch/mcpwatch.yaml:ro"
        docker("run", "-d", "--name", names("watch"), "-v", mounted, *SOON, *how, IMAGE, *argv)
        yield Container(names("watch"))
    finally:
        sweep(names)


def test_an_unhealthy_fleet_leaves_its_watchdog_healthy(tmp_path: Path) -> None:
    with container(tmp_path) as watch:
        watch.until(lambda: watch.status()["code"] == 1, "the fleet is told as not well")
        watch.until(lambda: watch.health == "healthy", "the watchdog is well")
        watch.until(lambda: [check["ExitCode"] for check in watch.checks()] == [0] * 5, "it is found well five times in a row")
        assert watch.health == "healthy"
        assert "watchdog: healthy" in watch.checks()[-1]["Output"]
        assert watch.status()["healthy"] is False


def test_a_watchdog_that_hangs_is_unhealthy_and_healthy_again_when_it_goes_on(tmp_path: Path) -> None:
    with container(tmp_path) as watch:
        watch.find()
        watch.until(lambda: watch.health == "healthy", "it is well")
        watch.signal("STOP")
        watch.until(lambda: watch.health == "unhealthy", "it hangs")
        assert watch.checks()[-1]["ExitCode"] != 0
        watch.signal("CONT")
        watch.until(lambda: watch.health == "healthy", "it goes on")


def test_a_watchdog_that_died_in_a_container_that_lives_on_is_unhealthy(tmp_path: Path) -> None:
    stays = ("--", "sh", "-c", f"{' '.join(UP)}; sleep 600")
    with container(tmp_path, "--entrypoint", "tini", argv=stays) as watch:
        watch.find()
        watch.until(lambda: watch.health == "healthy", "it is well")
        watch.signal("KILL")
        watch.until(lambda: watch.health == "unhealthy", "it is dead")
        assert docker("inspect", "-f", "{{.State.Running}}", watch.name) == "true"
        assert watch.checks()[-1]["ExitCode"] == 1


def test_the_image_itself_asks_for_the_watchdog_and_gives_it_time_to_start() -> None:
    declared = json.loads(docker("image", "inspect", "-f", "{{json .Config.Healthcheck}}", IMAGE))
    assert declared["Test"] == ["CMD", "mcpwatch", "health", "--daemon"]
    assert declared["Timeout"] > 8 * 10**9
    assert declared["StartPeriod"] >= 60 * 10**9
