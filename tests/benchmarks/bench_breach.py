"""How often a declared chance of exceeding an import limit is kept on days that the plan has not seen.

A site with a store and vans plans a whole day ahead with `breach_probability` under equally likely
scenarios of its load; every control is common to them (`first_stage` is the horizon), so the plan is the
policy. Held-out days come from the same random process. With few scenarios the plan fits the days it has
seen: the chance is exceeded, and nearer to what was declared the more there are (Luedtke and Ahmed 2008,
doi:10.1137/070702928).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from energy.domain.network import FloatArray
from optimizer import DispatchProblem, dispatch

STEPS, HELD_OUT, LIMIT_KW = 24, 2000, 150.0
START = datetime(2016, 6, 21, tzinfo=UTC)
RUNS = ((10, None), (40, None), (120, None), (10, 0.95), (40, 0.95), (120, 0.95))
"""How many scenarios, and with which `breach_confidence`."""
ALLOWED = 0.1


def days(count: int, random: np.random.Generator) -> FloatArray:
    """Hourly loads in kW: a daily shape, a level of the day, and an error that lasts some hours."""
    hour = np.arange(STEPS)
    shape = 70 + 35 * np.sin((hour - 10) / 24 * 2 * np.pi) ** 2 + 30 * np.exp(-(((hour - 19) / 2.5) ** 2))
    level = 1 + 0.08 * random.standard_normal((count, 1))
    error = np.zeros((count, STEPS))
    for step in range(STEPS):
        before = error[:, step - 1] if step else 0.0
        error[:, step] = 0.8 * before + 4.0 * random.standard_normal(count)
    return np.asarray(np.clip(shape * level + error, 0, None))


def instant(step: int) -> str:
    return (START + timedelta(hours=step)).isoformat()


def problem(loads: FloatArray, confidence: float | None) -> dict[str, Any]:
    """The site under equally likely loads."""
    vans = [
        {
            "type": "ev",
            "id": f"van{number}",
            "connection": "site",
            "e_max_kwh": 75.0,
            "e_start_kwh": 20.0,
            "sessions": [
                {
                    "arrival": instant(8 + number % 4),
                    "departure": instant(22),
                    "charge_max_kw": 22.0,
                    "e_departure_min_kwh": 65.0,
                }
            ],
        }
        for number in range(6)
    ]
    price = (90 + 40 * np.sin((np.arange(STEPS) - 13) / 24 * 2 * np.pi)).round(1).tolist()
    return {
        "schema": "wattshed.dispatch/1",
        "time": {"start": START.isoformat(), "resolution": "PT1H", "steps": STEPS},
        "connections": [
            {
                "id": "site",
                "import_limit_kw": LIMIT_KW,
                "breach_probability": ALLOWED,
                "breach_confidence": confidence,
                "import_price_per_mwh": price,
                "export_price_per_mwh": 0.0,
            }
        ],
        "assets": [
            {"type": "load", "id": "load", "connection": "site", "p_kw": 0.0},
            {
                "type": "battery",
                "id": "store",
                "connection": "site",
                "charge_max_kw": 40.0,
                "discharge_max_kw": 40.0,
                "e_max_kwh": 80.0,
                "e_start_kwh": 20.0,
            },
            *vans,
        ],
        "scenarios": [
            {
                "id": f"{number:03}",
                "probability": 1 / len(loads),
                "series": {"assets.load.p_kw": day.tolist()},
            }
            for number, day in enumerate(loads)
        ],
        "first_stage": f"PT{STEPS}H",
        "options": {"mip_gap": 1e-3},
    }


def run() -> list[tuple[str, float, str]]:
    """Breach frequency of held-out days over the declared chance."""
    found = []
    for count, confidence in RUNS:
        random = np.random.default_rng(count)
        answer = dispatch(DispatchProblem.from_document(problem(days(count, random), confidence))).document()
        plan = sum(np.array(a["p_kw"]) for key, a in answer["assets"].items() if key != "load")
        held_out = days(HELD_OUT, np.random.default_rng(0))
        frequency = float((held_out + plan > LIMIT_KW + 1e-3).any(axis=1).mean())
        breach = answer["breach"]["site"]
        unserved = sum(
            scenario["probability"] * sum(shortfall["amount_kwh"] for shortfall in scenario["shortfalls"])
            for scenario in answer["scenarios"].values()
        )
        name = f"breaches of {HELD_OUT:,} held-out days over the declared chance, {count} scenarios"
        if confidence is not None:
            name += f", breach_confidence {confidence:g}"
        remark = (
            f"{frequency:.1%} exceed the limit, {breach['planned']:.0%} planned, {ALLOWED:.0%} declared"
            + (f", at most {breach['level']:.1%} by the scenarios" if confidence is not None else "")
            + f"; {unserved:.1f} kWh expected shortfall, {answer['status']}"
        )
        found.append((name, frequency / ALLOWED, remark))
    return found
