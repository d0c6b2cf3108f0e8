"""The OpenAPI document of the API, from its catalog of operations."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mcpwatch.web.api.openapi import document

PAGE = "mcpwatch/web/api/openapi.json"


def pages() -> Mapping[str, str]:
    """The document, by path from the root of the repository."""
    return {PAGE: json.dumps(document(), indent=1, ensure_ascii=False) + "\n"}
