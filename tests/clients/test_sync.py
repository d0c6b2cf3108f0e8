"""Writing a client's file: whole or not at all, under its own lock, and left alone whenever that is the right thing."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mcpwatch.clients import locks
from mcpwatch.clients.backups import Backup, Backups
from mcpwatch.clients.ledger import Ledger
from mcpwatch.clients.reconcile import ReconcileResult
from mcpwatch.clients.sync import Job, preview, sync
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.time import WallTime
from tests.clients.adding import job
from tests.e2e.test_state_dir import by_directory, read_only, remove, truncate

OLD = '{\n  "numStartups": 3,\n  "mcpServers": {}\n}'
STEPS = ("created", "half", "written", "checked", "exchanged", "swapped", "done")


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "state" / "backups")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "home" / ".claude.json"
    path.parent.mkdir()
    path.write_bytes(OLD.encode())
    path.chmod(0o600)
    return path


def names(path: Path) -> set[str]:
    return set(json.loads(path.read_text("utf-8"))["mcpServers"])


def writer(path: Path, backups: Path, *routes: str) -> subprocess.Popen[str]:
    asked = json.dumps({"path": str(path), "backups": str(backups), "names": routes})
    return subprocess.Popen([sys.executable, "-m", "tests.clients.adding", asked], stdout=subprocess.PIPE, text=True)


def forked(work: Callable[[], object]) -> int:
    """The exit code (negative: the signal) of a child process that does `work`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def beside(path: Path) -> set[str]:
    return {item.name for item in path.parent.iterdir()} - {path.name}


@contextmanager
def own_lock(path: Path) -> Generator[None]:
    """The lock as the client takes it: a directory, waited for."""
    lock, deadline = Path(f"{path}.lock"), time.monotonic() + 30
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            assert time.monotonic() < deadline
            os.sched_yield()
    try:
        yield
    finally:
        lock.rmdir()


# ---- what is kept


