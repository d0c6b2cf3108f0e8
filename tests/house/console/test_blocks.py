"""What a block of a page is, and when its output counts as shown."""

from __future__ import annotations

from tests.house.console.blocks import Step, blocks, missing, of_page
from tests.house.console.settings import FOREVER, NOT_RUN, SETTINGS, TELLS

PAGE = """\
```console
$ mcpwatch status     # how it is
time   up 8s  4.2%

$ mcpwatch down
```
```yaml
$ no: command
```
```sh
# a remark
mcpwatch up

make up
```
"""


def test_a_block_is_its_commands_in_order_with_the_output_shown_under_each() -> None:
    console, shell = of_page("p", PAGE)
    assert console.steps == (Step("mcpwatch status", ("time   up 8s  4.2%",)), Step("mcpwatch down"))
    assert (shell.number, shell.steps) == (2, (Step("mcpwatch up"), Step("make up")))


def test_output_is_shown_when_all_but_numbers_and_blanks_is_the_same() -> None:
    assert missing(("time  up 8s  4.2%",), "x\ntime up   12m 0%\n") == []
    assert missing(("2026-11-29T19:25:07.859Z  git: killed",), "2027-01-02T08:04:53.1Z git: killed") == []
    assert missing(("…",), "") == []
    assert missing(("time  up 8s", "git  up 8s"), "time up 8s\ngit down 8s\n") == ["git  up 8s"]


def test_every_exception_is_of_a_command_that_is_still_in_a_page() -> None:
    found = blocks()
    assert len(found) > 60
    assert {(block.page, block.steps[0].command) for block in found} >= set(SETTINGS)
    assert {step.command for block in found for step in block.steps} >= {*FOREVER, *NOT_RUN, *TELLS}
