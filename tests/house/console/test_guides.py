"""Every console block of README and the guides works as it is written, from a fresh home."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.house.console.blocks import Block
from tests.house.console.params import params
from tests.house.console.playing import play
from tests.house.console.settings import CLI
from tests.house.console.stage import Stage, stage

pytestmark = [pytest.mark.slow, pytest.mark.needs("root"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def here() -> Generator[Stage]:
    with stage() as made:
        yield made


@pytest.mark.parametrize("block", params(lambda page: page != CLI))
def test_a_block_of_a_guide_works_as_it_is_written(here: Stage, block: Block) -> None:
    play(here, block)
