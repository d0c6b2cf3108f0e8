"""What is special about a runtime is said once, and for each that there is."""

from __future__ import annotations

from mcpwatch.model.runtime import TRAITS, RuntimeTraits, traits_of
from mcpwatch.runtimes import RUNTIMES


def test_each_runtime_has_its_traits_and_a_name_that_is_none_has_nothing_special() -> None:
    assert set(TRAITS) == {kind.name for kind in RUNTIMES}
    assert traits_of("no runtime") == RuntimeTraits()


def test_a_runtime_is_of_one_carrier_and_only_an_engine_has_containers() -> None:
    for traits in TRAITS.values():
        assert [traits.own, traits.hosted, traits.watched, traits.engine].count(True) == 1
        assert traits.engine or not traits.container
