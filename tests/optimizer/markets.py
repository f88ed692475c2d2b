"""What tariffs and offers come to, recomputed from the documents alone: minute by minute, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

Document = dict[str, Any]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = {"PT15M": 15, "PT30M": 30, "PT1H": 60}


def instants(document: Document) -> list[list[datetime]]:
    """The minutes of each step, in UTC."""
    start = datetime.fromisoformat(document["time"]["start"]).astimezone(UTC)
    length = MINUTES[document["time"]["resolution"]]
    return [
        [start + timedelta(minutes=step * length + minute) for minute in range(length)]
        for step in range(document["time"]["steps"])
    ]


def price_at(tariff: Document, instant: datetime) -> float:
    local = instant.astimezone(ZoneInfo(tariff["time_zone"]))
    for period in tariff.get("periods", ()):
        if (
            DAYS[local.weekday()] in period.get("days", DAYS)
            and local.month in (period.get("months") or range(1, 13))
            and period["from"] <= f"{local:%H:%M}" < period["to"]
        ):
            return float(period["price_per_mwh"])
    return float(tariff["default_per_mwh"])


def price_series(document: Document, connection: Document, way: str) -> np.ndarray:
    """The price of each step at a root, shape (steps,)."""
    steps = document["time"]["steps"]
    tariff = connection.get(f"{way}_tariff")
    if tariff is not None:
        return np.array([np.mean([price_at(tariff, i) for i in step]) for step in instants(document)])
    price = connection.get(f"{way}_price_per_mwh")
    return np.broadcast_to(np.asarray(0.0 if price is None else price, float), (steps,))


def block_cost(document: Document, blocks: Document, imported: np.ndarray) -> float:
    """The surcharges of blocks, from a meter that is read every minute."""
    zone = ZoneInfo(blocks.get("time_zone", "UTC"))
    meter: dict[Any, float] = {}
    for step, minutes in enumerate(instants(document)):
        for instant in minutes:
            local = instant.astimezone(zone)
            key = {"horizon": 0, "day": local.date(), "month": (local.year, local.month)}[blocks["period"]]
            if key not in meter:
                meter[key] = 0.0 if meter else blocks.get("so_far_kwh", 0.0)
            meter[key] += imported[step] / 60
    cost, first = 0.0, True
    for energy in meter.values():
        low = blocks.get("so_far_kwh", 0.0) if first else 0.0
        first, edge = False, 0.0
        for block in blocks["blocks"]:
            above = np.inf if block.get("up_to_kwh") is None else block["up_to_kwh"]
            inside = max(0.0, min(energy, above) - max(low, edge))
            cost, edge = cost + inside * block["price_per_mwh"] / 1000, above
    return cost


def check_offers(document: Document, answer: Document, tolerance: float) -> float:
    """What all offers earn; each is inside its bounds, and in every step of its window held by assets."""
    earned, starts = 0.0, [step[0] for step in instants(document)]
    for offer in document.get("offers", ()):
        found = answer["offers"][offer["id"]]
        start, end = (datetime.fromisoformat(offer[key]) for key in ("start", "end"))
        inside = np.array([start <= begin < end for begin in starts])
        held = sum((np.array(kw) for kw in found["by_asset"].values()), np.zeros(len(starts)))
        assert np.allclose(held, inside * found["kw"], atol=tolerance)
        assert found["kw"] <= offer["max_kw"] + tolerance
        assert found["kw"] <= tolerance or found["kw"] >= offer.get("min_kw", 0.0) - tolerance
        hours = inside.sum() * MINUTES[document["time"]["resolution"]] / 60
        earned += hours * offer["price_per_mw_h"] / 1000 * found["kw"]
    return earned
