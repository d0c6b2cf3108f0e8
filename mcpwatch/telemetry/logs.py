"""The daemon's own log: its format, level and redaction. `configure` sets it up, `Logging.retune` follows a reload.

Records go through a bounded queue to a thread, so that a full pipe or a stuck syslog never delays a probe; what does not fit is
dropped and counted. Facts become records by `log_fact`. Knows nothing of Loki: its handler is handed in.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import queue
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, cast

from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.time import WallTime, iso
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.spec import Level, LogFormat
from mcpwatch.telemetry.targets import details, target

QUEUE_SIZE = 10_000
"""Records waiting to be written; more are dropped and counted."""
CLOSE_TIMEOUT = 3.0
"""Seconds that closing waits for the last records to be written."""

FACT_LOGGER = "mcpwatch.fact"
_facts = logging.getLogger(FACT_LOGGER)
LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NOISY = ("urllib3", "httpx", "httpcore", "requests", "apscheduler", "docker", "uvicorn", "sse_starlette")
"""Libraries whose own records matter only from WARNING up."""


def log_fact(fact: Fact) -> None:
    """Say a fact in the log: a probe that finished only at DEBUG, everything else at its own level."""
    level = logging.DEBUG if isinstance(fact, ProbeFinished) else LEVELS[fact.level]
    if _facts.isEnabledFor(level):
        _facts.log(level, "%s", fact.text, extra={"details": {"fact": fact.name, **fact.labels()}})


class HumanFormat(logging.Formatter):
    """`2026-11-21T04:10:00.123Z WARNING fetch: probe failed  [member=fetch …]`, redacted; without the time where not `timed`."""

    def __init__(self, redact: Redactor, *, timed: bool = True) -> None:
        super().__init__()
        self._redact = redact
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it when there is one."""
        extra = " ".join(f"{key}={value}" for key, value in details(record).items())
        where = "" if record.name == FACT_LOGGER else f"{record.name}: "
        time = f"{iso(WallTime(record.created))} " if self._timed else ""
        text = f"{time}{record.levelname:<7} {where}{record.getMessage()}"
        text = f"{text}  [{extra}]" if extra else text
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return self._redact(text)


class JsonFormat(logging.Formatter):
    """One JSON object a line: `time, level, logger, text`, the details, `error` with a traceback; redacted."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        body: dict[str, str] = {
            **{key: self._redact(value) for key, value in details(record).items()},
            "time": iso(WallTime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": self._redact(record.getMessage()),
        }
        if record.exc_info:
            body["error"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(body, ensure_ascii=False)


class PlainFormat(logging.Formatter):
    """The text alone, redacted: for where time, level and details travel beside it."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The text, and the traceback below it when there is one."""
        return self._redact(super().format(record))


class _Queue(logging.handlers.QueueHandler):
    """Hands records to the writing thread; never blocks, never raises."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Fix the text now (arguments may change later), keep the traceback for the formatters."""
        record.msg, record.args = record.getMessage(), None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put it, or count it as lost."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


@dataclass(frozen=True, slots=True)
class _Swap:
    """In the queue, between the records before a reload and those after it: from here on, these handlers.

    `number` counts up; a swap that overtook others in a full queue is not undone by them.
    """

    handlers: tuple[logging.Handler, ...]
    number: int


class _Listener(logging.handlers.QueueListener):
    """The writing thread. A handler that fails loses that record and nothing else."""

    number = 0
    urgent: _Swap | None = None
    """A swap that found no room in the queue; comes before whatever waits there."""

    def handle(self, record: Any) -> None:
        """Write one record to every target, or change the targets."""
        if self.urgent is not None and self.urgent.number > self.number:
            self._change(self.urgent)
        if isinstance(record, _Swap):
            self._change(record)
            return
        for handler in self.handlers:
            with contextlib.suppress(Exception):
                handler.handle(record)

    def _change(self, swap: _Swap) -> None:
        """Take the newer handlers and close the others."""
        old, new = (self.handlers, swap.handlers) if swap.number > self.number else (swap.handlers, self.handlers)
        self.handlers, self.number = new, max(swap.number, self.number)
        for handler in old:
            if handler not in new:
                handler.close()


