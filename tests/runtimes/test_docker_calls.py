"""The calls that mcpwatch makes of an engine are those that its guide lists, so that a socket proxy can be set by it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.docker.runtime import DockerRuntime
from tests.parts import ROOT
from tests.runtimes.docker_lab import IMAGE, docker, holds, laboratory
from tests.runtimes.engine_relay import relay

pytestmark = [pytest.mark.anyio, pytest.mark.needs("docker"), pytest.mark.slow]

GUIDE = ROOT / "docs" / "how-to" / "containers.md"


def documented() -> set[str]:
    """Every `METHOD /path` in the guide's table of calls."""
    table = GUIDE.read_text(encoding="utf-8").partition("| call | for |")[2].partition("\n\n")[0]
    return set(re.findall(r"`((?:GET|POST|DELETE) /[^`]+)`", table))


_PLACES = re.compile(r"^/(containers|networks|images)/(?!(?:json|create)$)(.+?)(/(?:json|start|stop|restart|stats|logs|connect))?$")


def shape(call: str) -> str:
    """A call with ids and names left out, as the guide writes it."""
    method, path = call.split(" ")
    match = _PLACES.match(path)
    if match:
        path = f"/{match[1]}/{{{'name' if match[1] == 'images' else 'id'}}}{match[3] or ''}"
    return f"{method} {path}"


async def test_a_whole_life_makes_the_documented_calls_and_no_others(tmp_path: Path) -> None:
    async with relay() as between, laboratory(tmp_path) as lab:
        path = tmp_path / "engine.sock"
        await between.listen(path)
        host = f"unix://{path}"
        nets = [f"a-{lab.instance}", f"b-{lab.instance}"]
        spec = lab.spec(networks=nets, host=host)
        started = await lab.runtime.start(spec, 1)
        await holds(tmp_path / "logs" / "one" / "stdout.log", lambda text: "up" in text)
        assert isinstance(lab.runtime, DockerRuntime)
        await lab.runtime._reconcile()  # pyright: ignore[reportPrivateUsage]
        docker("kill", started.container or "")
        await lab.exited()
        await lab.runtime.start(spec, 2)
        with pytest.raises(RuntimeFailed, match="cannot be pulled"):
            await lab.runtime.start(lab.spec("pulled", image="127.0.0.1:1/none:1", host=host), 1)
        (tmp_path / "context").mkdir()
        (tmp_path / "context" / "Dockerfile").write_text(f"FROM {IMAGE}\nLABEL own={lab.instance}\n", encoding="utf-8")
        built = lab.spec("built", image=None, build=str(tmp_path / "context"), fingerprint=lab.instance, host=host)
        made = await lab.runtime.start(built, 1)
        lab.images.append(docker("inspect", "-f", "{{.Image}}", made.container or ""))
        other = docker("run", "-d", "--name", f"pg-{lab.instance}", IMAGE, "sleep", "600")
        lab.foreign.append(other)
        theirs = lab.spec("pg", container=f"pg-{lab.instance}", host=host)
        await lab.runtime.start(theirs, 1)
        await lab.runtime.stop(theirs, 1)
        await lab.runtime.start(theirs, 2)
        await lab.runtime.close()
        lab.runtime = DockerRuntime(tmp_path, lab.instance)
        adopted = await lab.runtime.owned((spec, built))
        assert {one.member for one in adopted} == {"one", "built"}
        await lab.runtime.stop(spec, 1)
        assert {shape(call) for call in between.calls} == documented()
