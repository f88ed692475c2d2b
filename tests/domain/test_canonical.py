"""Canonical JSON, against an independent implementation of RFC 8785."""

from __future__ import annotations

import json
import math
import random
import struct
import sys

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from energy.domain.canonical import SAFE_INTEGER, canonical, sha256

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-SAFE_INTEGER, SAFE_INTEGER)
ROUND = st.builds(
    lambda digits, power: float(f"{digits}e{power}"), st.integers(-999, 999), st.integers(-30, 30)
)
LIKE_NUMBERS = st.text('"\\,:[]{}-+.0e1\n\x00\x7f\u2028\ue000\uffff\U00010000 ', max_size=12)
TEXTS = LIKE_NUMBERS | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | ROUND | TEXTS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(TEXTS, inner),
    max_leaves=30,
)


@given(VALUES)
def test_the_bytes_are_those_of_rfc8785(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_numbers_over_all_magnitudes_are_written_as_ecmascript_does() -> None:
    seeded = random.Random(0)
    bits = [seeded.getrandbits(64) for _ in range(20_000)]
    drawn = [struct.unpack("d", b.to_bytes(8, "little"))[0] for b in bits]
    edges = [5e-324, sys.float_info.max, sys.float_info.min, 1e16, 1e21, 1e-6, 1e-7, 2.0**53, -0.0, 0.1]
    near = [math.nextafter(edge, to) for edge in edges for to in (-math.inf, math.inf)]
    numbers = [n for n in (*drawn, *edges, *near, *(10.0**k for k in range(-30, 30))) if math.isfinite(n)]
    assert canonical(numbers) == rfc8785.dumps(numbers)


def test_the_example_of_the_rfc() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_the_keys_of_the_rfc_stand_in_the_order_of_utf_16() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]
    in_order = ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(keys)))) == in_order


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, SAFE_INTEGER + 1, -SAFE_INTEGER - 1, 10**30, "\ud800", {"a": [2**53]}],
)
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        canonical(value)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        canonical([1j])


def test_the_hash_names_its_kind() -> None:
    assert sha256({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
