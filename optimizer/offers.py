"""Flexibility offers: capacity sold upstream as reserve, held through a window and delivered if called.

"up" draws less or feeds more than planned, "down" draws more or feeds less. An offer has one capacity over
its window. A call begins in any step of it and lasts `duration`, or to the end of the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

from energy.domain.documents import Document, Duration, Identifier, Instant, Items, nearest
from energy.domain.errors import Fault
from energy.domain.schedule import Conflict, OfferSchedule, Shortfall
from energy.domain.time import TimeGrid, format_instant
from optimizer.assets.base import Asset, Direction
from optimizer.assets.reach import when
from optimizer.quantities import Number, Positive


class Offer(Document):
    """Capacity in kW held from `start` to `end` at a connection, for `price_per_mw_h` of revenue per MW and
    hour. It is nothing or between `min_kw` and `max_kw`; `committed_kw` is sold already. `providers` are
    assets at or below the connection, null all of them."""

    id: Identifier
    connection: Identifier
    direction: Direction
    start: Instant
    end: Instant
    price_per_mw_h: Number = 0.0
    max_kw: Positive
    min_kw: Positive = 0.0
    duration: Duration = timedelta(hours=1)
    committed_kw: Positive | None = None
    providers: Items[Identifier] | None = None

    def steps(self, time: TimeGrid) -> range:
        """The steps of its window inside the horizon."""
        first = max(round(time.position(self.start)), 0)
        return range(first, max(first, min(round(time.position(self.end)), time.steps)))

    def hours(self, time: TimeGrid) -> float:
        """How long it is held inside the horizon."""
        return len(self.steps(time)) * time.hours

    def revenue(self, kw: float, time: TimeGrid) -> float:
        """What holding so much earns, in the problem's currency."""
        return self.price_per_mw_h * kw / 1000 * self.hours(time)

    def short(self, kw: float, time: TimeGrid) -> Shortfall:
        """So much less held than was sold."""
        at = time.instant(self.steps(time).start)
        lacking = kw * self.hours(time)
        return Shortfall(
            "committed_reserve", at, lacking, connection=self.connection, offer=self.id, amount=kw, unit="kw"
        )

    def conflict(self, shortfall: Shortfall, assets: Sequence[Asset], time: TimeGrid) -> Conflict:
        """So much of what is committed that no wider connection would let its providers hold."""
        kw, steps = shortfall.amount or 0.0, self.steps(time)
        start, end = time.instant(steps.start), time.instant(steps.stop)
        known = {asset.id for asset in assets}
        providers = tuple(sorted(known & set(self.providers or ())))
        who = ", ".join(map(repr, providers)) or "the assets at or below it"
        message = (
            f"offer {self.id!r} at connection {self.connection!r}: from {when(start, time)} to "
            f"{when(end, time)} {who} cannot hold {kw:.4g} kW of the {self.committed_kw or 0.0:.4g} kW "
            "committed, whatever their connections could carry. Lower committed_kw, or name more providers."
        )
        return Conflict(providers, self.connection, start, end, shortfall.kind, kw, "kW", message)


def offer_faults(
    offers: Sequence[Offer | None],
    assets: Sequence[Asset | None],
    parents: Mapping[str, str | None],
    time: TimeGrid | None,
) -> Iterator[Fault]:
    """What is wrong with offers, once each field is right by itself."""
    at = {asset.id: asset.connection for asset in assets if asset is not None}
    seen: set[str] = set()
    for number, offer in enumerate(offers):
        if offer is None:
            continue
        path = f"offers[{number}]"
        if offer.id in seen:
            yield Fault(f"{path}.id", f"{offer.id!r} is used twice; ids of offers must be unique")
        seen.add(offer.id)
        if offer.end <= offer.start:
            yield Fault(
                f"{path}.end",
                f"{format_instant(offer.end)} is not after the start {format_instant(offer.start)}; "
                "swap or correct them",
            )
        for name in ("start", "end") if time is not None else ():
            assert time is not None
            if not time.position(getattr(offer, name)).is_integer():
                yield Fault(f"{path}.{name}", "is not the start of a step; move it to one")
        if offer.duration <= timedelta(0):
            yield Fault(f"{path}.duration", "must be positive")
        for name in ("min_kw", "committed_kw"):
            value = getattr(offer, name) or 0.0
            if value > offer.max_kw:
                yield Fault(f"{path}.{name}", f"{value:g} kW is above max_kw {offer.max_kw:g}; lower it")
        if 0 < (offer.committed_kw or 0.0) < offer.min_kw:
            yield Fault(
                f"{path}.committed_kw",
                f"{offer.committed_kw:g} kW is below min_kw {offer.min_kw:g}; raise it",
            )
        if offer.connection not in parents:
            known = f"; {nearest(offer.connection, parents)}" if parents else ""
            yield Fault(
                f"{path}.connection", f"{offer.connection!r} is not a connection of this problem{known}"
            )
            continue
        for position, provider in enumerate(offer.providers or ()):
            where = f"{path}.providers[{position}]"
            if provider not in at:
                known = f"; {nearest(provider, at)}" if at else ""
                yield Fault(where, f"{provider!r} is not an asset of this problem{known}")
            elif offer.connection not in _above(at[provider], parents):
                yield Fault(
                    where, f"{provider!r} is not at or below connection {offer.connection!r}; leave it out"
                )


def _above(connection: str, parents: Mapping[str, str | None]) -> list[str]:
    """A connection and those above it, up to the root; of a circle each once."""
    found: list[str] = []
    at: str | None = connection
    while at is not None and at not in found:
        found.append(at)
        at = parents.get(at)
    return found


def offer_revenue(offers: Iterable[Offer], held: Mapping[str, OfferSchedule], time: TimeGrid) -> float:
    """What all that is held earns, in the problem's currency."""
    known = {offer.id: offer for offer in offers}
    return sum(known[key].revenue(found.kw, time) for key, found in held.items())


def unheld(offers: Iterable[Offer], time: TimeGrid) -> Iterator[Shortfall]:
    """What was sold, where nothing is held."""
    for offer in offers:
        if (offer.committed_kw or 0.0) > 0 and offer.hours(time) > 0:
            yield offer.short(offer.committed_kw or 0.0, time)


def offer_notices(offers: Sequence[Offer], time: TimeGrid, *, networked: bool) -> Iterator[str]:
    """Offers outside the horizon, and what of them is not checked."""
    for offer in offers:
        if not offer.hours(time):
            yield f"offer {offer.id!r} is outside the horizon and left out"
        elif offer.start < time.start or offer.end > time.end:
            yield f"offer {offer.id!r} is clipped to the horizon"
    if offers and networked:
        yield "offers: grid limits are not checked for the power after a call"
