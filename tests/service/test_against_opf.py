"""The AC loop against an AC optimal power flow that shares nothing with the dispatcher."""

from __future__ import annotations

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


@pytest.mark.parametrize("reactive", ["unity", "optimise"])
def test_cost_is_that_of_the_best_known_operation(reactive: str) -> None:
    document = afternoon(reactive=reactive)
    schedule = dispatch_document(document)
    assert schedule["ac"]["secure"]
    assert schedule["ac"]["rounds"] <= 5
    best, cost = best_known(document, schedule), schedule["objective"]["total"]
    assert cost <= best + WORST * abs(best)
    # IPOPT cannot be beaten by more than what counts as secure allows
    assert cost >= best - WORST * abs(best)


def test_inverters_carry_what_they_can_and_save_curtailment() -> None:
    schedules = {way: dispatch_document(afternoon(reactive=way)) for way in ("unity", "optimise")}
    steered = schedules["optimise"]
    assert steered["objective"]["total"] < schedules["unity"]["objective"]["total"] - 0.1
    assert steered["ac"]["secure"]
    for asset in afternoon()["assets"]:
        answer = steered["assets"][asset["id"]]
        assert ("q_kvar" in answer) == (asset["type"] == "renewable")
        if asset["type"] == "renewable":
            carried = np.hypot(answer["p_kw"], answer["q_kvar"])
            assert (carried <= asset["inverter_kva"] * (1 + 1e-6)).all()
    assert "q_kvar" not in schedules["unity"]["assets"]["pv0"]
