"""`docs/reference/symptoms.md`, made of the code. Run by `python -m tools.docs_symptoms`; a test fails when the page is stale."""

from __future__ import annotations

from pathlib import Path

from mcpwatch.checks.symptoms import MEANINGS, PAGE
from mcpwatch.model.probe import Stage

ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Symptoms

<!-- Made of mcpwatch/checks/symptoms.py by `python -m tools.docs_symptoms`. Do not edit. -->

Every probe that does not succeed says why by one of these words, and where: the stage it was in. `mcpwatch check` prints
the word, what it usually means and what to do; `--json` has `symptom`, `stage`, `message`, `http_status`, `rpc_code`, `said`
(what the server answered: one line, bounded, without secrets). `timeout` and `cut` are shown with their stage, as in
`timeout@tools_list`.

The list is closed: there is no unknown error. An outcome `unknown` means that mcpwatch's own prober broke:
the status says so as a trouble (`checks`), no start is ended and nothing is repaired for it.

"""


def page() -> str:
    """The whole page."""
    stages = ", ".join(f"`{stage}`" for stage in Stage)
    parts = [HEAD, f"Stages, in order: {stages}.\n\n", "| symptom | what was seen |\n|---|---|\n"]
    parts += [f"| [`{symptom}`](#{symptom}) | {meaning.seen} |\n" for symptom, meaning in MEANINGS.items()]
    for symptom, meaning in MEANINGS.items():
        rows = ", ".join(str(row) for row in meaning.rows)
        known = f"\n\nKnown from failures {rows} of the catalogue." if rows else ""
        parts.append(f"\n## {symptom}\n\n{meaning.seen}\n\n**Usually:** {meaning.means}\n\n**Repair:** {meaning.repair}{known}\n")
    return "".join(parts)


def main() -> None:
    """Write the page."""
    path = ROOT / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
