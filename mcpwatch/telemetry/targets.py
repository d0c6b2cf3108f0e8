"""Where the daemon's log can go: standard error, the journal, syslog, a file. One handler each, none of which ends for good.

A target whose other side restarts is connected again with the next record; a record that cannot be written is lost to that target
alone. Formats are handed in; knows no configuration.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import socket
import struct
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, cast

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
TIMEOUT = 1.0
"""Seconds that a socket may take for one record."""
_PRIORITY = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}

Details = Callable[[logging.LogRecord], dict[str, str]]
"""The bounded keys of a record, with nothing secret in them."""


def details(record: logging.LogRecord) -> dict[str, str]:
    """The bounded keys that a record carries beside its text (`extra={"details": {...}}`), as they are."""
    found = getattr(record, "details", None)
    return {str(key): str(value) for key, value in cast("dict[object, object]", found).items()} if isinstance(found, dict) else {}


def target(name: str, out: TextIO, fields: Details) -> logging.Handler:
    """The handler for a target as it is written: `stderr`, `journald`, `syslog`, `syslog:HOST:PORT`, `file:/PATH`.

    Raises `OSError` when it is not there.
    """
    if name == "journald":
        return JournalHandler(fields)
    if name == "syslog":
        if not Path(SYSLOG).exists():
            raise FileNotFoundError(2, f"no {SYSLOG} on this machine")
        return SyslogHandler(SYSLOG)
    if name.startswith("syslog:"):
        host, _, port = name.removeprefix("syslog:").rpartition(":")
        if not host or not port.isdigit():
            raise OSError(22, "write syslog:HOST:PORT")
        return SyslogHandler((host.strip("[]"), int(port)))
    if name.startswith("file:"):
        return FileHandler(name.removeprefix("file:"))
    return logging.StreamHandler(out)


class JournalHandler(logging.Handler):
    """Sends records to systemd's journal by its native protocol. Time and level are fields there, so the message has neither."""

    def __init__(self, fields: Details = details, address: str = "") -> None:
        super().__init__()
        self._fields = fields
        self._address = address or JOURNAL
        self._socket = self._connect()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; to a journal that came back, by a new connection."""
        try:
            data = self._data(record)
            try:
                self._socket.send(data)
            except OSError:
                self._socket.close()
                self._socket = self._connect()
                self._socket.send(data)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _connect(self) -> socket.socket:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        fresh.settimeout(TIMEOUT)
        try:
            fresh.connect(self._address)
        except OSError:
            fresh.close()
            raise
        return fresh

    def _data(self, record: logging.LogRecord) -> bytes:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(_PRIORITY.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "mcpwatch",
            "LOGGER": record.name,
            **{f"MCPWATCH_{key.upper()}": value for key, value in self._fields(record).items()},
        }
        return b"".join(_journal_field(key, value) for key, value in fields.items())


class SyslogHandler(logging.handlers.SysLogHandler):
    """Syslog, local or over UDP. The library connects again by itself, but forgets how long a record may take."""

    ident = "mcpwatch: "
    append_nul = False

    def __init__(self, address: str | tuple[str, int]) -> None:
        super().__init__(address, facility=logging.handlers.SysLogHandler.LOG_DAEMON)
        cast("Any", self).socket.settimeout(TIMEOUT)

    def _connect_unixsocket(self, address: str) -> None:
        cast("Any", super())._connect_unixsocket(address)
        cast("Any", self).socket.settimeout(TIMEOUT)


class FileHandler(logging.handlers.WatchedFileHandler):
    """Appends to a file, 0600, and opens it again when it was moved away or deleted, as logrotate does."""

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8", errors="replace")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            super().emit(record)
        except OSError:  # its directory is gone: tried again with the next record
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding="utf-8", errors="replace", opener=private)


def _journal_field(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return key.encode() + b"=" + data + b"\n"
    return key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
