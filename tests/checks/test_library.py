"""`probe`, the one function for anyone's test: what its words become."""

from __future__ import annotations

import pytest

from mcpwatch import checks
from mcpwatch.checks import Prober, library, probe
from mcpwatch.model.probe import Canary, Expect, Outcome, ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec

pytestmark = pytest.mark.anyio


class Noting:
    """Stands for the prober."""

    asked: tuple[CheckSpec, Target, Vantage] | None = None
    closed = False

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        type(self).asked = check, target, vantage
        return ProbeResult(Outcome.SUCCESS)

    async def close(self) -> None:
        type(self).closed = True


async def asked(monkeypatch: pytest.MonkeyPatch, *words: object, **more: object) -> tuple[CheckSpec, Target]:
    monkeypatch.setattr(library, "Prober", Noting)
    Noting.asked, Noting.closed = None, False
    result = await probe(*words, **more)  # type: ignore[arg-type]
    assert (result.outcome, Noting.closed) == (Outcome.SUCCESS, True)
    assert Noting.asked is not None
    assert Noting.asked[2] == "direct"
    return Noting.asked[:2]


async def test_few_words_are_a_plain_check(monkeypatch: pytest.MonkeyPatch) -> None:
    check, target = await asked(monkeypatch, "http://h/mcp")
    assert check == CheckSpec("probe", timeout=10.0)
    assert target == Target("http://h/mcp")
    check, target = await asked(monkeypatch, command=["server", "-v"], transport="http")
    assert target == Target(transport="stdio", command=("server", "-v"))


async def test_every_word_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    expect = Expect(min_tools=2)
    check, target = await asked(
        monkeypatch,
        "https://h/mcp",
        token="t",
        headers={"X": "y"},
        transport="http",
        timeout=3,
        expect=expect,
        tool="echo",
        arguments={"a": 1},
        safe_call=True,
        ca_file="ca.pem",
        insecure=True,
    )
    assert check == CheckSpec("probe", timeout=3, expect=expect, canary=Canary("echo", '{"a": 1}'), safe_call=True)
    assert target == Target("https://h/mcp", "http", "t", (("X", "y"),), ca_file="ca.pem", insecure=True)
    check, _ = await asked(monkeypatch, "http://h/mcp", tool="echo")
    assert check.canary == Canary("echo", "{}")


@pytest.mark.parametrize("words", [{}, {"url": "http://h", "command": ["x"]}])
async def test_either_a_url_or_a_command_is_given(words: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give either a url or a command"):
        await probe(**words)  # type: ignore[arg-type]


async def test_the_room_has_the_names_it_says_and_no_other() -> None:
    assert checks.__getattr__("Prober") is Prober
    with pytest.raises(AttributeError, match="has no attribute 'prober_of'"):
        checks.__getattr__("prober_of")
