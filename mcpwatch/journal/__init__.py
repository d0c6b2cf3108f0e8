"""The journal: members' output on disk, stamped line by line. Owns names, format, reading and following; writes nothing.

Standard library alone and no daemon needed, so that `mcpwatch logs` starts at once and Loki shipping needs no second parser.
"""

from mcpwatch.journal.follow import Follower, follow
from mcpwatch.journal.form import (
    BITE,
    CONTINUES,
    LINE_LIMIT,
    STAMP,
    STREAMS,
    Line,
    StampCursor,
    cursor_bytes,
    cut,
    directory,
    files,
    first_data,
    in_flight,
    members,
    past,
    read_cursor,
    rotated_name,
    stamp,
    unstamp,
)
from mcpwatch.journal.read import newest, read, stamped

__all__ = [
    "BITE", "CONTINUES", "LINE_LIMIT", "STAMP", "STREAMS", "Follower", "Line", "StampCursor", "cursor_bytes", "cut", "directory",
    "files", "first_data", "follow", "in_flight", "members", "newest", "past", "read", "read_cursor", "rotated_name", "stamp",
    "stamped", "unstamp",
]  # fmt: skip
