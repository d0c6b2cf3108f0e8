"""The daemon's own log: its format, its targets, its redaction. One call, `configure`, sets all of it up.

Records go through a bounded queue to a thread, so that a full pipe or a stuck syslog never delays a probe; what does not fit is
dropped and counted. Facts become records by `log_fact`. Knows nothing of Loki: its handler is handed in.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.time import WallTime, iso
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.spec import Level, LogFormat

QUEUE_SIZE = 10_000
"""Records waiting to be written; more are dropped and counted."""
CLOSE_TIMEOUT = 3.0
"""Seconds that closing waits for the last records to be written."""
SYSLOG_TIMEOUT = 1.0

FACT_LOGGER = "mcpwatch.fact"
LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_JOURNAL = "/run/systemd/journal/socket"
_PRIORITY = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}
_NOISY = ("urllib3", "httpx", "httpcore", "requests", "apscheduler", "docker", "watchfiles", "uvicorn", "sse_starlette")
"""Libraries whose own records matter only from WARNING up."""


def details(record: logging.LogRecord) -> dict[str, str]:
    """The bounded keys that a record carries beside its text (`extra={"details": {...}}`)."""
    found = getattr(record, "details", None)
    return {str(key): str(value) for key, value in cast("dict[object, object]", found).items()} if isinstance(found, dict) else {}


def log_fact(fact: Fact) -> None:
    """Say a fact in the log: a probe that finished only at DEBUG, everything else at its own level."""
    level = logging.DEBUG if isinstance(fact, ProbeFinished) else LEVELS[fact.level]
    logger = logging.getLogger(FACT_LOGGER)
    if logger.isEnabledFor(level):
        logger.log(level, "%s", fact.text, extra={"details": {"fact": fact.name, **fact.labels()}})


class HumanFormat(logging.Formatter):
    """`2026-11-21T04:10:00.123Z WARNING fetch: probe failed  [member=fetch …]`, redacted."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it when there is one."""
        extra = " ".join(f"{key}={value}" for key, value in details(record).items())
        where = "" if record.name == FACT_LOGGER else f"{record.name}: "
        text = f"{iso(WallTime(record.created))} {record.levelname:<7} {where}{record.getMessage()}"
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


class JournalHandler(logging.Handler):
    """Sends records to systemd's journal by its native protocol; what it cannot take is dropped. Raises `OSError` when absent."""

    def __init__(self, address: str = _JOURNAL) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SYSLOG_TIMEOUT)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            fields = {
                "MESSAGE": self.format(record),
                "PRIORITY": str(_PRIORITY.get(record.levelno, 6)),
                "SYSLOG_IDENTIFIER": "mcpwatch",
                "LOGGER": record.name,
                **{f"MCPWATCH_{key.upper()}": value for key, value in details(record).items()},
            }
            self._socket.send(b"".join(_journal_field(key, value) for key, value in fields.items()))
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


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


class Logging:
    """The log as set up. `redact` is also what other rooms may use for texts they show."""

    def __init__(self, redact: Redactor, handlers: Sequence[logging.Handler], level: Level) -> None:
        self.redact = redact
        self._handlers = tuple(handlers)
        self._queue = _Queue(queue.Queue(QUEUE_SIZE))
        self._listener = logging.handlers.QueueListener(self._queue.queue, *handlers, respect_handler_level=True)
        root = logging.getLogger()
        self._before = (tuple(root.handlers), root.level)
        for handler in self._before[0]:
            root.removeHandler(handler)
        root.addHandler(self._queue)
        self.level(level)
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._listener.start()

    @property
    def dropped(self) -> int:
        """Records lost because the targets were too slow."""
        return self._queue.dropped

    def level(self, level: Level) -> None:
        """Write records of `level` and above from now on."""
        logging.getLogger().setLevel(LEVELS[level])

    def secrets(self, secrets: Iterable[str]) -> None:
        """Hide these values too (a reload brought a new plan)."""
        self.redact.use(secrets)

    def add(self, handler: logging.Handler) -> None:
        """Write to one more target from now on, in the writing thread."""
        self._listener.handlers = (*self._listener.handlers, handler)

    def remove(self, handler: logging.Handler) -> None:
        """Stop writing to a target that was added."""
        self._listener.handlers = tuple(one for one in self._listener.handlers if one is not handler)

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
            for handler in self._handlers:
                handler.close()
        for handler in self._before[0]:
            root.addHandler(handler)
        root.setLevel(self._before[1])


def configure(
    format: LogFormat = "auto",  # noqa: A002 - the word a user writes
    level: Level = "info",
    targets: Sequence[str] = ("stderr",),
    secrets: Iterable[str] = (),
    *,
    stream: TextIO | None = None,
) -> Logging:
    """Set the daemon's log up. A target that is not there is replaced by stderr, with a warning. Close what it returns."""
    logging.raiseExceptions = False  # a reader that went away is no reason for a traceback
    redact = Redactor(secrets)
    out = stream if stream is not None else sys.stderr
    kind: Literal["human", "json"] = ("human" if out.isatty() else "json") if format == "auto" else format
    formatter = HumanFormat(redact) if kind == "human" else JsonFormat(redact)
    handlers: list[logging.Handler] = []
    absent: list[str] = []
    for target in dict.fromkeys(targets):
        try:
            handler = _handler(target, out)
        except OSError as error:
            absent.append(f"log target '{target}' cannot be used ({error.strerror or error}); writing to stderr instead")
            continue
        handler.setFormatter(formatter)
        handlers.append(handler)
    if absent and not any(isinstance(handler, logging.StreamHandler) for handler in handlers):
        handlers.append(logging.StreamHandler(out))
        handlers[-1].setFormatter(formatter)
    logs = Logging(redact, handlers, level)
    for text in absent:
        logging.getLogger(__name__).warning("%s", text)
    return logs


def _handler(target: str, out: TextIO) -> logging.Handler:
    if target == "journald":
        return JournalHandler()
    if target == "syslog":
        if not Path("/dev/log").exists():
            raise FileNotFoundError(2, "no /dev/log on this machine")
        return _syslog("/dev/log")
    if target.startswith("syslog:"):
        host, _, port = target.removeprefix("syslog:").rpartition(":")
        if not host or not port.isdigit():
            raise OSError(22, "write syslog:HOST:PORT")
        return _syslog((host.strip("[]"), int(port)))
    return logging.StreamHandler(out)


def _syslog(address: str | tuple[str, int]) -> logging.Handler:
    handler = logging.handlers.SysLogHandler(address, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.ident = "mcpwatch: "
    handler.append_nul = False
    cast("Any", handler).socket.settimeout(SYSLOG_TIMEOUT)
    return handler


def _journal_field(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return key.encode() + b"=" + data + b"\n"
    return key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
