"""Tariffs: prices by the local clock, minute by minute, and blocks that fill in order."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from tests.optimizer.builders import Document
from tests.optimizer.markets import DAYS, instants, price_series

if TYPE_CHECKING:
    from tests.optimizer.milp.formulation import Formulation
    from tests.optimizer.milp.random_problem import Place

ALL_KWH = 1e4
"""More than any problem here imports."""


def prices(f: Formulation, connection: Document, way: str) -> np.ndarray:
    return price_series(f.document, connection, way)


def blocks(f: Formulation, connection: Document, imports: list[int]) -> None:
    """The energy of each billing period in its blocks, each of which opens once that before is full."""
    stated = connection["import_blocks"]
    zone, whole = ZoneInfo(stated.get("time_zone", "UTC")), f.hours / len(instants(f.document)[0])
    energy: dict[Any, dict[int, float]] = {}
    for t, minutes in enumerate(instants(f.document)):
        for instant in minutes:
            local = instant.astimezone(zone)
            key = {"horizon": 0, "day": local.date(), "month": (local.year, local.month)}[stated["period"]]
            terms = energy.setdefault(key, {})
            terms[imports[t]] = terms.get(imports[t], 0.0) + whole
    for number, terms in enumerate(energy.values()):
        begun, edge, opened = stated.get("so_far_kwh", 0.0) if number == 0 else 0.0, 0.0, None
        filled = {}
        for block in stated["blocks"]:
            above = ALL_KWH if block.get("up_to_kwh") is None else block["up_to_kwh"]
            size = max(above, begun) - max(edge, begun)
            column, full = f.column(0, size, cost=block["price_per_mwh"] / 1000), f.binary()
            f.row({column: 1, full: -size}, 0, np.inf)
            if opened is not None:
                f.row({column: 1, opened: -size}, -np.inf, 0)
            filled[column] = -1.0
            edge, opened = above, full
        f.row({**terms, **filled}, 0, 0)


def draw(random: Random, document: Document, place: Place) -> None:
    """The test horizon begins at 00:00 UTC: at 02:00 in Berlin, 12:00 in Auckland, 21:00 in São Paulo."""
    root = document["connections"][0]
    for way in random.choice([("import",), ("export",), ("import", "export"), ()]):
        del root[f"{way}_price_per_mwh"]
        split = f"0{random.randint(2, 6)}:{random.choice(['00', '10', '45'])}"
        periods = [
            {"from": "00:00", "to": split, "price_per_mwh": place.price(random)},
            {"from": split, "to": "24:00", "days": list(random.sample(DAYS, 4)), "price_per_mwh": -20.0},
        ]
        root[f"{way}_tariff"] = {
            "time_zone": random.choice(["Europe/Berlin", "UTC", "Pacific/Auckland"]),
            "default_per_mwh": place.price(random),
            "periods": random.sample(periods, random.choice([1, 2])),
        }
    if random.random() < 0.8:
        edges = sorted(random.sample([2.0, 5.0, 11.0, 30.0], random.choice([1, 2])))
        costs = [random.choice([0.0, 15.0, 40.0, 120.0]) for _ in range(len(edges) + 1)]
        root["import_blocks"] = {
            "period": random.choice(["horizon", "day", "month"]),
            "time_zone": random.choice(["UTC", "Asia/Dubai", "America/Sao_Paulo"]),
            "so_far_kwh": random.choice([0.0, 3.0]),
            "blocks": [
                {"up_to_kwh": edge, "price_per_mwh": cost}
                for edge, cost in zip([*edges, None], costs, strict=True)
            ],
        }
