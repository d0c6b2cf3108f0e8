"""The outgoing HTTP/1.1 client of checks and gateway: one connection, one reader of event streams, one way to dial (ADR 0120).

Knows addresses, TLS, proxies of the environment, framing and bounds. Must not know JSON-RPC, MCP, members or probes.
"""
