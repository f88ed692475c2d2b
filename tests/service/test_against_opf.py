"""The AC loop against an AC optimal power flow that shares nothing with the dispatcher."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from energy.service.dispatch import dispatch_document
from tests.acopf import best_known, lv_day

RURAL = "1-LV-rural1--2-sw"
WORST = 5e-3
"""How far above the best known optimum a cost may lie."""


def afternoon(**network: Any) -> dict[str, Any]:
    """Five hours of PV beyond what the transformer and the voltage limit allow, with 12 EVs."""
    document = lv_day(RURAL, pv=1.3, evs=12, steps=20, vm_max_pu=1.04)
    document["network"].update(network)
    for asset in document["assets"]:
        if asset["type"] == "renewable":
            asset["inverter_kva"] = max(asset["available_kw"])
    return document


@cache
def answer(reactive: str) -> dict[str, Any]:
    return dispatch_document(afternoon(reactive=reactive))


@pytest.mark.parametrize("reactive", ["unity", "optimise"])
def test_cost_is_that_of_the_best_known_operation(reactive: str) -> None:
    document = afternoon(reactive=reactive)
    schedule = answer(reactive)
    assert schedule["ac"]["secure"]
    assert schedule["ac"]["rounds"] <= 5
    best, cost = best_known(document, schedule), schedule["objective"]["total"]
    assert cost <= best + WORST * abs(best)
    # IPOPT cannot be beaten by more than what counts as secure allows
    assert cost >= best - WORST * abs(best)


def test_inverters_carry_what_they_can_and_save_curtailment() -> None:
    plain, steered = answer("unity"), answer("optimise")
    assert steered["objective"]["total"] < plain["objective"]["total"] - 0.1
    assert steered["ac"]["secure"]
    for asset in afternoon()["assets"]:
        found = steered["assets"][asset["id"]]
        assert ("q_kvar" in found) == (asset["type"] == "renewable")
        if asset["type"] == "renewable":
            carried = np.hypot(found["p_kw"], found["q_kvar"])
            assert (carried <= asset["inverter_kva"] * (1 + 1e-6)).all()
    assert "q_kvar" not in plain["assets"]["pv0"]
