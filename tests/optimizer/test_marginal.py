"""Marginal emissions: what a kW more at a place makes the system emit, once all is dispatched anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from energy.domain.schedule import MarginalEmissions, Schedule
from optimizer import Dispatcher, DispatchProblem, dispatch
from tests.optimizer.builders import Document, battery, ev, load, problem_of, renewable, session
from tests.optimizer.test_prices import grid

STEP_KW = 5e-3
UPSTREAM = [100.0, 200.0, 300.0, 400.0]
ASKED = {"marginal_emissions": True}


def generator(**more: Any) -> Document:
    return {
        "type": "generator",
        "id": "engine",
        "connection": "poc",
        "p_max_kw": 8.0,
        "marginal_cost_per_mwh": 80.0,
        "carbon_g_per_kwh": 700.0,
        **more,
    }


def asked(assets: list[Document], **more: Any) -> Document:
    """A problem that asks for marginal emissions below a grid whose marginal intensity is known."""
    return problem_of(assets, **{"marginal_carbon_g_per_kwh": UPSTREAM, "options": ASKED, **more})


def marginal(schedule: Schedule, key: str = "poc") -> MarginalEmissions:
    found = schedule.connections[key].marginal
    assert found is not None
    return found


def of(document: Document, key: str = "poc") -> MarginalEmissions:
    return marginal(dispatch(DispatchProblem.from_document(document)), key)


def emitted_kg(schedule: Schedule, document: Document) -> float:
    """From the schedule alone: net exchange at the upstream's margin and what generators emit."""
    hours = {"PT1H": 1.0, "PT15M": 0.25}[document["time"]["resolution"]]
    root = schedule.connections["poc"]
    kg = float((root.import_kw - root.export_kw) @ document["connections"][0]["marginal_carbon_g_per_kwh"])
    for asset in document["assets"]:
        if asset["type"] == "generator":
            kg += float(schedule.assets[asset["id"]].p_kw.sum()) * asset["carbon_g_per_kwh"]
    return kg * hours / 1000


def test_without_storage_it_is_the_upstream_margin_import_or_export() -> None:
    found = of(asked([load([5.0] * 4), renewable([0.0, 8.0, 0.0, 9.0])]))
    assert found.g_per_kwh == pytest.approx(UPSTREAM)
    assert set(found.side) == {"both"}


def test_what_is_curtailed_emits_nothing_more() -> None:
    found = of(asked([load(5.0), renewable([0.0, 8.0, 0.0, 0.0])], export_limit_kw=0.0))
    assert found.g_per_kwh == pytest.approx([100.0, 0.0, 300.0, 400.0])


def test_behind_a_full_connection_it_is_the_unit_that_runs() -> None:
    document = asked(
        [load(6.0, connection="yard"), generator(connection="yard"), load(1.0, "outside")],
        connections=[
            {"id": "poc", "import_price_per_mwh": 50.0},
            {"id": "yard", "parent": "poc", "import_limit_kw": 4.0},
        ],
    )
    schedule = dispatch(DispatchProblem.from_document(document))
    assert marginal(schedule, "yard").g_per_kwh == pytest.approx([700.0] * 4)
    assert marginal(schedule).g_per_kwh == pytest.approx(UPSTREAM)


def test_what_a_battery_serves_is_recharged_when_it_is_cheapest() -> None:
    """In steps 1 and 2 the battery serves all; of what fills it in step 0, at 10 / 0.72, a part arrives."""
    document = asked(
        [load([0.0, 0.0, 4.0, 0.0]), battery(charge_efficiency=0.8, discharge_efficiency=0.9)],
        import_price_per_mwh=[10.0, 90.0, 90.0, 12.0],
        export_price_per_mwh=0.0,
    )
    found = of(document)
    assert found.g_per_kwh == pytest.approx([100.0, 100.0 / 0.72, 100.0 / 0.72, 400.0])
    # in step 1 nothing is drawn that there could be less of
    assert found.side == ("both", "more", "both", "both")


def test_a_car_that_feeds_back_is_recharged_before_it_leaves() -> None:
    """V2G serves the first step, which is dear, and charges in the third, the cheapest."""
    stay = session(0, 4, e_departure_min_kwh=10.0, discharge_max_kw=10.0)
    document = asked(
        [load([3.0, 0.0, 0.0, 0.0]), ev([stay], charge_efficiency=0.9, discharge_efficiency=0.95)],
        import_price_per_mwh=[200.0, 60.0, 10.0, 70.0],
        export_price_per_mwh=0.0,
    )
    schedule = dispatch(DispatchProblem.from_document(document))
    assert schedule.assets["ev1"].p_kw[0] == pytest.approx(-3.0)
    assert marginal(schedule).g_per_kwh[0] == pytest.approx(300.0 / (0.9 * 0.95))


