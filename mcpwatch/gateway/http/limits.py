"""What one client connection, one address and all of them may take of time and room.

Every byte that a peer sends is under one of these; the table with their tests is in docs/reference/gateway.md.
What an operator may change stands in `settings.py`.
"""

HEAD_LIMIT = 30.0
"""Seconds in which a head must be whole, from the opening of the connection or its first byte."""
BODY_LIMIT = 60.0
"""Seconds in which a body must be whole, from its head."""
KEEP_ALIVE = 75.0
"""Seconds that an idle connection is kept."""
STALL_LIMIT = 60.0
"""Seconds in which a client must take something of what waits for it; any progress begins them anew."""
HALF_CLOSED = 1.0
"""Seconds in which a request is still answered whose client has closed its sending side; then it counts as gone."""
LINGER = 2.0
"""Seconds that a refused client may go on sending, so that it reads the refusal before the connection is gone."""
LINGER_BYTES = 16 * 1024 * 1024
"""Bytes that a refused client may go on sending meanwhile; they are thrown away."""

HEAD_LINES = 128
"""Header lines of one request."""
SLICE = 4096
"""The parser is given at most so much at once outside of a body of known length: no bound is overrun by more (bytes)."""

PIPELINED = 16
"""Requests that may wait behind the one being answered; more are left in the socket."""
PIPELINED_BYTES = 1024 * 1024
"""Bytes of bodies that may wait behind the request being answered; more are left in the socket."""
SLOW_LIMIT = 8 * 1024 * 1024
"""A stream whose client has left more than this unread, beside one long message, is cut when the next message comes (bytes)."""

CONNECTIONS = 8192
CONNECTIONS_PER_ADDRESS = 2048
"""Open connections in all and of one address (an IPv6 network of 64 bits is one); those beyond are answered 503."""
FILES_SPARED = 64
"""File descriptors, or a quarter of all where that is less, kept for servers, logs and our own sockets: 503 to clients beyond."""
HELD_PER_ADDRESS = 64 * 1024 * 1024
"""Bytes of requests that one address may have in memory; at least four bodies of the largest size."""
HELD_FACTOR = 4
"""All addresses together may hold so many times what one may."""
UNSENT_TOTAL = 512 * 1024 * 1024
"""Bytes of answers that wait for all clients together; above it the connection with the most of them is cut."""
