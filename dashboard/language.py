"""Words, numbers and dates in the reader's language; every string on a page comes through here."""

from __future__ import annotations

import json
import math
import re
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


@cache
def _engine_sentences() -> list[tuple[str, re.Pattern[str]]]:
    """The catalogue's sentences of engines as patterns; those that begin with a word of their own, and the
    longest of these, first."""
    sentences = [(key, text) for key, text in _catalogue("en").items() if key.startswith("engine.")]
    sentences.sort(key=lambda item: (item[1].startswith("{"), -len(re.sub(r"\{\w+\}", "", item[1]))))
    return [
        (key, re.compile(re.sub(r"\\\{(\w+)\\\}", _named_group, re.escape(text)))) for key, text in sentences
    ]


def _named_group(placeholder: re.Match[str]) -> str:
    """An ``index`` is a number; any other value is some text."""
    name = placeholder[1]
    return rf"(?P<{name}>\d+)" if name == "index" else rf"(?P<{name}>.+)"


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

    def count(self, key: str, count: int, /, **values: object) -> str:
        """The text of ``KEY.one`` or ``KEY.other``, with its `count`."""
        return self(f"{key}.{'one' if count == 1 else 'other'}", count=self.number(count), **values)

    def engine(self, text: str) -> str:
        """What an engine says in English (a stage, a remedy, a method), where the catalogue knows it.

        The English texts under ``engine.`` are the engines' own sentences; the values they name may be
        such sentences themselves. Anything else, citations above all, stays as it is.
        """
        for key, pattern in _engine_sentences():
            found = pattern.fullmatch(text)
            if found:
                return self(key, **{name: self.engine(value) for name, value in found.groupdict().items()})
        return text

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

    def scientific(self, value: float) -> str:
        """A number of any size with two figures: ``−4.2e−12``."""
        return f"{value:.1e}".replace("-", "−") if value else self.number(0)

    def date(self, day: date) -> str:
        """A local date with its weekday."""
        pattern, locale = _DATE[self.code]
        text: str = format_date(day, pattern, locale=locale)
        return text

    @property
    def separators(self) -> str:
        """Decimal and thousands separators as Plotly takes them; the same in both languages."""
        return ".,"
