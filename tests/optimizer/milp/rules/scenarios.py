"""Scenarios: a formulation of each, side by side, whose first controls are the same."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from tests.optimizer.builders import Document
from tests.optimizer.milp.formulation import HOURS, Formulation
from tests.optimizer.milp.program import Program
from tests.optimizer.uncertainty import of_scenario

if TYPE_CHECKING:
    from tests.optimizer.milp.random_problem import Place


def optimum(document: Document) -> tuple[float, float] | None:
    """Least expected shortfall, and least expected cost at it."""
    program = Program()
    found = []
    for scenario in document["scenarios"]:
        f = Formulation(of_scenario(document, scenario["id"]), program, scenario["probability"])
        f.write()
        found.append(f)
    first, hours = found[0], HOURS[document["time"]["resolution"]]
    steps = 1 if document.get("first_stage") is None else round(HOURS_OF[document["first_stage"]] / hours)
    for other in found[1:]:
        for (step, one), (_, its) in zip(first.controls, other.controls, strict=True):
            if step < steps:
                program.row({one: 1, its: -1}, 0, 0)
        for key, held in first.held.items():
            program.row({held: 1, other.held[key]: -1}, 0, 0)
    for connection in document["connections"]:
        if connection.get("breach_probability"):
            terms = {f.lifted[connection["id"]]: f.weight for f in found}
            program.row(terms, -np.inf, _allowed(connection, len(found)) + 1e-9)
    return program.solve()


def _allowed(connection: Document, count: int) -> float:
    """The share of scenarios that may breach: so many that more would be seen with the confidence."""
    probability, confidence = connection["breach_probability"], connection.get("breach_confidence")
    if confidence is None:
        return float(probability)
    return max(
        (k / count for k in range(count) if binom.cdf(k, count, probability) <= 1 - confidence), default=0.0
    )


HOURS_OF = {f"PT{quarters * 15}M": quarters / 4 for quarters in range(1, 50)}


def draw(random: Random, document: Document, place: Place) -> None:
    """Loads, the sun and prices differ."""
    weights = [random.randint(1, 2) for _ in range(random.choice([2, 2, 3]))]
    document["scenarios"] = []
    for number, weight in enumerate(weights):
        series = {}
        for asset in document["assets"]:
            if asset["type"] == "load":
                series[f"assets.{asset['id']}.p_kw"] = place.series(random, 0, 15)
            elif asset["type"] == "renewable":
                series[f"assets.{asset['id']}.available_kw"] = place.series(random, 0, 20)
        if "import_price_per_mwh" in document["connections"][0] and random.random() < 0.5:
            series["connections.poc.import_price_per_mwh"] = place.series(random, -60, 150)
        document["scenarios"].append(
            {"id": f"s{number}", "probability": weight / sum(weights), "series": series}
        )
    if random.random() < 0.7:
        document["first_stage"] = f"PT{round(random.randint(1, place.steps) * place.hours * 4) * 15}M"
    for connection in document["connections"]:
        limited = any(connection.get(f"{way}_limit_kw") is not None for way in ("import", "export"))
        if limited and not document.get("offers") and random.random() < 0.4:
            connection["breach_probability"] = random.choice([0.3, 0.5])
            if len(set(weights)) == 1:
                connection["breach_confidence"] = random.choice([0.3, 0.8])
