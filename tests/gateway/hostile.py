"""Messages of clients and members that want to forge, made from a seed, and how other JSON readers read them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

ID_KEYS = ("id", "ID", "Id", "\\u0069d", "i\\u0064")


def readings(raw: bytes) -> Iterator[dict[str, Any]]:
    """The object as readers read it that let the first or the last of doubled keys win, and one that does not mind their case."""

    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    def folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        known = {"id", "method", "params", "result", "error", "name", "_meta"}
        return {key.casefold() if key.casefold() in known else key: value for key, value in pairs}

    for hook in (first, dict[str, Any], folded):
        yield json.loads(raw, object_pairs_hook=hook)


class Forger:
    """Makes a hostile client's messages. `leaked` are ids that it was told of, `name` is its own."""

    def __init__(self, seed: int, name: str, leaked: list[int]) -> None:
        self._random = random.Random(seed)
        self.name = self._name = name
        self._leaked = leaked
        self.chosen: set[int] = set()

    def next(self) -> bytes:
        """One more attempt."""
        make = self._random.choice((self._call, self._call, self._doubled, self._doubled, self._other, self._batch, self._broken))
        return make()

    def _id(self) -> int:
        if self._leaked and self._random.random() < 0.5:
            return self._random.choice(self._leaked)
        number = self._random.randrange(1, 10_000)
        self.chosen.add(number)
        return number

    def _params(self) -> str:
        params = f'"name":"echo","arguments":{{"by":"{self._name}"}}'
        token = f'"progressToken":{self._id()}'
        meta = self._random.choice(("", f',"_meta":{{{token}}}', f',"_meta":{{{token},"progressToken":{self._id()}}}'))
        return "{" + params + meta + self._random.choice(("", "", ',"name":"other"', ',"_META":{}')) + "}"

    def _call(self) -> bytes:
        return f'{{"jsonrpc":"2.0","id":{self._id()},"method":"tools/call","params":{self._params()}}}'.encode()

    def _doubled(self) -> bytes:
        """A request whose id comes more than once, under one spelling or several."""
        members = ['"jsonrpc":"2.0"', '"method":"tools/call"', f'"params":{self._params()}']
        members += [f'"{self._random.choice(ID_KEYS)}":{self._id()}' for _ in range(self._random.randrange(1, 3))]
        if self._random.random() < 0.5:
            members.append(f'"id":{self._id()}')
        if self._random.random() < 0.2:
            members.append(f'"{self._random.choice(("method", "Method", "METHOD"))}":"ping"')
        self._random.shuffle(members)
        glue = self._random.choice((",", ", ", " ,\n"))
        return ("{" + glue.join(members) + "}").encode()

    def _other(self) -> bytes:
        """Answers to questions, cancellations and progress that are not this client's."""
        number = self._id()
        cancelled: dict[str, Any] = {"method": "notifications/cancelled", "params": {"requestId": number, "reason": self._name}}
        progress: dict[str, Any] = {"method": "notifications/progress", "params": {"progressToken": number, "progress": 1}}
        answer: dict[str, Any] = {"id": number, "result": {"by": self._name}}
        return json.dumps({"jsonrpc": "2.0"} | self._random.choice((cancelled, progress, answer))).encode()

    def _batch(self) -> bytes:
        return b"[" + b",".join((self._call(), self._doubled(), self._other())) + b"]"

    def _broken(self) -> bytes:
        """A message with a few bytes changed."""
        data = bytearray(self._random.choice((self._call, self._doubled))())
        for _ in range(self._random.randrange(1, 4)):
            data[self._random.randrange(len(data))] = self._random.choice(b'{}[],:"\\0123456789id\xff\n ')
        return bytes(data)
