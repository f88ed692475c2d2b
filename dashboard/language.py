"""Words, numbers and dates in the reader's language; every string on a page comes through here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from babel.dates import format_date
from babel.numbers import format_decimal

LANGUAGES = {"en": "English", "ja": "日本語"}
"""Each language in its own words."""
_DATE = {"en": ("EEE d MMMM y", "en_GB"), "ja": ("y年M月d日（E）", "ja_JP")}


@cache
def _catalogue(code: str) -> dict[str, str]:
    path = Path(__file__).parent / "locale" / f"{code}.json"
    catalogue: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return catalogue


@dataclass(frozen=True, slots=True)
class Language:
    """One of `LANGUAGES`. Call it with a catalogue key and the values its text names."""

    code: str

    def __post_init__(self) -> None:
        if self.code not in LANGUAGES:
            raise ValueError(f"language {self.code!r}; there are {', '.join(LANGUAGES)}")

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of `key`; `KeyError` where the catalogue lacks it, or the text names an unknown value."""
        return _catalogue(self.code)[key].format(**values)

    def known(self, key: str, fallback: str) -> str:
        """The text of `key` where the catalogue has it: for words a city brings itself (a technology)."""
        return _catalogue(self.code).get(key, fallback)

    def number(self, value: float, digits: int = 0, *, signed: bool = False) -> str:
        """A number with the language's separators; an en dash where there is none (NaN)."""
        if not math.isfinite(value):
            return "–"
        rounded = round(value, digits) + 0.0  # never "−0"
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        text = format_decimal(abs(rounded), format=pattern, locale=_DATE[self.code][1])
        sign = "−" if rounded < 0 else "+" if signed and rounded > 0 else ""
        return sign + text

    def figures(self, value: float, significant: int = 3) -> str:
        """A number with about `significant` figures, whole from there on."""
        if not math.isfinite(value):
            return "–"
        digits = 0 if value == 0 else significant - 1 - math.floor(math.log10(abs(value)))
        return self.number(value, min(max(digits, 0), 4))

    def date(self, day: date) -> str:
        """A local date with its weekday."""
        pattern, locale = _DATE[self.code]
        text: str = format_date(day, pattern, locale=locale)
        return text

    @property
    def separators(self) -> str:
        """Decimal and thousands separators as Plotly takes them; the same in both languages."""
        return ".,"