def test_at_a_kink_more_and_less_differ_and_the_answer_is_of_more() -> None:
    """4 kW of PV that may not be sold serve 4 kW of load: more is imported, less curtails."""
    found = of(asked([load(4.0), renewable([4.0, 3.0, 5.0, 0.0])], export_limit_kw=0.0))
    assert found.g_per_kwh == pytest.approx([100.0, 200.0, 0.0, 400.0])
    assert found.side == ("more", "both", "both", "both")


def test_where_no_more_can_be_served_it_is_of_less() -> None:
    found = of(asked([load(4.0)], import_limit_kw=4.0))
    assert found.g_per_kwh == pytest.approx(UPSTREAM)
    assert set(found.side) == {"less"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"marginal_carbon_g_per_kwh": None, "carbon_g_per_kwh": 300.0}, "of poc is missing"),
        ({"import_limit_kw": 3.0}, "needs are unserved"),
    ],
)
def test_it_is_not_estimated_rather_than_guessed(more: Document, why: str) -> None:
    schedule = dispatch(DispatchProblem.from_document(asked([load(4.0)], **more)))
    document = schedule.document()["connections"]["poc"]
    assert document["marginal_g_per_kwh"] == [None] * 4
    assert document["marginal_side"] == [None] * 4
    assert any("marginal_g_per_kwh is not estimated" in note and why in note for note in schedule.notices)


def test_it_is_given_only_where_it_is_asked_for_and_changes_nothing_else() -> None:
    document = asked([load(5.0), battery(), generator(p_min_kw=3.0)], import_limit_kw=6.0)
    with_it = dispatch(DispatchProblem.from_document(document)).document()
    without = dispatch(DispatchProblem.from_document({**document, "options": {}})).document()
    for name in ("marginal_g_per_kwh", "marginal_side"):
        assert len(with_it["connections"]["poc"].pop(name)) == 4
    for key in ("connections", "assets", "objective", "status"):
        assert with_it[key] == without[key]


@st.composite
def problems(draw: st.DrawFn) -> Document:
    """Loads, PV, a battery, a car and an engine on two connections; no two prices are a tie."""
    powers = st.lists(st.integers(0, 12).map(float), min_size=4, max_size=4)
    # a fraction of a cent apart: of several schedules of one cost, a re-solve may give another
    prices = [draw(st.integers(5, 150)) + 0.0137 * (k + 1) ** 2 for k in range(4)]
    return asked(
        [
            load(draw(powers)),
            renewable(draw(powers), connection="yard", curtailment_price_per_mwh=0.31),
            battery(charge_efficiency=0.93, discharge_efficiency=0.91, e_start_kwh=draw(st.integers(0, 20))),
            ev([session(0, 4, e_departure_min_kwh=10.0 + draw(st.integers(0, 20)))], connection="yard"),
            generator(connection=draw(st.sampled_from(["poc", "yard"])), marginal_cost_per_mwh=77.777),
        ],
        resolution=draw(st.sampled_from(["PT1H", "PT15M"])),
        connections=[
            {
                "id": "poc",
                "import_price_per_mwh": prices,
                "export_price_per_mwh": [3.3 + 0.0071 * (k + 1) ** 2 for k in range(4)],
                "import_limit_kw": draw(st.sampled_from([None, 20.0])),
            },
            {"id": "yard", "parent": "poc", "import_limit_kw": 8.0, "export_limit_kw": 6.0},
        ],
    )


@settings(max_examples=25, deadline=None)
@given(document=problems(), key=st.sampled_from(["poc", "yard"]), step=st.integers(0, 3))
def test_it_is_the_difference_that_a_kw_makes(document: Document, key: str, step: int) -> None:
    """At a kink too: of more where it says so, of both where it says that."""
    schedule = dispatch(DispatchProblem.from_document(document))
    assume(not schedule.shortfalls and not any("integers fixed" in note for note in schedule.notices))
    hours = {"PT1H": 1.0, "PT15M": 0.25}[document["time"]["resolution"]]

    def difference(kw: float) -> float:
        p_kw = [kw * (k == step) for k in range(4)]
        moved = {**document, "assets": [*document["assets"], load(p_kw, "more", connection=key)]}
        other = dispatch(DispatchProblem.from_document({**moved, "options": {}}))
        assume(not other.shortfalls)
        return 1000 * (emitted_kg(other, moved) - emitted_kg(schedule, document)) / (kw * hours)

    found = marginal(schedule, key)
    expected = found.g_per_kwh[step]
    if found.side[step] in {"both", "more"}:
        assert difference(STEP_KW) == pytest.approx(expected, abs=0.05)
    if found.side[step] in {"both", "less"}:
        assert difference(-STEP_KW) == pytest.approx(expected, abs=0.05)


