"""What clients get from a member is told as proof that it lives; its checks, handshakes and pings are none."""

from __future__ import annotations

import json

import pytest

from mcpwatch.gateway.protocol import reading
from mcpwatch.gateway.protocol.call import PART, Delivery
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.mux import Mux


class Client:
    """A session, and the sink of its requests."""

    id = "client"
    capabilities = frozenset({"sampling"})
    attended = True

    def __init__(self, *, checking: bool = False) -> None:
        self.checking = checking

    def push(self, data: bytes) -> None:
        self.deliver(data, PART)

    def deliver(self, data: bytes, share: Delivery) -> None:
        del data, share


class Link:
    """A link with one client on it."""

    def __init__(self, client: Client) -> None:
        self.counts, self.client, self._sent = Counts(), client, 0
        self.mux = Mux("m", self._send, 3600.0, self.counts)
        self.mux.attach(client)

    def _send(self, data: bytes, number: int | None) -> int:
        del number
        self._sent += len(data)
        return self._sent

    def ask(self, method: str) -> int:
        data = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"_meta": {"progressToken": 1}}}).encode()
        return self.mux.request(self.client, reading.of_client(data), data, self.client)

    def say(self, **fields: object) -> None:
        data = json.dumps({"jsonrpc": "2.0", **fields}).encode()
        self.mux.receive(data, reading.of_member(data))

    def shown(self) -> set[str]:
        """What of it is told."""
        told = self.counts.lately.show(self.mux.of_clients, asks=self.mux.questions.waiting)
        return {name for name, value in told.items() if value is not None} - {"answers"}


@pytest.mark.parametrize(
    ("method", "checking", "told"),
    [
        ("tools/call", False, {"last_answer", "last_tool_answer"}),
        ("tools/list", False, {"last_answer"}),
        ("tools/call", True, set[str]()),
        ("ping", False, set[str]()),
        ("initialize", False, set[str]()),
    ],
)
@pytest.mark.parametrize("answer", [{"result": {}}, {"error": {"code": -1, "message": "no"}}], ids=["a result", "an error"])
def test_an_answer_to_work_of_a_client_is_told(method: str, checking: bool, told: set[str], answer: dict[str, object]) -> None:
    link = Link(Client(checking=checking))
    number = link.ask(method)
    assert link.shown() == (set() if checking else {"oldest_call"})
    link.say(id=number, **answer)
    assert link.shown() == told
    link.counts.lately.forget()
    assert link.shown() == set()


def test_progress_and_a_question_to_a_client_are_told_as_work() -> None:
    link = Link(Client())
    number = link.ask("tools/call")
    link.say(method="notifications/progress", params={"progressToken": number, "progress": 1})
    assert link.shown() == {"oldest_call", "last_progress"}
    asking = Link(Client())
    asking.ask("tools/call")
    asking.say(id=1, method="sampling/createMessage", params={})
    assert asking.shown() == {"oldest_call", "last_progress"}


def test_a_request_that_its_client_gave_up_is_told_until_the_next_answer() -> None:
    link = Link(Client())
    link.mux.cancel(link.ask("tools/call"), "left")
    assert link.shown() == {"given_up"}
    link.say(id=link.ask("tools/list"), result={})
    assert link.shown() == {"last_answer"}
    link.client.attended = False
    link.ask("tools/call")
    assert link.shown() == {"last_answer", "given_up"}