class Logging:
    """The log as set up. `redact` is also what other rooms may use for texts they show."""

    def __init__(self, redact: Redactor, out: TextIO) -> None:
        self.redact = redact
        self._out = out
        self._shape: tuple[LogFormat, tuple[str, ...]] | None = None
        self._targets: tuple[logging.Handler, ...] = ()
        self._added: tuple[logging.Handler, ...] = ()
        self._swaps = 0
        self._queue = _Queue(queue.Queue(QUEUE_SIZE))
        self._listener = _Listener(self._queue.queue)
        root = logging.getLogger()
        self._before = (tuple(root.handlers), root.level)
        for handler in self._before[0]:
            root.removeHandler(handler)
        root.addHandler(self._queue)
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._listener.start()

    @property
    def dropped(self) -> int:
        """Records lost because the targets were too slow."""
        return self._queue.dropped

    def retune(self, format_: LogFormat, level: Level, targets: Sequence[str]) -> bool:
        """Write in this format, from this level up, to these targets, beginning with the next record; whether they changed.

        What was said before still goes to the targets it was said to. A target that is not there is replaced by standard
        error, with a warning.
        """
        logging.getLogger().setLevel(LEVELS[level])
        shape = (format_, tuple(dict.fromkeys(targets)))
        if shape == self._shape:
            return False
        self._shape = shape
        self._targets, absent = self._open(*shape)
        self._swap()
        for text in absent:
            logging.getLogger(__name__).warning("%s", text)
        return True

    def secrets(self, secrets: Iterable[str]) -> None:
        """Hide these values too (a reload brought a new plan)."""
        self.redact.use(secrets)

    def add(self, handler: logging.Handler) -> None:
        """Write to one more target from now on, in the writing thread."""
        self._added = (*self._added, handler)
        self._swap()

    def remove(self, handler: logging.Handler) -> None:
        """Stop writing to a target that was added, and close it."""
        self._added = tuple(one for one in self._added if one is not handler)
        self._swap()

    def close(self) -> None:
        """Write what waits, within `CLOSE_TIMEOUT`, and put the root logger back as it was found."""
        root = logging.getLogger()
        root.removeHandler(self._queue)
        thread = cast("Any", self._listener)._thread
        try:
            cast("queue.Queue[object]", self._queue.queue).put(None, timeout=CLOSE_TIMEOUT)  # the listener's mark of the end
        except queue.Full:
            thread = None
        if thread is not None:
            thread.join(CLOSE_TIMEOUT)
        if thread is not None and not thread.is_alive():
            for handler in self._targets:
                handler.close()
        for handler in self._before[0]:
            root.addHandler(handler)
        root.setLevel(self._before[1])

    def _swap(self) -> None:
        self._swaps += 1
        swap = _Swap((*self._targets, *self._added), self._swaps)
        try:
            cast("queue.Queue[object]", self._queue.queue).put_nowait(swap)
        except queue.Full:  # the targets are stuck: what waits goes to the new ones
            self._listener.urgent = swap

    def _open(self, format_: LogFormat, targets: Sequence[str]) -> tuple[tuple[logging.Handler, ...], list[str]]:
        """The handlers of these targets, and a line on each that is not there."""
        handlers: list[logging.Handler] = []
        absent: list[str] = []
        for name in targets:
            try:
                handler = target(name, self._out, self._fields)
            except OSError as error:
                absent.append(f"log target '{name}' cannot be used ({error.strerror or error}); writing to stderr instead")
                continue
            handler.setFormatter(self._formatter(format_, name))
            handlers.append(handler)
        if absent and "stderr" not in targets:
            handlers.append(logging.StreamHandler(self._out))
            handlers[-1].setFormatter(self._formatter(format_, "stderr"))
        return tuple(handlers), absent

    def _formatter(self, format_: LogFormat, name: str) -> logging.Formatter:
        """The journal keeps time, level and details itself; syslog keeps time."""
        if name == "journald":
            return PlainFormat(self.redact)
        if format_ == "json" or (format_ == "auto" and not (name == "stderr" and self._out.isatty())):
            return JsonFormat(self.redact)
        return HumanFormat(self.redact, timed=not name.startswith("syslog"))

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        return {key: self.redact(value) for key, value in details(record).items()}


def configure(
    format: LogFormat = "auto",  # noqa: A002 - the word a user writes
    level: Level = "info",
    targets: Sequence[str] = ("stderr",),
    secrets: Iterable[str] = (),
    *,
    stream: TextIO | None = None,
) -> Logging:
    """Set the daemon's log up. `stream` is what the target `stderr` means. Close what it returns."""
    logging.raiseExceptions = False  # a reader that went away is no reason for a traceback
    logs = Logging(Redactor(secrets), stream if stream is not None else sys.stderr)
    logs.retune(format, level, targets)
    return logs
