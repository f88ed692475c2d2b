"""Canonical JSON (RFC 8785): the same bytes for the same value, whoever writes them; what hashes are of.

The C encoder of the standard library writes everything but a few numbers as the RFC asks; these are put right
in its text. https://www.rfc-editor.org/rfc/rfc8785
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

SAFE_INTEGER = 2**53 - 1
"""The largest integer that a double tells from its neighbours."""

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_LONG_INTEGER = re.compile(r"\d{16}(?<![.\d]\d{16})\d*(?![\d.e])")
_WHOLE = re.compile(r"\.0(?=[\],}]|$)")
_NEGATIVE_ZERO = re.compile(r"-0(?=[\],}]|$)")
_EXPONENT = re.compile(r"(\d)(?:\.(\d+))?e([+-]\d+)")
_BEYOND_UCS2 = re.compile("[\U00010000-\U0010ffff]")


def canonical(value: Any) -> bytes:
    """`value` as RFC 8785 JSON in UTF-8. The keys of its objects must be strings.

    Raises `ValueError` for what JSON cannot hold: NaN, infinities, integers beyond ±(2^53 - 1), lone
    surrogates; `TypeError` for values of other types than those of JSON.
    """
    text = _written(value, sort=True)
    if not text.isascii() and _BEYOND_UCS2.search(text):
        # the RFC sorts keys by their UTF-16 code units, Python by code points
        text = _written(_sorted(value), sort=False)
    # strings stand at the odd places
    parts = text.split('"') if "\\" not in text else _STRING.split(text)
    parts[::2] = _numbers('"'.join(parts[::2])).split('"')
    return '"'.join(parts).encode()


def sha256(value: Any) -> str:
    """``sha256:`` and the hexadecimal SHA-256 of the canonical JSON of `value`."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"


def _written(value: Any, *, sort: bool) -> str:
    return json.dumps(value, sort_keys=sort, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _sorted(value: Any) -> Any:
    """`value` with the keys of all objects in the order of the RFC."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: _sorted(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def _numbers(text: str) -> str:
    """JSON without its strings, with numbers as ECMAScript writes them."""
    for match in _LONG_INTEGER.finditer(text):
        if int(match[0]) > SAFE_INTEGER:
            raise ValueError(f"{match[0]} is beyond ±{SAFE_INTEGER}, up to which JSON holds integers exactly")
    text = _NEGATIVE_ZERO.sub("0", _WHOLE.sub("", text))
    return _EXPONENT.sub(_scientific, text) if "e-" in text or "e+" in text else text


def _scientific(match: re.Match[str]) -> str:
    """A number that Python writes with an exponent: without one from 1e-6 to 1e21."""
    whole, fraction, exponent = match[1], match[2] or "", int(match[3])
    digits = whole + fraction
    if -7 < exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    if 0 < exponent < 21:
        return digits.ljust(exponent + 1, "0")
    return f"{whole}{'.' if fraction else ''}{fraction}e{exponent:+d}"
