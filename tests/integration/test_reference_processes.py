"""The reference fleet as processes of one machine on the real TBXark; every fault of `drill` named and healed without a human."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.integration.drills import DRILLS, drilled
from tests.integration.reference_fleet import proven, reference_processes

pytestmark = [pytest.mark.needs("root", "tbxark", "sparfenyuk", "npm"), pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Generator[Daemon]:
    with running(tmp_path_factory.mktemp("reference-fleet"), reference_processes(free_port())) as fleet:
        proven(fleet)
        yield fleet


@pytest.mark.parametrize(("member", "fault"), DRILLS)
def test_every_fault_of_every_kind_is_named_and_healed(daemon: Daemon, member: str, fault: str) -> None:
    drilled(daemon, member, fault)