def test_mode_order_marks_and_attributes_are_kept(file: Path, backups: Backups) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + OLD.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    acl = bytes.fromhex("0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000000ffffffff")
    with suppress(OSError):
        os.setxattr(file, "user.note", b"mine")
        os.setxattr(file, "system.posix_acl_access", acl)
    before = {name: os.getxattr(file, name) for name in os.listxattr(file)}
    mode = file.stat().st_mode
    sync(job(file, "time"), backups)
    data = file.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf{\r\n")
    assert data.count(b"\n") == data.count(b"\r\n") > 4
    assert not data.endswith(b"\n")
    assert file.stat().st_mode == mode
    assert {name: os.getxattr(file, name) for name in os.listxattr(file)} == before


@pytest.mark.needs("root")
def test_another_owner_is_kept_when_we_may(file: Path, backups: Backups) -> None:
    os.chown(file, 4321, 4322)
    sync(job(file, "time"), backups)
    assert (file.stat().st_uid, file.stat().st_gid) == (4321, 4322)


def test_a_symlink_stays_and_its_target_is_replaced_in_its_own_directory(file: Path, backups: Backups, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "claude.json"
    real.parent.mkdir()
    file.rename(real)
    file.symlink_to(Path("..") / "dotfiles" / "claude.json")
    sync(job(file, "time"), backups)
    assert file.is_symlink()
    assert names(real) == {"time"}
    assert beside(real) == beside(file) == set()


def test_a_missing_file_is_made_for_its_owner_only(tmp_path: Path, backups: Backups) -> None:
    path = tmp_path / "new" / "dir" / ".claude.json"
    sync(job(path, "time"), backups)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_need_not_change_is_not_written(file: Path, backups: Backups) -> None:
    sync(job(file, "time"), backups)
    before = file.stat()
    again = sync(Job("claude-code", file, lambda text: ReconcileResult(text, Ledger()), Ledger()), backups)
    assert (again.changed, file.stat().st_ino, file.stat().st_mtime_ns) == (False, before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("meanwhile", ["", '{"mcpServers": {"theirs": {}}}'])
def test_what_was_shown_is_written_without_a_second_rendering_unless_the_file_changed(
    file: Path, backups: Backups, meanwhile: str
) -> None:
    plain, texts = job(file, "time"), list[str | None]()

    def render(text: str | None) -> ReconcileResult:
        texts.append(text)
        return plain.render(text)

    counted = replace(plain, render=render)
    shown = preview(counted)
    file.write_text(meanwhile or OLD, "utf-8")
    sync(counted, backups, looked=shown)
    assert texts == [OLD, meanwhile][: 2 if meanwhile else 1]
    assert names(file) == ({"theirs", "time"} if meanwhile else {"time"})


# ---- what is left alone


def spoil_broken(file: Path) -> None:
    file.write_text('{"mcpServers": {', encoding="utf-8")


def spoil_huge(file: Path) -> None:
    with file.open("ab") as stream:
        stream.truncate(9 * 1024 * 1024)


def spoil_binary(file: Path) -> None:
    file.write_bytes(b'{"a": "\xff\xfe"}')


def spoil_read_only(file: Path) -> None:
    file.chmod(0o400)


def spoil_hard_link(file: Path) -> None:
    os.link(file, file.with_name("other"))


def spoil_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def spoil_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def spoil_dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def spoil_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


SPOILT = {
    "line 1": spoil_broken,
    "is larger than 8 MiB": spoil_huge,
    "not UTF-8": spoil_binary,
    "read-only": spoil_read_only,
    "hard links": spoil_hard_link,
    "not a regular file": spoil_pipe,
    "regular file": spoil_directory,
    "leads nowhere": spoil_dangling,
    "symbolic link": spoil_loop,
}


@pytest.mark.parametrize("said", SPOILT)
def test_a_file_that_must_be_left_alone_is_left_alone_and_said(file: Path, backups: Backups, said: str) -> None:
    SPOILT[said](file)
    kind, was = file.lstat().st_mode, file.read_bytes() if file.is_file() else b""
    with pytest.raises(ClientFileError, match=said) as caught:
        sync(job(file, "time"), backups)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (file.lstat().st_mode, file.read_bytes() if file.is_file() else b"") == (kind, was)
    assert beside(file) <= {"other"}


@pytest.mark.needs("root")
def test_a_file_of_root_is_left_alone_by_anyone_else() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o777)
        path = home / ".claude.json"
        path.write_text(OLD, "utf-8")
        path.chmod(0o666)

        def attempt() -> None:
            os.setuid(4321)
            with pytest.raises(ClientFileError, match="belongs to root; left alone"):
                sync(job(path, "time"), Backups(home))

        assert forked(attempt) == 0
        assert path.read_text("utf-8") == OLD


def test_a_token_is_not_written_where_others_can_read_it_or_git_would_take_it(file: Path, backups: Backups) -> None:
    secret = Job("cline", file, lambda _: ReconcileResult('{"key": "s3cret"}', Ledger()), Ledger(), secret=True)
    file.chmod(0o644)
    with pytest.raises(ClientFileError, match="chmod 600"):
        sync(secret, backups)
    file.chmod(0o600)
    (file.parent / ".git").mkdir()
    with pytest.raises(ClientFileError, match="git work tree"):
        sync(secret, backups)
    assert file.read_text("utf-8") == OLD


# ---- crashes


@pytest.mark.parametrize("step", STEPS)
def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new_file_complete(file: Path, tmp_path: Path, step: str) -> None:
    def die(now: str) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(partial(sync, job(file, "time"), Backups(tmp_path / "b"), die)) == -signal.SIGKILL
    text = file.read_text("utf-8")
    assert text == OLD or names(file) == {"time"}
    assert (text != OLD) == (step in ("exchanged", "swapped", "done"))
    long_ago = time.time() - 60
    os.utime(f"{file}.lock", (long_ago, long_ago))
    sync(job(file, "fetch"), Backups(tmp_path / "b"))
    assert names(file) - {"time"} == {"fetch"}
    assert beside(file) == set()


def test_a_file_size_limit_leaves_the_old_file_and_no_litter(file: Path, tmp_path: Path) -> None:
    def attempt() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))
        with pytest.raises(ClientFileError, match="left as it was"):
            sync(job(file, "time"), Backups(tmp_path / "b"))

    assert forked(attempt) == 0
    assert file.read_text("utf-8") == OLD
    assert beside(file) == set()


