"""What a page shows, as its address says: ``/grid?city=…&day=2016-06-21&t=18:30&lang=ja``."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Literal, Self
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from dashboard.language import LANGUAGES, Language
from energy.domain.city import City
from energy.domain.time import TimeGrid

INFORMATION = ("perfect", "day-ahead")


@dataclass(frozen=True, slots=True)
class View:
    """The reader's choices; an empty string is "not chosen". Unknown or malformed ones count as that."""

    city: str = ""
    day: str = ""
    t: str = ""
    district: str = ""
    layer: str = ""
    case: str = ""
    asset: str = ""
    element: str = ""
    report: str = ""
    year: str = ""
    info: str = ""
    job: str = ""
    lang: str = "en"

    @classmethod
    def from_query(cls, query: dict[str, str]) -> Self:
        """Read an address's query; a wrong value falls back to "not chosen", as a page must always show."""
        names = {item.name for item in fields(cls)}
        view = cls(**{name: value for name, value in query.items() if name in names})
        return replace(
            view,
            lang=view.lang if view.lang in LANGUAGES else "en",
            info=view.info if view.info in INFORMATION else "",
            day=view.day if _is_day(view.day) else "",
            year=view.year if re.fullmatch(r"(19|2[01])\d\d", view.year, re.ASCII) else "",
        )

    def search(self, **changes: str) -> str:
        """The query string with `changes`; what is empty or the default is left out."""
        chosen = replace(self, **changes)
        pairs = {item.name: getattr(chosen, item.name) for item in fields(chosen)}
        kept = {name: value for name, value in pairs.items() if value and (name, value) != ("lang", "en")}
        return "?" + urlencode(kept) if kept else ""

    @property
    def language(self) -> Language:
        return Language(self.lang)

    def choice(self, name: Literal["layer", "case"], among: tuple[str, ...]) -> str:
        """The chosen value if it is one of `among`, else the first of these."""
        value: str = getattr(self, name)
        return value if value in among else among[0]

    def step(self, labels: tuple[str, ...]) -> int | None:
        """The chosen interval of the day; None where none is chosen."""
        return labels.index(self.t) if self.t in labels else None


def day_labels(time: TimeGrid, zone: ZoneInfo) -> tuple[str, ...]:
    """The local clock of every interval, unique: in the hour that comes twice, with the zone's name."""
    local = [instant.astimezone(zone) for instant in time]
    plain = [instant.strftime("%H:%M") for instant in local]
    return tuple(
        f"{text} {instant.tzname()}" if plain.count(text) > 1 else text
        for text, instant in zip(plain, local, strict=True)
    )


def day_bounds(city: City) -> tuple[date, date]:
    """The first and the last local day that a city's year of data covers completely."""
    time = city.profiles.time
    first = time.start.astimezone(city.zone)
    whole = first.date() if _midnight(first) else first.date() + timedelta(days=1)
    return whole, time.end.astimezone(city.zone).date() - timedelta(days=1)


def _midnight(instant: datetime) -> bool:
    return (instant.hour, instant.minute, instant.second) == (0, 0, 0)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