def on_grid(needs: tuple[float, float], more: np.ndarray) -> tuple[Schedule, Document]:
    """Cars behind a line of 9 kW and a voltage limit with losses, the first beside an engine."""
    assets = [
        ev([session(0, 4, e_departure_min_kwh=10.0 + need)], f"ev{bus}", bus=bus)
        for bus, need in zip((3, 5), needs, strict=True)
    ]
    assets += [load(more[:, k].tolist(), f"load{bus}", bus=bus) for k, bus in enumerate((3, 5))]
    document = asked(
        [*assets, generator(bus=3, marginal_cost_per_mwh=85.0)],
        network={"grid": "x"},
        import_price_per_mwh=[10.0, 40.0, 90.0, 91.0],
        export_price_per_mwh=0.0,
    )
    dispatcher = Dispatcher(DispatchProblem.from_document(document))
    dispatcher.add(grid(more / 1000))
    return dispatcher.solve(), document


@settings(max_examples=10, deadline=None)
@given(
    needs=st.tuples(st.floats(1.0, 14.0), st.floats(1.0, 14.0)),
    bus=st.integers(0, 1),
    step=st.integers(0, 3),
)
def test_at_a_bus_losses_and_limits_take_part(needs: tuple[float, float], bus: int, step: int) -> None:
    schedule, document = on_grid(needs, np.zeros((4, 2)))
    assume(not schedule.shortfalls)
    change = np.zeros((4, 2))
    change[step, bus] = STEP_KW
    other, _ = on_grid(needs, change)
    assume(not other.shortfalls)
    found = schedule.marginal_at_buses[(3, 5)[bus]]
    difference = 1000 * (emitted_kg(other, document) - emitted_kg(schedule, document)) / STEP_KW
    if found.side[step] != "less":
        assert found.g_per_kwh[step] == pytest.approx(difference, abs=0.05)


@settings(max_examples=10, deadline=None)
@given(needs=st.tuples(st.floats(1.0, 14.0), st.floats(1.0, 14.0)), steps=st.integers(1, 4))
def test_asked_once_of_more_it_is_the_same(needs: tuple[float, float], steps: int) -> None:
    schedule, document = on_grid(needs, np.zeros((4, 2)))
    assume(not schedule.shortfalls)
    document["options"] = {"bus_prices": False}
    dispatcher = Dispatcher(DispatchProblem.from_document(document))
    dispatcher.add(grid(np.zeros((4, 2))))
    found = dispatcher.with_marginal_emissions(dispatcher.solve(), steps)
    assert found.marginal_at_buses.keys() == {3, 5}
    for of_more, both in (
        (found.connections["poc"].marginal, schedule.connections["poc"].marginal),
        *((found.marginal_at_buses[bus], schedule.marginal_at_buses[bus]) for bus in (3, 5)),
    ):
        assert of_more is not None
        assert both is not None
        np.testing.assert_allclose(of_more.g_per_kwh[:steps], both.g_per_kwh[:steps], atol=1e-3)
        assert np.isnan(of_more.g_per_kwh[steps:]).all()
        for one, other in zip(of_more.side[:steps], both.side[:steps], strict=True):
            assert one == other or (one, other) == ("more", "both")


def test_at_a_bus_behind_a_full_line_by_hand() -> None:
    """14 kWh behind 9 kW: what is drawn in the full hour is charged in the next; 2 % are lost on the way."""
    schedule, _ = on_grid((14.0, 0.0), np.zeros((4, 2)))
    found = schedule.document()["buses"]["3"]
    assert found["marginal_g_per_kwh"][:2] == pytest.approx([1.02 * 200.0, 1.02 * 200.0])
    # at the root nothing is lost, and the engine is cheaper than the grid in the last two hours
    assert marginal(schedule).g_per_kwh == pytest.approx([100.0, 200.0, 700.0, 700.0])
