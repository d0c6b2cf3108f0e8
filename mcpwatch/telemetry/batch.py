"""What goes into one push and what its answer means: pure. Source of the rules: Loki's push API as measured (docs/adr/0044).

Every line keeps the time it got when it was written and no two lines of a source share one, so that a line sent again is the same
line to Loki and is stored once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Literal

LONGEST_LINE = 256 * 1024 - 1024
"""Bytes; Loki refuses lines over 256 KiB."""
STREAM_OVERHEAD = len('{"stream":,"values":[]},{"streams":[]}')

ANSWER_LOOK = 4096
"""Characters of an answer that are looked at."""

_IGNORED = re.compile(r"total ignored: (\d+) out of (\d+)")
_FOR_ITS_LINES = re.compile(r"too far behind|timestamp too (?:old|new)|out[ -]of[ -]order|code = Code\(400\)", re.IGNORECASE)
"""What an answer says that blames lines, whatever its status: some Lokis wrap a refusal of the ingester into a 500."""
_RETRIED = {401, 403, 404, 407, 408, 425, 429}

Fate = Literal["done", "again", "split", "dead"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, ready to send: `stream` is the JSON text of its labels, `value` of `[time, line, metadata]`; `at` in ns."""

    stream: str
    at: int
    value: str


@dataclass(frozen=True, slots=True)
class PushResponse:
    """What came back. `status` 0 means nothing did; `text` then says why."""

    status: int
    text: str = ""
    retry_after: float | None = None

    @property
    def code(self) -> str:
        """The bounded word for metrics."""
        return (
            str(self.status)
            if self.status in {200, 204, 260, 400, 401, 403, 404, 413, 422, 429, 500, 502, 503}
            else (f"{self.status // 100}xx" if self.status else "none")
        )


def judge(answer: PushResponse) -> Fate:
    """What an answer means for the lines sent: stored, send again, send in halves, or refused for good."""
    if answer.status in {200, 204}:
        return "done"
    if answer.status == 413:
        return "split"
    if 400 <= answer.status < 500 and answer.status not in _RETRIED:
        return "dead"
    if answer.status >= 500 and _FOR_ITS_LINES.search(answer.text[:ANSWER_LOOK]):
        return "dead"
    return "again"


def complaint(answer: PushResponse) -> str:
    """What is told of an answer that stored nothing."""
    if not answer.status:
        return f"Loki cannot be reached ({answer.text}); logs wait on disk"
    hint = {401: "check telemetry.loki.auth", 403: "check telemetry.loki.auth", 404: "check telemetry.loki.url"}.get(answer.status)
    return f"Loki answers HTTP {answer.status} ({answer.text[:120]}); {hint or 'logs wait on disk'}"


def ignored(answer: PushResponse) -> int:
    """How many lines a 400 says it refused; 0 when it does not say."""
    return sum(int(count) for count, _ in _IGNORED.findall(answer.text))


def labels(app: str, host: str, member: str, stream: str, extra: Mapping[str, str]) -> str:
    """The JSON text of a stream's labels."""
    return json.dumps({"app": app, "host": host, "member": member, "stream": stream, **extra}, ensure_ascii=False)


def value(at: int, line: str, metadata: Mapping[str, str] | None = None, *, inline: bool = False) -> str:
    """The JSON text of one entry. With `inline`, metadata stands in the line as logfmt."""
    line = cut(line)
    if metadata and inline:
        line = f"{line} {' '.join(f'{key}={_logfmt(text)}' for key, text in metadata.items())}"
    elif metadata:
        return f'["{at}",{encode_basestring(line)},{json.dumps(dict(metadata), ensure_ascii=False)}]'
    return f'["{at}",{encode_basestring(line)}]'


def cut(line: str) -> str:
    """`line`, or as much of its beginning as Loki takes."""
    if len(line) * 4 <= LONGEST_LINE or len(data := line.encode("utf-8", "replace")) <= LONGEST_LINE:
        return line
    return f"{data[:LONGEST_LINE].decode('utf-8', 'ignore')} [cut by mcpwatch: {len(data) - LONGEST_LINE} more bytes]"


def body(entries: Iterable[LogEntry]) -> bytes:
    """The request: entries by stream, each stream in the order given."""
    streams: dict[str, list[str]] = {}
    for entry in entries:
        streams.setdefault(entry.stream, []).append(entry.value)
    parts = (f'{{"stream":{stream},"values":[{",".join(values)}]}}' for stream, values in streams.items())
    return f'{{"streams":[{",".join(parts)}]}}'.encode("utf-8", "replace")


def weight(entry: LogEntry, wide: int, *, new: bool) -> int:
    """Bytes that `entry` adds to a request: `wide` more bytes than characters, and its labels when its stream is `new` there."""
    return len(entry.value) + wide + 1 + (len(entry.stream.encode()) + STREAM_OVERHEAD if new else 0)


def pause(attempt: int, retry_after: float | None, luck: float, *, first: float = 0.5, longest: float = 60.0) -> float:
    """Seconds before try number `attempt` + 1: full jitter (`luck` in [0, 1)) under a doubling roof, never before Retry-After."""
    roof = min(longest, first * 2 ** min(attempt, 16))
    return max(min(retry_after or 0.0, longest * 5), roof * luck)


def _logfmt(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r'[\s"=]', text) else text
