"""What `make test` leaves out unread: files of which no test is quick, and no others."""

from __future__ import annotations

import pytest

from tests.conftest import NONE_QUICK


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("pytestmark = pytest.mark.slow\n", True),
        ('import x\npytestmark = [pytest.mark.anyio, pytest.mark.needs("docker", "root")]\n', True),
        ("pytestmark = [\n    pytest.mark.anyio,\n    pytest.mark.slow,\n]\n", True),
        ("pytestmark = pytest.mark.anyio\n\n\n@pytest.mark.slow\ndef test_it() -> None: ...\n", False),
        ("pytestmark = [pytest.mark.anyio]\nMARKS = [pytest.mark.slow]\n", False),
        ("@pytest.mark.slow\ndef test_it() -> None: ...\n", False),
        ("class Test:\n    pytestmark = pytest.mark.slow\n", False),
    ],
)
def test_a_file_is_left_out_where_every_test_of_it_is_slow_or_needs_a_part(text: str, left_out: bool) -> None:
    assert bool(NONE_QUICK.search(text)) is left_out
