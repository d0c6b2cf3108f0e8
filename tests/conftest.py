"""What every test gets: the anyio backend, the number of examples, `needs(part)`, and a loop that nothing holds.

`needs(part)` skips a test here and fails it where MCPWATCH_REQUIRE names the part. A callback of ours that takes more than 0.1 s of
processor fails its test, in this process and in every watchdog and gateway that the test starts: see `mcpwatch.slow`.
"""

from __future__ import annotations

import gc
import os
import re
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.charmap import intervals_from_codec
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.held import Held
from tests.parts import ASKED_FOR, ROOT, missing
from tests.precompile import precompile, share
from tests.trust import share_contexts

settings.register_profile("quick", max_examples=15, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("quick"), max_examples=60)
settings.register_profile("explore", settings.get_profile("full"), max_examples=1000, derandomize=False)
settings.load_profile("quick")
"""`--hypothesis-profile`: `quick` in the quick suite, `full` in CI, both the same examples each time; `explore` new ones.

The quick suite leaves out the constants of our own files, which hypothesis reads all files for, in each worker.
"""


QUICK = "not slow and not needs"
"""The tests of `make test`."""
NONE_QUICK = re.compile(r"^pytestmark = (?:\[[^\]]*?|.*?)\bpytest\.mark\.(?:slow|needs)\b", re.MULTILINE)
"""What marks all tests of a file as slow, or as needing a part."""

HELD = Held()


def pytest_configure(config: pytest.Config) -> None:
    HELD.begin()
    share_contexts()
    if config.option.markexpr == QUICK:
        hypothesis: Any = providers
        hypothesis._get_local_constants = Constants


def pytest_unconfigure() -> None:
    HELD.end()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of a file without a quick test nothing is imported in the quick suite: browsers and SDKs take half of what all files take."""
    if config.option.markexpr != QUICK or collection_path.suffix != ".py":
        return None
    return bool(NONE_QUICK.search(collection_path.read_text(encoding="utf-8"))) or None


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """A worker of a run over all files imports its share of them first.

    Hypothesis takes 2.5 s to find which characters UTF-8 encodes: in a fresh clone the controller does that for all workers.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker and not session.config.option.file_or_dir:
        files = [file for file in sorted(ROOT.glob("tests/**/test_*.py")) if not pytest_ignore_collect(file, session.config)]
        precompile(share(files, worker["workerid"], worker["workercount"]))
    elif not worker and session.config.getoption("numprocesses", None):
        threading.Thread(target=intervals_from_codec, args=("utf-8",)).start()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None]:
    """After all fixtures that end here, those of the module and of the session too."""
    yield
    if lines := HELD.fresh():
        pytest.fail("\n".join(["the loop was held:", *lines]), pytrace=False)


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one more than there are cores: a test that waits leaves its core to another, but each worker collects all."""
    return min((os.cpu_count() or 1) + 1, 6)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()


def thin_out(items: Sequence[pytest.Item]) -> None:
    """Mark as slow what `sample` leaves out of the quick suite."""
    cases: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample"):
            cases.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
    for found in cases.values():
        marker = found[0].get_closest_marker("sample")
        wanted = int(marker.args[0]) if marker and marker.args else 2
        kept = {round(place * (len(found) - 1) / max(1, wanted - 1)) for place in range(wanted)}
        for place, item in enumerate(found):
            if place not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A part that is absent skips its tests, unless MCPWATCH_REQUIRE says it must be there.

    Comma-separated part names, or `all` but those that are only built when asked for, with `-part` for one that cannot be had here.
    """
    thin_out(items)
    required = {part.strip() for part in os.environ.get("MCPWATCH_REQUIRE", "").split(",") if part.strip()}
    for item in items:
        for marker in item.iter_markers("needs"):
            for part in marker.args:
                reason = missing(str(part))
                every = "all" in required and f"-{part}" not in required and part not in ASKED_FOR
                must = str(part) in required or every
                if reason and not must:
                    item.add_marker(pytest.mark.skip(reason=f"{part}: {reason}"))
