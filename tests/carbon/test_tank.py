"""The mixing tank: its identity and bounds on random events, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.carbon.documents import TankAnswer
from energy.domain.errors import InputError
from energy.service.ledger import tank_document


def ledger(*events: dict[str, float], **changes: Any) -> dict[str, Any]:
    return {
        "schema": "wattshed.tank/1",
        "e_start_kwh": 20.0,
        "carbon_start_g": 6000.0,
        "charge_efficiency": 0.92,
        "discharge_efficiency": 0.9,
        "events": list(events),
        **changes,
    }


def faults(document: dict[str, Any]) -> str:
    with pytest.raises(InputError) as refused:
        tank_document(document)
    return str(refused.value)


@st.composite
def ledgers(draw: st.DrawFn) -> dict[str, Any]:
    """Ledgers that never take more than is stored."""
    efficiency = st.floats(0.5, 1.0)
    charge_efficiency, discharge_efficiency = draw(efficiency), draw(efficiency)
    loss = draw(st.sampled_from([0.0, 0.001, 0.1]))
    energy = start = draw(st.floats(0.1, 100.0))
    events: list[dict[str, float]] = []
    for kind in draw(st.lists(st.sampled_from(["charge", "discharge", "drive", "idle"]), max_size=12)):
        energy *= 1.0 - loss
        share = draw(st.sampled_from([0.0, 0.3, 1.0]))
        if kind == "charge":
            charged = draw(st.floats(0.0, 50.0))
            events.append({"charge_kwh": charged, "carbon_g_per_kwh": draw(st.floats(0.0, 900.0))})
            energy += charge_efficiency * charged
        elif kind == "idle":
            events.append({"idle_steps": 1})
        elif kind == "discharge":
            events.append({"discharge_kwh": share * energy * discharge_efficiency})
            energy *= 1.0 - share
        else:
            events.append({"drive_kwh": share * energy, "distance_km": 10.0 * share})
            energy *= 1.0 - share
    return ledger(
        *events,
        e_start_kwh=start,
        carbon_start_g=start * draw(st.floats(0.0, 900.0)),
        charge_efficiency=charge_efficiency,
        discharge_efficiency=discharge_efficiency,
        standing_loss_per_step=loss,
    )


@given(ledgers())
def test_identity_and_bounds(document: dict[str, Any]) -> None:
    answer = tank_document(document)
    TankAnswer.model_validate(answer)
    brought = document["carbon_start_g"] + answer["in_g"]
    assert answer["out_g"] + answer["end_g"] == pytest.approx(brought, rel=1e-9, abs=1e-9)
    out = answer["driven_g"] + answer["exported_g"] + answer["residual_out_g"]
    assert answer["out_g"] == pytest.approx(out, rel=1e-12)
    charged = [e["carbon_g_per_kwh"] for e in document["events"] if e.get("charge_kwh", 0.0) > 0]
    stored = [c / document["charge_efficiency"] for c in charged]
    start = document["carbon_start_g"] / document["e_start_kwh"]
    kept = (1.0 - document["standing_loss_per_step"]) ** len(document["events"])
    for state in answer["events"]:
        assert state["e_kwh"] >= 0
        assert state["carbon_g"] >= 0
        # what is left of a tank that was emptied by rounding has no mix to speak of
        if state["mix_g_per_kwh"] is not None and state["e_kwh"] > 1e-6:
            assert min([start, *stored]) - 1e-6 <= state["mix_g_per_kwh"]
            assert state["mix_g_per_kwh"] <= max([start, *stored]) / kept + 1e-6


@given(st.floats(0.0, 900.0), st.lists(st.floats(0.1, 20.0), min_size=1, max_size=5))
def test_without_losses_a_constant_mix_stays(carbon: float, charges: list[float]) -> None:
    events: list[dict[str, float]] = []
    for charge in charges:
        events += [{"charge_kwh": charge, "carbon_g_per_kwh": carbon}, {"discharge_kwh": charge / 2}]
    answer = tank_document(
        ledger(*events, charge_efficiency=1.0, discharge_efficiency=1.0, carbon_start_g=20.0 * carbon)
    )
    assert all(state["mix_g_per_kwh"] == pytest.approx(carbon) for state in answer["events"])


def test_losses_concentrate_carbon() -> None:
    answer = tank_document(
        ledger({"charge_kwh": 10.0, "carbon_g_per_kwh": 450.0}, e_start_kwh=0.0, carbon_start_g=0.0)
    )
    assert answer["events"][0]["mix_g_per_kwh"] == pytest.approx(450.0 / 0.92)


def test_an_emptied_tank_books_out_what_is_left() -> None:
    answer = tank_document(ledger({"drive_kwh": 20.0 - 5e-10, "distance_km": 100.0}))
    assert answer["end_g"] == 0.0
    assert answer["residual_out_g"] == pytest.approx(1.5e-7, rel=1e-3)
    assert answer["events"][0]["mix_g_per_kwh"] is None


def test_idle_steps_stand_that_many_times() -> None:
    answer = tank_document(ledger({"idle_steps": 3}, standing_loss_per_step=0.1))
    assert answer["events"][0]["e_kwh"] == pytest.approx(20.0 * 0.9**3)
    assert answer["end_g"] == 6000.0
    assert answer["driven_g_per_km"] is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"discharge_kwh": 18.5}, "events[0].discharge_kwh: takes 20.5556 kWh from the tank"),
        ({"drive_kwh": 21.0, "distance_km": 1.0}, "events[0].drive_kwh: takes 21 kWh"),
        ({"charge_kwh": 1.0}, "charge_kwh needs carbon_g_per_kwh"),
        ({"charge_kwh": 1.0, "carbon_g_per_kwh": 1.0, "drive_kwh": 1.0}, "give exactly one of"),
        ({}, "names no event"),
        ({"idle_steps": 1, "distance_km": 3.0}, "distance_km does not belong to idle_steps"),
        ({"discharge_kwh": -1.0}, "events[0].discharge_kwh"),
        ({"charge_kwh": 1e308, "carbon_g_per_kwh": 1e308}, "events[0].c"),
        ({"discharge": 1.0}, "did you mean 'discharge_kwh'?"),
    ],
)
def test_events_are_refused_by_index(event: dict[str, float], message: str) -> None:
    assert message in faults(ledger(event))


def test_carbon_without_energy_is_refused() -> None:
    assert "carbon needs energy to sit in" in faults(ledger(e_start_kwh=0.0))


def test_everything_wrong_with_an_event_is_named() -> None:
    tank = {
        "e_start_kwh": 5.0,
        "carbon_start_g": 0.0,
        "charge_efficiency": 0.9,
        "discharge_efficiency": 0.9,
        "events": [{"charge_kwh": None, "distance_km": 3.0}, {"discharge_kwh": 1.0, "distance_km": 2.0}],
    }
    with pytest.raises(InputError) as refused:
        tank_document(tank)
    for told in (
        "events[0]: charge_kwh needs carbon_g_per_kwh",
        "distance_km does not belong to charge_kwh",
        "charge_kwh is null",
        "events[1]: distance_km does not belong to discharge_kwh",
    ):
        assert told in str(refused.value)
