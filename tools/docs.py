"""Every page and file that is made from code, written again: `make docs`. A test fails when one is stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tools import (
    dashboards,
    docs_alerts,
    docs_api,
    docs_cli,
    docs_clients,
    docs_config,
    docs_programs,
    docs_state,
    docs_symptoms,
    docs_telemetry,
)

ROOT = Path(__file__).resolve().parent.parent


def _dashboards() -> Mapping[str, str]:
    return {str((dashboards.OUT / name).relative_to(ROOT)): text for name, text in dashboards.build().items()}


def _symptoms() -> Mapping[str, str]:
    return {str(docs_symptoms.PAGE): docs_symptoms.page()}


GENERATORS: tuple[Callable[[], Mapping[str, str]], ...] = (
    docs_config.pages,
    docs_state.pages,
    docs_programs.pages,
    docs_cli.pages,
    _symptoms,
    docs_alerts.pages,
    docs_api.pages,
    docs_clients.pages,
    docs_telemetry.pages,
    _dashboards,
)
"""Each answers texts by their path from the root of the repository."""


def main() -> None:
    """Write what changed."""
    for generate in GENERATORS:
        for name, text in generate().items():
            path = ROOT / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                print(f"wrote {name}")


if __name__ == "__main__":
    main()
