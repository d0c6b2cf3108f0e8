"""What one client connection may take of time and room; what an operator may change stands in `settings.py`."""

HEAD_LIMIT = 30.0
"""Seconds in which a head must be whole, from the opening of the connection or its first byte."""
BODY_LIMIT = 60.0
"""Seconds in which a body must be whole, from its head."""
KEEP_ALIVE = 75.0
"""Seconds that an idle connection is kept."""
STALL_LIMIT = 60.0
"""Seconds in which a client must read something of what waits for it."""
LINGER = 2.0
"""Seconds that a refused client may go on sending, so that it reads the refusal before the connection is gone."""
PIPELINED = 16
"""Requests that may wait behind the one being answered; more are left in the socket."""
SLOW_LIMIT = 8 * 1024 * 1024
"""A stream whose client has left more than this unread is cut when the next message comes (bytes)."""
