"""Hypothesis strategies for problems on one connection: loads, renewables, batteries, EVs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.optimizer.builders import Document, battery, ev, load, problem_of, renewable, session, trip


@st.composite
def problems(draw: Any) -> Document:
    steps = draw(st.integers(1, 5))
    whole = st.integers(0, 12).map(float)

    def some(low: int, high: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))

    assets = [
        load(some(0, 15), shed_limit_fraction=draw(st.sampled_from([0.0, 0.5])), shed_price_per_mwh=300.0)
    ]
    if draw(st.booleans()):
        assets.append(
            renewable(
                some(0, 20),
                curtailable=draw(st.booleans()),
                curtailment_price_per_mwh=draw(st.sampled_from([0.0, 7.0])),
                marginal_cost_per_mwh=draw(st.sampled_from([0.0, 3.0])),
            )
        )
    efficiency = st.sampled_from([0.8, 0.9, 1.0])
    if draw(st.booleans()):
        assets.append(
            battery(
                charge_max_kw=draw(whole),
                discharge_max_kw=draw(whole),
                e_min_kwh=draw(st.sampled_from([0.0, 2.0])),
                e_start_kwh=draw(st.sampled_from([2.0, 10.0, 20.0])),
                e_end_min_kwh=draw(st.sampled_from([0.0, 5.0, 18.0])),
                charge_efficiency=draw(efficiency),
                discharge_efficiency=draw(efficiency),
                self_discharge_per_hour=draw(st.sampled_from([0.0, 0.01])),
                wear_cost_per_mwh=draw(st.sampled_from([0.0, 11.0])),
            )
        )
    for number in range(draw(st.integers(0, 2))):
        cuts = sorted(draw(st.lists(st.integers(0, steps * 4), min_size=2, max_size=4, unique=True)))
        stays = [(cuts[k] / 4, cuts[k + 1] / 4) for k in range(0, len(cuts) - 1, 2)]
        # a step of its own for each session's end, so that needs and trips never meet in one step
        if len(stays) == 2 and np.ceil(stays[0][1]) >= stays[1][0]:
            stays = stays[:1]
        assets.append(
            ev(
                [
                    session(
                        *stay,
                        discharge_max_kw=draw(st.sampled_from([0.0, 8.0])),
                        e_departure_min_kwh=draw(st.sampled_from([0.0, 15.0, 30.0])),
                    )
                    for stay in stays
                ],
                f"ev{number}",
                e_min_kwh=draw(st.sampled_from([0.0, 5.0])),
                charge_efficiency=draw(efficiency),
                discharge_efficiency=draw(efficiency),
                wear_cost_per_mwh=draw(st.sampled_from([0.0, 20.0])),
                trips=[trip(stays[0][1], stays[1][0], draw(st.sampled_from([1.0, 9.0])))]
                if len(stays) == 2
                else [],
            )
        )
    return problem_of(
        assets,
        steps=steps,
        import_limit_kw=draw(st.sampled_from([5.0, 20.0, 60.0])),
        export_limit_kw=draw(st.sampled_from([0.0, 10.0, 60.0])),
        import_price_per_mwh=some(-60, 150),
        export_price_per_mwh=some(-60, 150),
        carbon_g_per_kwh=draw(st.sampled_from([0.0, 400.0])),
        peak_import_price_per_kw=draw(st.sampled_from([0.0, 0.5])),
        peak_import_so_far_kw=draw(st.sampled_from([0.0, 6.0])),
        objective={"carbon_price_per_t": draw(st.sampled_from([0.0, 100.0]))},
        options={"mip_gap": 0.0},
    )
