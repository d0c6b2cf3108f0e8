"""The docker runtime on a real engine: created, kept, replaced, adopted, ended, named."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Gone, Hindered, Moved, Preparing, Startable
from mcpwatch.model.probe import Target
from mcpwatch.runtimes.docker import events
from mcpwatch.runtimes.docker.runtime import DockerRuntime
from tests.runtimes.docker_lab import IMAGE, docker, holds, laboratory

pytestmark = [pytest.mark.anyio, pytest.mark.needs("docker"), pytest.mark.slow]


async def test_a_container_is_created_as_written_and_is_labelled_with_restart_policy_no(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        (tmp_path / "shared").mkdir()
        (tmp_path / "one.env").write_text("FROM_FILE=yes\nBOTH=file\n", encoding="utf-8")
        net = f"net-{lab.instance}"
        spec = lab.spec(
            environment={"BOTH": "written", "SECRET": "s3cret"},
            env_file=str(tmp_path / "one.env"),
            networks=[net],
            ports=["8000"],
            volumes=[f"{tmp_path / 'shared'}:/shared:ro"],
            tmpfs=["/tmp"],
            memory="64m",
            cpus=0.5,
            pids=64,
            user="1000:1000",
            read_only=True,
            extra_hosts=["elsewhere:10.0.0.7"],
            healthcheck={"test": ["CMD", "true"], "interval": "5s"},
            log={"max_size": "1m", "max_file": 2},
            cap_drop=["ALL"],
            no_new_privileges=True,
        )
        incarnation = await lab.runtime.start(spec, 7)
        (raw,) = json.loads(docker("inspect", incarnation.container or ""))
        host, config = raw["HostConfig"], raw["Config"]
        assert config["Labels"] == {
            "mcpwatch.instance": lab.instance,
            "mcpwatch.member": "one",
            "mcpwatch.generation": "7",
            "mcpwatch.fingerprint": "f1",
        }
        assert host["RestartPolicy"]["Name"] == "no"
        assert {"BOTH=written", "FROM_FILE=yes", "SECRET=s3cret"} <= set(config["Env"])
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * 1024**2, 500_000_000, 64)
        assert (config["User"], host["ReadonlyRootfs"], host["Init"]) == ("1000:1000", True, True)
        assert host["ExtraHosts"] == ["elsewhere:10.0.0.7"]
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "2", "max-size": "1048576"}}
        assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
        assert config["Healthcheck"]["Test"] == ["CMD", "true"]
        assert raw["Mounts"][0]["Destination"] == "/shared"
        assert raw["Mounts"][0]["RW"] is False
        assert net in raw["NetworkSettings"]["Networks"]
        assert raw["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostIp"] == "127.0.0.1"
        assert incarnation.pid == raw["State"]["Pid"]
        await lab.runtime.stop(spec, 1)


async def test_death_is_told_once_with_its_exit_code_and_the_same_container_is_started_again(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec(command=["python3", "-c", "import time; time.sleep(0.5); raise SystemExit(3)"])
        first = await lab.runtime.start(spec, 1)
        event = await lab.exited()
        assert (event.member, event.generation, event.code, event.signal, event.oom) == ("one", 1, 3, None, False)
        second = await lab.runtime.start(spec, 2)
        assert second.container == first.container
        assert (await lab.exited()).generation == 2
        assert lab.heard.empty()


async def test_a_kill_from_outside_is_told_as_a_signal(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        incarnation = await lab.runtime.start(lab.spec(), 1)
        docker("kill", incarnation.container or "")
        event = await lab.exited()
        assert (event.code, event.signal) == (137, 9)


async def test_running_out_of_memory_is_named(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        eat = "import time; time.sleep(0.3); x = bytearray(10**9); print(len(x))"
        await lab.runtime.start(lab.spec(command=["python3", "-c", eat], memory="48m"), 1)
        event = await lab.exited()
        assert event.oom
        assert "memory limit" in event.detail


async def test_a_helper_that_ran_out_of_memory_long_ago_is_not_the_reason_of_a_later_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SOON_AFTER", 0)  # long ago begins at once
    async with laboratory(tmp_path) as lab:
        incarnation = await lab.runtime.start(lab.spec(memory="48m"), 1)
        helper = ["docker", "exec", incarnation.container or "", "python3", "-c", "x = bytearray(10**9); print(len(x))"]
        assert (await asyncio.to_thread(subprocess.run, helper, capture_output=True, check=False)).returncode == 137
        await asyncio.to_thread(docker, "stop", "-t", "1", incarnation.container or "")
        event = await lab.exited()
        assert not event.oom
        assert "memory" not in event.detail


async def test_stop_ends_the_whole_container_and_removes_it(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec(command=["sh", "-c", "trap '' TERM; setsid sleep 600 & while :; do sleep 1; done"])
        incarnation = await lab.runtime.start(spec, 1)
        await lab.runtime.stop(spec, 1)
        assert docker("ps", "-aq", "--no-trunc", "--filter", f"id={incarnation.container}") == ""
        assert (await lab.exited()).generation == 1
        await lab.runtime.stop(spec, 1)
        assert lab.heard.empty()


async def test_the_next_watchdog_adopts_by_label_and_hears_the_end(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec()
        born = await lab.runtime.start(spec, 4)
        await lab.runtime.close()
        lab.runtime = DockerRuntime(tmp_path, lab.instance)
        (adopted,) = await lab.runtime.owned((spec,))
        assert (adopted.container, adopted.generation, adopted.fingerprint, adopted.pid) == (born.container, 4, "f1", born.pid)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(lab.listen(lab.runtime))
            docker("kill", born.container or "")
            assert (await lab.exited()).generation == 4
            listening.cancel()


async def test_a_restarted_container_keeps_its_newer_generation_through_adoption(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec()
        born = await lab.runtime.start(spec, 1)
        docker("kill", born.container or "")
        await lab.exited()
        await lab.runtime.start(spec, 2)
        later = DockerRuntime(tmp_path, lab.instance)
        (adopted,) = await later.owned((spec,))
        assert (adopted.container, adopted.generation) == (born.container, 2)
        await later.close()


async def test_a_changed_fingerprint_replaces_the_container_and_an_unwanted_one_is_ended(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        old = await lab.runtime.start(lab.spec(), 1)
        await lab.runtime.start(lab.spec("two"), 1)
        docker("kill", old.container or "")
        await lab.exited()
        new = await lab.runtime.start(lab.spec(fingerprint="f2"), 2)
        assert new.container != old.container
        later = DockerRuntime(tmp_path, lab.instance)
        adopted = await later.owned((lab.spec(fingerprint="f2"),))
        assert [item.member for item in adopted] == ["one"]
        assert docker("ps", "-aq", "--filter", f"name=two-{lab.instance}") == ""
        await later.close()


async def test_output_goes_to_the_member_log_stamped_and_no_line_twice_or_lost_over_two_watchdogs(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        count = "import time\nfor i in range(60):\n print(i, flush=True); time.sleep(0.05)\ntime.sleep(600)"
        spec = lab.spec(command=["python3", "-c", count])
        log = tmp_path / "logs" / "one" / "stdout.log"
        await lab.runtime.start(spec, 1)
        await holds(log, lambda text: len(text.splitlines()) >= 10)
        await lab.runtime.close()
        lab.runtime = DockerRuntime(tmp_path, lab.instance)
        await lab.runtime.owned((spec,))
        await holds(log, lambda text: len(text.splitlines()) >= 60)
        lines = [line.split(" ", 1) for line in log.read_text("utf-8").splitlines()]
        assert [text for _, text in lines] == [str(i) for i in range(60)]
        assert all(len(stamp) == 27 and stamp.endswith("Z") for stamp, _ in lines)
        assert [stamp for stamp, _ in lines] == sorted(stamp for stamp, _ in lines)


async def test_the_last_words_of_a_dying_container_are_kept(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec(command=["python3", "-c", "import sys; print('last words', file=sys.stderr); raise SystemExit(1)"])
        await lab.runtime.start(spec, 1)
        await lab.exited()
        log = tmp_path / "logs" / "one" / "stderr.log"
        await holds(log, lambda text: "last words" in text)


async def test_a_missing_image_is_named_and_not_tried_again(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        with pytest.raises(RuntimeFailed, match=r"image no-such-image:1 is not on .* and pull is 'never'") as failed:
            await lab.runtime.start(lab.spec(image="no-such-image:1", pull="never"), 1)
        assert failed.value.permanent


async def test_an_image_is_built_from_a_directory_each_step_is_told_and_a_fault_names_itself(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        context = tmp_path / "context"
        context.mkdir()
        (context / "hello.txt").write_text(lab.instance, encoding="utf-8")
        recipe = f'FROM {IMAGE}\nARG WORD\nCOPY hello.txt /hello.txt\nRUN test -n "$WORD"\n'
        (context / "Dockerfile").write_text(recipe, encoding="utf-8")
        build = {"context": str(context), "args": {"WORD": "yes"}, "network": "host"}
        spec = lab.spec(image=None, build=build, fingerprint=lab.instance)
        started = await lab.runtime.start(spec, 1)
        lab.images.append(docker("inspect", "-f", "{{.Image}}", started.container or ""))
        assert docker("exec", started.container or "", "cat", "/hello.txt") == lab.instance
        told = [event.text for event in (await lab.event(), await lab.event()) if isinstance(event, Preparing)]
        assert [text.partition(": ")[2].split(" :")[0] for text in told] == ["Step 1/4", "Step 2/4"]
        bad = lab.spec("bad", image=None, build={"context": str(context), "network": "host"}, fingerprint="f9")
        with pytest.raises(RuntimeFailed, match=r"cannot build mcpwatch/bad:f9 from .*returned a non-zero code") as failed:
            await lab.runtime.start(bad, 1)
        assert failed.value.permanent
        other = {"context": str(context), "dockerfile": "Dockerfile.other"}
        with pytest.raises(RuntimeFailed, match=r"Dockerfile.other does not exist"):
            await lab.runtime.start(lab.spec("other", image=None, build=other), 1)


async def test_a_name_that_somebody_else_has_is_named_and_left_alone(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        other = docker("run", "-d", "--name", f"one-{lab.instance}", IMAGE, "sleep", "600")
        lab.foreign.append(other)
        with pytest.raises(RuntimeFailed, match="is taken by one that somebody else created") as failed:
            await lab.runtime.start(lab.spec(), 1)
        assert failed.value.permanent
        assert docker("inspect", "-f", "{{.State.Running}}", other) == "true"


async def test_a_taken_port_is_named_and_leaves_no_container(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        lab.foreign.append(docker("run", "-d", "-p", "127.0.0.1::8000", IMAGE, "sleep", "600"))
        port = docker("port", lab.foreign[0]).rsplit(":", 1)[-1]
        with pytest.raises(RuntimeFailed, match="published port is taken") as failed:
            await lab.runtime.start(lab.spec(ports=[f"{port}:8000"]), 1)
        assert not failed.value.permanent
        assert docker("ps", "-aq", "--filter", f"label=mcpwatch.instance={lab.instance}") == ""


async def test_a_missing_program_and_a_missing_mount_are_named(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        with pytest.raises(RuntimeFailed, match="the image has no such program"):
            await lab.runtime.start(lab.spec(command=["no-such-program"], init=False), 1)
        with pytest.raises(RuntimeFailed, match="make that path on the engine's host"):
            await lab.runtime.start(lab.spec(volumes=[f"{tmp_path}/absent:/x"]), 1)


async def test_a_container_of_compose_is_watched_and_restarted_but_never_removed(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        other = docker("run", "-d", "--name", f"pg-{lab.instance}", "--restart", "unless-stopped", IMAGE, "sleep", "600")
        lab.foreign.append(other)
        spec = lab.spec("pg", container=f"pg-{lab.instance}")
        assert await lab.runtime.owned((spec,)) == ()
        began = docker("inspect", "-f", "{{.State.StartedAt}}", other)
        taken = await lab.runtime.start(spec, 1)
        assert (taken.container, docker("inspect", "-f", "{{.State.StartedAt}}", other)) == (other, began)
        await lab.runtime.stop(spec, 1)
        assert docker("inspect", "-f", "{{.State.StartedAt}}", other) == began
        assert (await lab.exited()).generation == 1
        again = await lab.runtime.start(spec, 2)
        assert again.container == other
        assert docker("inspect", "-f", "{{.State.StartedAt}}", other) > began


async def test_a_container_of_others_that_is_made_anew_is_told_as_soon_as_it_is_started(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec("pg", container=f"pg-{lab.instance}")
        with pytest.raises(RuntimeFailed, match="has no container"):
            await lab.runtime.start(spec, 1)
        lab.foreign.append(docker("run", "-d", "--name", f"pg-{lab.instance}", IMAGE, "sleep", "600"))
        assert await lab.event() == Startable("pg")
        assert (await lab.runtime.start(spec, 2)).container == lab.foreign[-1]


async def test_a_name_that_only_docker_knows_is_reached_by_address_and_asked_by_name(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        name = f"one-{lab.instance}"
        direct = Target(f"http://{name}:8000/sse")
        bridged = await lab.runtime.start(lab.spec(direct=direct, networks=[f"net-{lab.instance}"]), 1)
        assert bridged.direct is not None
        address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", bridged.container or "")
        assert bridged.direct.url == f"http://{address}:8000/sse"
        assert ("Host", f"{name}:8000") in bridged.direct.headers
        published = await lab.runtime.start(
            lab.spec("two", direct=Target(f"http://two-{lab.instance}:8000/sse"), ports=["8000"]), 1
        )
        assert published.direct is not None
        assert published.direct.url.startswith("http://127.0.0.1:")


async def test_a_container_that_leaves_its_network_is_told_and_put_on_it_again_where_it_then_answers(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        net = f"net-{lab.instance}"
        spec = lab.spec(direct=Target(f"http://one-{lab.instance}:8000/sse"), networks=[net])
        living = await lab.runtime.start(spec, 1)
        docker("network", "disconnect", net, living.container or "")
        left = await lab.event()
        assert left == Hindered("one", "network_disconnected", f"its container is not on the network {net} any more")
        other = docker("run", "-d", "--rm", "--network", net, IMAGE, "sleep", "600")
        lab.foreign.append(other)
        await lab.runtime.resume(spec)
        events = {await lab.event(), await lab.event()}
        assert Hindered("one") in events, "it is back"
        (moved,) = [event for event in events if isinstance(event, Moved)]
        address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", living.container or "")
        assert moved.direct.url == f"http://{address}:8000/sse"


async def test_members_that_start_at_once_share_the_one_network_that_was_missing(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        net = f"net-{lab.instance}"
        specs = [lab.spec(name, networks=[net]) for name in ("one", "two", "three", "four")]
        await asyncio.gather(*(lab.runtime.start(spec, 1) for spec in specs))
        assert len(docker("network", "ls", "-q", "--filter", f"name={net}").split()) == 1


async def test_usage_is_that_of_the_container(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        incarnation = await lab.runtime.start(lab.spec(), 1)
        assert isinstance(lab.runtime, DockerRuntime)
        await lab.runtime._reconcile()  # pyright: ignore[reportPrivateUsage]
        usage = lab.runtime.usage("one")
        assert usage is not None
        assert usage.pid == incarnation.pid
        assert usage.rss > 1_000_000
        assert usage.processes >= 2


async def test_a_container_removed_behind_our_back_counts_as_ended(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        incarnation = await lab.runtime.start(lab.spec(), 1)
        docker("rm", "-f", incarnation.container or "")
        assert (await lab.exited()).generation == 1
        again = await lab.runtime.start(lab.spec(), 2)
        assert again.container != incarnation.container


async def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        spec = lab.spec(host=f"unix://{tmp_path}/none.sock")
        with pytest.raises(RuntimeFailed, match="no such socket; start it, or set DOCKER_HOST"):
            await lab.runtime.start(spec, 1)
        assert await lab.runtime.owned((spec,)) == ()
        event = await lab.event()
        assert isinstance(event, Gone)
        assert not event.back


async def test_a_container_made_anew_is_on_its_networks_again_and_that_is_told(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        net = f"net-{lab.instance}"
        spec = lab.spec(networks=[net])
        living = await lab.runtime.start(spec, 1)
        docker("network", "disconnect", net, living.container or "")
        assert isinstance(left := await lab.event(), Hindered)
        assert left.cause == "network_disconnected"
        await lab.runtime.stop(spec, 1.0)
        await lab.exited()
        await lab.runtime.start(spec, 2)
        assert await lab.event() == Hindered("one")


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
async def test_a_container_is_put_on_its_networks_again_which_are_made_again_where_somebody_removed_them(
    count: int, removed: bool, tmp_path: Path
) -> None:
    async with laboratory(tmp_path) as lab:
        nets = [f"net{number}-{lab.instance}" for number in range(count)]
        spec = lab.spec(networks=nets)
        living = await lab.runtime.start(spec, 1)
        for net in nets:
            docker("network", "disconnect", "-f", net, living.container or "")
            assert isinstance(await lab.event(), Hindered)
            if removed:
                docker("network", "rm", net)
        await lab.runtime.resume(spec)
        told = [await lab.event() for _ in range(count)]
        assert told[-1] == Hindered("one")


async def test_a_container_of_others_that_is_off_its_network_is_told_so_whenever_it_left_and_left_there(
    tmp_path: Path,
) -> None:
    async with laboratory(tmp_path) as lab:
        net = f"net-{lab.instance}"
        await lab.runtime.start(lab.spec(networks=[net]), 1)
        other = docker("run", "-d", "--name", f"pg-{lab.instance}", "--network", net, IMAGE, "sleep", "600")
        lab.foreign.append(other)
        docker("network", "disconnect", net, other)
        spec = lab.spec("pg", container=f"pg-{lab.instance}")
        await lab.runtime.start(spec, 1)
        words = f"its container is not on the network {net} any more; mcpwatch did not make it, and does not put it on it again"
        assert await lab.event() == Hindered("pg", "network_left", words), "before anybody looked"
        await lab.runtime.resume(spec)
        docker("network", "connect", net, other)
        assert await lab.event() == Hindered("pg")
        docker("network", "disconnect", net, other)
        assert await lab.event() == Hindered("pg", "network_left", words)
        await lab.runtime.stop(spec, 1.0)
        await lab.exited()
        await lab.runtime.start(spec, 2)
        docker("network", "connect", net, other)
        assert await lab.event() == Hindered("pg"), "its next run was known to be off it"
