"""Digests without OpenSSL are those of `hashlib`, and ids are never the same."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.gateway.digests import equal, new_id, sha256


@given(st.binary(max_size=300))
def test_a_digest_is_that_of_hashlib(data: bytes) -> None:
    assert sha256(data) == hashlib.sha256(data).digest()


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_digests_are_compared_as_hmac_compares_them(one: bytes, other: bytes) -> None:
    assert equal(one, one)
    assert equal(one, other) is hmac.compare_digest(one, other)


def test_an_id_has_sixteen_bytes_in_hex_and_comes_once() -> None:
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {len(bytes.fromhex(one)) for one in made} == {16}
