"""The example of CONTRIBUTING.md is a notifier that works, and the paths it names are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import NotifyFailed
from tests.alerts.receivers import notification
from tests.parts import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example() -> dict[str, Any]:
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"__name__": "line_file"}
    exec(compile(code[1], "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return names


@pytest.mark.anyio
async def test_the_notifier_of_the_example_delivers_and_says_when_it_cannot(tmp_path: Path) -> None:
    kind = example()["LINE_FILE"]
    notifier = kind.make(kind.spec(path=tmp_path / "alerts"))
    await notifier.notify(notification())
    assert (tmp_path / "alerts").read_text(encoding="utf-8") == "[down] fetch: member down\n"
    with pytest.raises(NotifyFailed, match="line_file: Is a directory"):
        await kind.make(kind.spec(path=tmp_path)).notify(notification())


def test_every_path_that_contributing_names_is_there() -> None:
    named = {word for word in re.findall(r"`((?:mcpwatch|tests|docs)/[\w./-]+)`", TEXT) if "NAME" not in word}
    assert {word for word in named if not (ROOT / word).exists()} == set()
    assert len(named) > 10
