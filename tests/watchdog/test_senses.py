"""What is not given to the watchdog sees nothing and does nothing."""

from __future__ import annotations

import pytest

from mcpwatch.model.spec import MemberSpec
from mcpwatch.watchdog.senses import Senses

pytestmark = pytest.mark.anyio


async def test_senses_that_were_not_given_see_nothing() -> None:
    blind = Senses()
    assert not blind.runs(1, "")
    assert blind.child(1, "time", 2) == 0
    assert blind.stopped(frozenset({1})) == frozenset()
    assert (blind.tail("time"), blind.listening(1)) == ((), ())
    assert await blind.port_holder(MemberSpec("time", "server", "process", object())) == ""
