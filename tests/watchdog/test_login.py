"""A start that waits for a person to log in is told as that, in its own words, and is not ended for being slow."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.session_words import LATEST, waits_for_login
from tests.watchdog.scenes import FETCH, TIME, bad, one
from tests.watchdog.scenes import PROXY as FRONT
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan, route

ASKS = (
    "Please authorize this client by visiting: https://auth.example.com/authorize?client_id=7",
    "https://auth.example.com/authorize?response_type=code",
    "Authentication required. Waiting for authorization...",
    "To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter the code ABCD to authenticate.",
    "Go to the following link in your browser to log in: https://accounts.google.com/o/oauth2/auth?x=1",
    "First copy your one-time device code: ABCD-1234",
    "Please log in first", "waiting for the user to sign in", "Visit https://github.com/login/device",
    "Open this URL in your browser to authorize:", "waiting for OAuth callback",
)  # fmt: skip
DONE = ("Logged in as jane", "Authentication successful", "authorization complete", "Received access token", "login failed: denied")
OTHER = ("Listening on http://127.0.0.1:9000", "loading model", "GET /authors 200", "open files: 12", "device cuda:0", "")


@pytest.mark.parametrize("asks", ASKS)
def test_the_line_that_asks_for_a_login_is_found_until_that_is_over_or_long_ago(asks: str) -> None:
    assert waits_for_login((asks,)) == asks
    assert waits_for_login(("start", asks, "", "still here", "callback server running at http://127.0.0.1:3334")) == asks
    for done in DONE:
        assert waits_for_login((asks, done)) == ""
        assert waits_for_login((done, asks)) == asks
    assert waits_for_login((asks, *["."] * LATEST)) == ""


@pytest.mark.parametrize("line", OTHER)
def test_other_lines_ask_for_no_login(line: str) -> None:
    assert waits_for_login((line,)) == ""


@pytest.mark.sample
@pytest.mark.parametrize("symptom", [Symptom.REFUSED, Symptom.TIMEOUT])
@pytest.mark.parametrize("asks", [ASKS[0], ASKS[2], OTHER[1]])
def test_a_start_that_waits_for_a_login_is_not_ended_and_one_that_is_only_slow_is_with_its_last_words(
    asks: str, symptom: Symptom
) -> None:
    async def play(small: SmallFleet) -> None:
        small.said["a"] = (asks,)
        small.answers["http://h/a"] = ProbeResult(Outcome.FAILURE, symptom, Stage.CONNECT)
        await small.fleet.begin(plan(member("a", route="a"), PROXY, routes=(route("a"),)))
        await asyncio.sleep(300.0)
        (shown,) = [one for one in small.fleet.view().members if one.name == "a"]
        waits = asks in ASKS
        assert (shown.generation == 1) is waits
        if waits:
            assert shown.phase is Phase.RUNNING
            (found,) = [one for one in small.fleet.view().diagnoses if one.subject == "a"]
            assert (found.cause, found.rung) == ("auth", None)
            assert asks in found.text
            small.said["a"] = (asks, DONE[0])
            del small.answers["http://h/a"]
            await asyncio.sleep(60.0)
            assert not small.fleet.view().diagnoses
        else:
            assert any(f"it last wrote: {asks}" in getattr(fact, "text", "") for fact in small.facts)

    fleet_story(play)


@pytest.mark.parametrize("succeeded", [False, True])
def test_one_that_was_well_since_its_start_is_not_said_to_wait_for_a_login(*, succeeded: bool) -> None:
    seen = replace(bad(Symptom.TIMEOUT, Stage.OPEN), succeeded=succeeded)
    found = one(replace(FETCH, direct=seen, through=None, lines=(ASKS[2],)), TIME, FRONT)
    assert (found.cause == "auth") is not succeeded
