from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mcpwatch.telemetry.spec import SECTION, TelemetrySpec


def test_an_empty_section_turns_nothing_on() -> None:
    spec = TelemetrySpec()
    assert ("telemetry", TelemetrySpec) == SECTION
    assert (spec.metrics, spec.loki, spec.otel) == (None, None, None)


def test_a_bare_loki_address_gets_the_path_of_the_push_api() -> None:
    spec = TelemetrySpec.model_validate({"loki": {"url": "http://loki:3100"}})
    assert spec.loki is not None
    assert spec.loki.url == "http://loki:3100/loki/api/v1/push"


def test_secrets_are_in_no_repr_and_no_dump() -> None:
    spec = TelemetrySpec.model_validate(
        {
            "loki": {"url": "http://loki/x", "auth": {"basic": {"username": "me", "password": "s3cr3t-1"}}},
            "metrics": {"token": "s3cr3t-2"},
            "otel": {"endpoint": "http://x", "headers": {"a": "s3cr3t-3"}},
        }
    )
    assert "s3cr3t" not in repr(spec) + str(spec) + spec.model_dump_json()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"metrics": {"listen": "here"}}, "is not an address to listen on"),
        ({"metrics": {"listen": "0.0.0.0:9464"}}, "set 'token', or 'open: true'"),
        ({"loki": {"url": "loki:3100"}}, "is not a URL"),
        ({"loki": {"url": "http://me:pw@loki:3100"}}, "has credentials"),
        ({"loki": {"url": "http://l", "labels": {"1bad": "x"}}}, "is no label name"),
        ({"loki": {"url": "http://l", "labels": {"member": "x"}}}, "set by mcpwatch itself"),
        ({"loki": {"url": "http://l", "labels": {f"l{n}": "x" for n in range(12)}}}, "12 labels"),
        ({"loki": {"url": "http://l", "auth": {"bearer": "abc", "basic": {"username": "a", "password": "b"}}}}, "keep one"),
        ({"loki": {"url": "http://l", "batch_bytes": 2 << 20}}, "less than or equal to 1048576"),
        ({"logs": {"targets": ["journal"]}}, "should match pattern"),
        ({"metric": {}}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason_and_without_the_value(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        TelemetrySpec.model_validate(written)
    assert "pw@" not in str(caught.value)


def test_other_machines_may_scrape_with_a_token_or_when_the_user_says_so() -> None:
    assert TelemetrySpec.model_validate({"metrics": {"listen": "0.0.0.0:9464", "token": "abc"}})
    assert TelemetrySpec.model_validate({"metrics": {"listen": ":9464", "open": True}})
    assert TelemetrySpec.model_validate({"metrics": {"listen": "[::1]:9464"}})