@pytest.mark.needs("root")
def test_a_full_file_system_leaves_the_old_file_and_no_litter(tmp_path: Path, backups: Backups) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        path = disk / ".claude.json"
        path.write_text(OLD, "utf-8")
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        with pytest.raises(ClientFileError, match="No space left on device; left as it was"):
            sync(job(path, "time"), backups)
        assert path.read_text("utf-8") == OLD
        assert beside(path) == {"filler"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ---- races


def test_a_client_that_writes_in_between_loses_nothing(file: Path, backups: Backups) -> None:
    """At every step of our write the client puts its own file in place, once; both changes are in the end."""
    for step in ("created", "half", "written", "checked"):
        file.write_text(OLD, "utf-8")
        told = list[str]()

        def meddle(now: str, step: str = step, told: list[str] = told) -> None:
            if now == step and not told:
                told.append(now)
                other = file.with_name("claude.json.tmp.1.ab")
                other.write_text(OLD.replace("3", "4"), "utf-8")
                other.rename(file)

        sync(job(file, "time"), backups, meddle)
        assert told == [step]
        assert json.loads(file.read_text("utf-8"))["numStartups"] == 4
        assert names(file) == {"time"}


def test_a_client_that_never_stops_writing_is_left_alone(file: Path, backups: Backups) -> None:
    count = iter(range(1000))

    def meddle(now: str) -> None:
        if now == "checked":
            file.write_text(OLD.replace("3", str(next(count))), "utf-8")

    with pytest.raises(ClientFileError, match="keeps changing it"):
        sync(job(file, "time"), backups, meddle)
    assert names(file) == set()
    assert beside(file) == set()


@pytest.mark.slow
def test_two_writers_and_a_client_lose_none_of_each_others_entries(file: Path, tmp_path: Path) -> None:
    """Two processes add twenty entries each while the client, under its own lock, counts its starts up."""
    stop = threading.Event()
    turns = list[int]()

    def client() -> None:
        while not stop.is_set():
            with own_lock(file):
                document = json.loads(file.read_text("utf-8"))
                document["numStartups"] += 1
                other = file.with_name("claude.json.tmp.1.ab")
                other.write_text(json.dumps(document, indent=2), "utf-8")
                other.rename(file)
                turns.append(document["numStartups"])

    thread = threading.Thread(target=client)
    thread.start()
    one = writer(file, tmp_path / "b1", *(f"a{n}" for n in range(20)))
    two = writer(file, tmp_path / "b2", *(f"b{n}" for n in range(20)))
    with one, two:
        codes = (one.wait(timeout=50), two.wait(timeout=50))
    stop.set()
    thread.join(timeout=20)
    assert codes == (0, 0)
    assert names(file) == {f"{side}{n}" for side in "ab" for n in range(20)}
    assert json.loads(file.read_text("utf-8"))["numStartups"] == 3 + len(turns)
    assert beside(file) == set()


def test_the_clients_own_lock_is_waited_for_and_given_back(file: Path, backups: Backups) -> None:
    lock = Path(f"{file}.lock")
    lock.mkdir()
    timer = threading.Timer(0.2, lock.rmdir)
    timer.start()
    started = time.monotonic()
    sync(job(file, "time"), backups)
    assert time.monotonic() - started >= 0.15
    assert not lock.exists()
    timer.join()


def test_a_lock_that_is_held_on_and_on_leaves_the_file_alone(file: Path) -> None:
    Path(f"{file}.lock").mkdir()
    with (
        pytest.raises(ClientFileError, match=r"its client holds .claude.json.lock; left alone"),
        locks.locked(file, file, "mkdir", 0.1),
    ):
        pass
    assert Path(f"{file}.lock").is_dir()


# ---- backups


def test_every_write_leaves_a_private_backup_and_the_first_is_kept_for_good(file: Path, tmp_path: Path) -> None:
    backups = Backups(tmp_path / "b", keep=3)
    texts = [OLD.replace("3", str(n)) for n in range(8)]
    for n, text in enumerate(texts):
        file.write_text(text, "utf-8")
        backups.save("claude-code", file, text.encode(), Ledger(), WallTime(1e9 + n))
    kept = sorted((tmp_path / "b").glob("*/*.bak"))
    assert [item.read_text("utf-8") for item in kept] == [texts[0], *texts[-3:]]
    assert all(item.stat().st_mode & 0o077 == 0 for item in kept)
    newest = backups.newest("claude-code", file)
    assert newest
    assert newest.data == texts[-1].encode()
    assert "numStartups" not in repr(newest)


@pytest.mark.parametrize("harm", [remove, truncate, by_directory, read_only])
@pytest.mark.parametrize("suffix", ["bak", "json"])
def test_a_harmed_backup_keeps_no_write_from_being_made_and_no_sound_one_from_being_found(
    file: Path, tmp_path: Path, harm: Callable[[Path], None], suffix: str
) -> None:
    backups = Backups(tmp_path / "backups", keep=2)

    def save(number: int) -> None:
        backups.save("codex-cli", file, str(number).encode(), Ledger(), WallTime(number))

    def newest() -> Backup:
        found = backups.newest("codex-cli", file)
        assert found is not None
        return found

    for number in range(4):
        save(number)
    for path in sorted((tmp_path / "backups").rglob(f"*.{suffix}"))[1:]:
        harm(path)
    assert newest().data == (b"3" if harm is read_only else b"0")
    for number in range(4, 9):
        save(number)
        assert newest().data == str(number).encode()
    backups.drop("codex-cli", file, newest())
    assert newest().data == b"7"


def test_without_a_backup_nothing_is_written(file: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("in the way", "utf-8")
    with pytest.raises(ClientFileError, match="no backup could be made"):
        sync(job(file, "time"), Backups(tmp_path / "b"))
    assert file.read_text("utf-8") == OLD


def test_a_preview_writes_nothing_and_shows_only_our_lines(file: Path) -> None:
    written = preview(job(file, "time"))
    assert written.changed
    assert "numStartups" not in written.diff()
    assert '+    "time": {' in written.diff()
    assert file.read_text("utf-8") == OLD
    assert beside(file) == set()
