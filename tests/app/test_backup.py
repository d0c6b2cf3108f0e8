"""A backup holds the fleet, hides its secrets, is refused whole when damaged, and restores all or nothing."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mcpwatch.app.backup.archive import BackupError, unpack
from mcpwatch.app.backup.create import BackupSource, create, known, prune
from mcpwatch.app.backup.restore import restore
from mcpwatch.app.backup.schedule import BackupSpec, ScheduledBackup
from mcpwatch.app.paths import StatePaths
from mcpwatch.model.fact import Fact
from mcpwatch.model.time import Instant, WallTime

NOW = WallTime(datetime(2026, 11, 29, 3, 0, tzinfo=UTC).timestamp())
SECRET = "tok-0123456789"


@pytest.fixture
def source(tmp_path: Path) -> BackupSource:
    """A fleet with an env file, a store, a client's backup, and what does not belong into a backup."""
    home, state = tmp_path / "home", tmp_path / "state"
    (state / "logs" / "time").mkdir(parents=True)
    (state / "backups" / "clients" / "a").mkdir(parents=True)
    (state / "proxy").mkdir()
    home.mkdir()
    (home / "fleet.yaml").write_text("version: 1\nenv_file: .env\nmembers: {}\n")
    (home / ".env").write_text(f"TOKEN={SECRET}\n")
    (home / ".env").chmod(0o600)
    (state / "logs" / "time" / "stderr.log").write_text("a line\n")
    (state / "lock").write_text("7")
    (state / "backups" / "clients" / "a" / "1.bak").write_text("{}")
    (state / "proxy" / "gateway.json").write_text(f'{{"token": "{SECRET}"}}')
    with sqlite3.connect(state / "state.db") as store:
        store.execute("CREATE TABLE facts (text)")
        store.execute("INSERT INTO facts VALUES ('it happened')")
    store.close()
    return BackupSource(home / "fleet.yaml", [home / ".env"], (SECRET,), StatePaths(state))


def made(source: BackupSource, tmp_path: Path, passphrase: str | None = None) -> Path:
    return create(source, tmp_path / "out", passphrase, NOW)


def test_without_a_passphrase_nothing_secret_is_in_it_and_that_is_told(source: BackupSource, tmp_path: Path) -> None:
    path = made(source, tmp_path)
    assert path.name == "mcpwatch-20261129T030000Z.tar.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    archive = unpack(path)
    assert {item.name for item in archive.files} == {"config/fleet.yaml", "state/state.db", "state/backups/clients/a/1.bak"}
    assert archive.manifest.left_out == ("config/.env", "state/proxy/gateway.json")
    assert SECRET.encode() not in gzip.decompress(path.read_bytes())


def test_a_configuration_with_secrets_is_not_written_in_plain(source: BackupSource, tmp_path: Path) -> None:
    source.config.write_text(f"token: {SECRET}")
    with pytest.raises(BackupError, match="holds secrets in plain text"):
        made(source, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # age makes a passphrase hard to guess: each use of it takes a second
def test_with_a_passphrase_secrets_are_in_it_encrypted_and_come_back(source: BackupSource, tmp_path: Path) -> None:
    path = made(source, tmp_path, "correct horse")
    whole = gzip.decompress(path.read_bytes())
    assert SECRET.encode() not in whole
    locked = unpack(path)
    assert locked.locked
    assert {item.name for item in locked.manifest.items if item.secret} == {"config/.env", "state/proxy/gateway.json"}
    with pytest.raises(BackupError, match="the passphrase does not fit"):
        unpack(path, "wrong")
    at = whole.index(b"age-encryption.org") + 200
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(gzip.compress(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]))
    with pytest.raises(BackupError, match=r"secrets\.age is not what the manifest says"):
        unpack(broken, "correct horse")
    for folder in ("home", "state"):
        (tmp_path / folder).rename(tmp_path / f"{folder}.gone")
    done = restore(unpack(path, "correct horse"), None, source.paths, force=False)
    assert done.config == source.config
    assert (tmp_path / "home" / ".env").read_text() == f"TOKEN={SECRET}\n"
    assert stat.S_IMODE((tmp_path / "home" / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE(source.paths.root.stat().st_mode) == 0o700
    store = sqlite3.connect(source.paths.store)
    assert store.execute("SELECT text FROM facts").fetchall() == [("it happened",)]
    store.close()
    assert not (source.paths.root / "logs").exists()


def test_a_restore_refuses_to_overwrite_or_moves_aside(source: BackupSource, tmp_path: Path) -> None:
    archive = unpack(made(source, tmp_path))
    source.config.write_text("mine")
    with pytest.raises(BackupError, match="is there already; nothing was changed"):
        restore(archive, None, source.paths, force=False)
    assert source.config.read_text() == "mine"
    done = restore(archive, None, source.paths, force=True)
    assert source.config.read_text().startswith("version: 1")
    assert source.config.with_name("fleet.yaml.before-restore") in done.moved
    assert source.config.with_name("fleet.yaml.before-restore").read_text() == "mine"


def test_every_damage_is_refused_whole(source: BackupSource, tmp_path: Path) -> None:
    path = made(source, tmp_path)
    whole, files = gzip.decompress(path.read_bytes()), unpack(path).files
    hits = 0
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(gzip.compress(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :], mtime=0))
        try:
            archive = unpack(path)
        except BackupError:
            hits += 1
            continue
        assert archive.files == files, "padding alone"
    assert hits > 10
    for text in (b"", b"no archive", path.read_bytes()[:200]):
        path.write_bytes(text)
        with pytest.raises(BackupError, match="damaged"):
            unpack(path)


def test_old_backups_go_and_the_newest_stay(source: BackupSource, tmp_path: Path) -> None:
    for day in range(4):
        create(source, tmp_path / "out", None, WallTime(NOW + day * 86_400))
    gone = prune(tmp_path / "out", 2)
    assert [path.name[9:17] for path in gone] == ["20261130", "20261129"]
    assert [path.name[9:17] for path in known(tmp_path / "out")] == ["20261202", "20261201"]


class _Clock:
    """A clock that is one second before three, and then after it."""

    def __init__(self) -> None:
        self.asked = 0

    def wall(self) -> WallTime:
        self.asked += 1
        return WallTime(NOW - 0.01 if self.asked <= 2 else NOW + 1)

    def now(self) -> Instant:
        return Instant(0.0)


def test_the_watchdog_makes_one_at_its_time_and_tells_it(source: BackupSource, tmp_path: Path) -> None:
    told: list[Fact] = []
    spec = BackupSpec(cron="* * * * *", dir=str(tmp_path / "out"))  # pyright: ignore[reportCallIssue]

    async def until_told() -> None:
        arrived = asyncio.Event()

        def publish(fact: Fact) -> None:
            told.append(fact)
            arrived.set()

        task = asyncio.create_task(ScheduledBackup(spec, lambda: source, _Clock(), publish).run())
        async with asyncio.timeout(20):
            await arrived.wait()
        task.cancel()

    asyncio.run(until_told())
    assert told[0].text.startswith(f"backup made: {tmp_path / 'out'}")
    assert len(known(tmp_path / "out")) == 1
