"""One file per AI client; `mcpwatch.clients.catalog` lists them all."""
