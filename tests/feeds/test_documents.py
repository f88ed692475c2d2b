"""JSON out: the bytes of the standard library, and no number that JSON does not have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.feeds.documents import json_bytes


@given(
    document=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=40,
    )
)
def test_the_fast_writer_writes_what_the_standard_one_writes(document: Any) -> None:
    standard = json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    try:
        expected = standard.encode()
    except UnicodeEncodeError:  # a lone surrogate is no UTF-8, however it is written
        with pytest.raises(UnicodeEncodeError):
            json_bytes(document)
        return
    assert json_bytes(document) == expected


def test_the_fast_writer_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"p_kw": [1.0, float("nan")]})
