"""Contractual instruments of the market-based ledger: rows of ``contracts.csv`` and ``certificates.csv``.

They must meet the quality criteria of the GHG Protocol's Scope 2 Guidance (2015, table 7.1): a factor is
conveyed, by one instrument only, tracked and cancelled for the consumer, close in time to the use, and in
the same market. What cannot be seen in a row the officer declares (`exclusive`); the rest is checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from energy.carbon.documents import CARBON_MAX_G_PER_KWH
from energy.domain.documents import Day, Document, Identifier, Instant, Items, nearest
from energy.domain.errors import Fault
from energy.domain.period import CITY, USER_CLASSES, Period
from energy.domain.tables import RowsDocument
from energy.domain.time import format_instant

Intensity = Annotated[float, Field(ge=0, le=CARBON_MAX_G_PER_KWH)]
"""g CO2 per kWh; more than the bound is another unit."""


class Contract(Document):
    """Electricity bought with a factor of its own: a supplier's product, or a power purchase agreement.

    Attributes:
        consumer: whose use it covers: ``city``, ``district:ID``, ``class:residential``, ``asset:ID``.
        start, end: first and last local day.
        share: of the consumer's use, 0 to 1; or volume_mwh: over all its days, spread evenly.
        source: where the factor is published, or the contract that states it.
        exclusive: true declares that nobody else claims the same electricity.
    """

    id: Identifier
    supplier: Identifier
    consumer: Identifier = CITY
    zone: Identifier
    start: Day
    end: Day
    share: Annotated[float | None, Field(gt=0, le=1)] = None
    volume_mwh: Annotated[float | None, Field(gt=0)] = None
    g_per_kwh: Intensity
    technology: str = ""
    source: Identifier
    exclusive: bool


class Certificate(Document):
    """An energy attribute certificate: a guarantee of origin, REC, I-REC, J-Credit, non-fossil certificate,
    or a granular certificate of one hour.

    Attributes:
        issuer, device: who issued it, and the plant. start, end: when it was generated.
        mwh: its volume. consumer: for whom it is cancelled, as of a `Contract`.
    """

    id: Identifier
    issuer: Identifier
    device: Identifier
    technology: Identifier
    zone: Identifier
    start: Instant
    end: Instant
    mwh: Annotated[float, Field(gt=0)]
    g_per_kwh: Intensity
    consumer: Identifier = CITY


class Contracts(RowsDocument):
    """``contracts.csv``: its `rows`."""

    FILE = "contracts.csv"
    ROW = Contract
    rows: Items[Contract] = ()


class Certificates(RowsDocument):
    """``certificates.csv``: its `rows`."""

    FILE = "certificates.csv"
    ROW = Certificate
    rows: Items[Certificate] = ()


def contract_faults(contracts: Contracts, period: Period, zone: str) -> list[Fault]:
    """What is wrong with the contracts of a city in `zone`, row by row."""
    faults, seen = [], set()
    for k, row in enumerate(contracts.rows):
        at = contracts.place(k)
        messages = [*_place_faults(row.consumer, row.zone, period, zone)]
        if row.id in seen:
            messages.append(f"contract {row.id!r} is listed twice; give each its own id")
        seen.add(row.id)
        if row.end < row.start:
            messages.append(f"ends on {row.end}, before it starts on {row.start}")
        if (row.share is None) == (row.volume_mwh is None):
            messages.append("give either share or volume_mwh")
        if not row.exclusive:
            messages.append(
                "is not exclusive: others claim the same electricity, so it conveys no factor (Scope 2 "
                "quality criteria); take it out, or set exclusive to true if it is"
            )
        faults += [Fault(at, message) for message in messages]
    return faults


def certificate_faults(
    certificates: Certificates,
    period: Period,
    zone: str,
    cancelled_mwh: Mapping[str, float],
    *,
    hourly: bool,
    elsewhere: Mapping[tuple[str, str], str] | None = None,
) -> list[Fault]:
    """What is wrong with the certificates of a city in `zone`, row by row.

    `cancelled_mwh` holds by id what this city has cancelled before; `elsewhere` by issuer and id where
    another city has cancelled some of it. With `hourly` matching a certificate must be of one hour.
    """
    faults, seen = [], set()
    for k, row in enumerate(certificates.rows):
        at = certificates.place(k)
        messages = [*_place_faults(row.consumer, row.zone, period, zone)]
        if row.id in seen:
            messages.append(f"certificate {row.id!r} is listed twice; each can be cancelled only once")
        seen.add(row.id)
        if row.end <= row.start:
            messages.append(f"ends at {format_instant(row.end)}, not after it starts")
        elif hourly and not in_one_hour(row):
            messages.append(
                f"spans {format_instant(row.start)} to {format_instant(row.end)}: matching by the hour needs "
                "certificates within one clock hour; match by the year, or ask for granular ones"
            )
        used = cancelled_mwh.get(row.id, 0.0)
        if used > row.mwh * (1.0 + 1e-9):
            messages.append(f"{used:g} MWh of {row.id!r} are cancelled already, but it holds {row.mwh:g} MWh")
        where = (elsewhere or {}).get((row.issuer, row.id))
        if where is not None:
            messages.append(
                f"certificate {row.id!r} of {row.issuer} is cancelled already by {where}; each can be "
                "cancelled only once: take it out here, or there and make that report again"
            )
        faults += [Fault(at, message) for message in messages]
    return faults


def in_one_hour(row: Certificate) -> bool:
    """Whether it is granular: generated within one clock hour."""
    hour = row.start.replace(minute=0, second=0, microsecond=0)
    return row.end <= hour + timedelta(hours=1)


def _place_faults(consumer: str, found: str, period: Period, zone: str) -> Iterator[str]:
    if found != zone:
        yield (
            f"is of zone {found!r}, the city's grid is {zone!r}: an instrument of another market does not "
            "count (Scope 2 quality criteria); take it out"
        )
    kind, _, name = consumer.partition(":")
    known: Mapping[str, Collection[str]] = {
        "district": period.districts,
        "class": USER_CLASSES,
        "asset": [asset.id for asset in period.assets],
    }
    if consumer == CITY:
        return
    if kind not in known:
        yield f"consumer {consumer!r} is not one of city, district:ID, class:NAME, asset:ID"
    elif name not in known[kind]:
        yield f"consumer {consumer!r}: {nearest(name, known[kind] or ('none',))}"
