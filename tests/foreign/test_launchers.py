"""What a command line of `uvx` or `npx` fetches and runs is read through all of their options."""

from __future__ import annotations

import pytest

from mcpwatch.foreign.launchers import PackageLaunch, launched


@pytest.mark.parametrize(
    ("line", "launch"),
    [
        ("uvx mcp-server-time", PackageLaunch("uvx", "mcp-server-time", "mcp-server-time")),
        ("/usr/bin/uvx -q a==1.2 --x y", PackageLaunch("uvx", "a==1.2", "a", ("--x", "y"))),
        (
            "uvx --python >=3.12 --with pydantic<2.12 a@1.2 -v",
            PackageLaunch("uvx", "a@1.2", "a", ("-v",), ("pydantic<2.12",), ">=3.12"),
        ),
        ("uv tool run --from git+https://h/r@v1 serena start", PackageLaunch("uvx", "git+https://h/r@v1", "serena", ("start",))),
        ("uvx --from=pkg==2 cmd", PackageLaunch("uvx", "pkg==2", "cmd")),
        ("npx -y @scope/server-x@2026.8.31 /srv", PackageLaunch("npx", "@scope/server-x@2026.8.31", "@scope/server-x", ("/srv",))),
        ("npx --yes -p pkg@1 cmd --port 1", PackageLaunch("npx", "pkg@1", "cmd", ("--port", "1"))),
        ("npx -y -- mcp-remote https://h/sse", PackageLaunch("npx", "mcp-remote", "mcp-remote", ("https://h/sse",))),
        ("python3 -m uvx", None),
        ("uvx", None),
        ("uvx --python", None),
        ("", None),
    ],
)
def test_a_launcher_is_read(line: str, launch: PackageLaunch | None) -> None:
    assert launched(line.split()) == launch


@pytest.mark.parametrize(
    ("package", "pinned"),
    [
        ("a", False), ("a==1.2", True), ("a@1.2", True), ("@scope/a", False), ("@scope/a@1.2.3", True), ("a>=1", False),
        ("git+https://h/r", True), ("./here", True), ("a@latest", False),
    ],
)  # fmt: skip
def test_a_package_is_pinned_by_a_version(package: str, pinned: bool) -> None:
    assert PackageLaunch("npx", package, "x").pinned is pinned
