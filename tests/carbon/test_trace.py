"""The trace of given flows: its properties on random networks, and each rule of the document."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.documents import FlowsDocument, TraceDocument
from energy.domain.documents import parse
from energy.domain.errors import InputError
from energy.service.ledger import trace_document
from tests.carbon.networks import line_flows, random_flows

seeds = st.integers(0, 10**6)


def faults(document: dict[str, Any]) -> str:
    with pytest.raises(InputError) as refused:
        trace_document(document)
    return str(refused.value)


def values(answer: dict[str, Any], group: str, key: str) -> np.ndarray:
    """All series of one key as floats (null as NaN), shape (items, steps)."""
    return np.array([item[key] for item in answer[group].values()], dtype=float)


def nodal_intensity(document: dict[str, Any], step: int) -> np.ndarray:
    """(diag(T) − Rᵀ) c = E by a dense solve: Kang's nodal carbon intensity with losses."""
    position = {bus: k for k, bus in enumerate(document["buses"])}
    count = len(position)
    arriving, through, injected = np.zeros((count, count)), np.zeros(count), np.zeros(count)
    for branch in document["branches"]:
        i, j = position[branch["from"]], position[branch["to"]]
        arriving[i, j] += max(-branch["p_to_mw"][step], 0.0)
        arriving[j, i] += max(-branch["p_from_mw"][step], 0.0)
    for source in document["sources"]:
        through[position[source["bus"]]] += source["p_mw"][step]
        injected[position[source["bus"]]] += source["p_mw"][step] * source["carbon_g_per_kwh"]
    through += arriving.sum(axis=0)
    reached = through > 0
    intensity = np.full(count, np.nan)
    matrix = (np.diag(through) - arriving.T)[np.ix_(reached, reached)]
    intensity[reached] = np.linalg.solve(matrix, injected[reached])
    return intensity


@given(seeds)
def test_intensity_is_kangs_with_losses(seed: int) -> None:
    document = random_flows(seed)
    answer = trace_document(document)
    traced = values(answer, "buses", "carbon_g_per_kwh")
    for step in range(2):
        np.testing.assert_allclose(traced[:, step], nodal_intensity(document, step), rtol=1e-9, atol=1e-9)


@given(seeds, st.sampled_from(["direct", "aggregated"]))
def test_sources_are_demands_and_losses(seed: int, coupling: str) -> None:
    document = random_flows(seed) | {"coupling": coupling}
    answer = trace_document(document)
    balance = answer["balance"]
    assert abs(balance["residual_kg"]) <= 1e-9 * balance["sources_kg"]
    total = balance["demands_kg"] + balance["losses_kg"]
    assert total == pytest.approx(balance["sources_kg"], rel=1e-9)
    # in every step, from the parts
    step_kg = values(answer, "demands", "emissions_kg").sum(axis=0)
    step_kg += values(answer, "branches", "loss_emissions_kg").sum(axis=0)
    sources = sum(np.array(s["p_mw"]) * s["carbon_g_per_kwh"] * 0.25 for s in document["sources"])
    np.testing.assert_allclose(step_kg, sources, rtol=1e-9)
    # districts add up
    in_districts = values(answer, "districts", "emissions_kg") + values(
        answer, "districts", "loss_emissions_kg"
    )
    np.testing.assert_allclose(in_districts.sum(axis=0), sources, rtol=1e-9)


@given(seeds)
def test_losses_on_loads_leave_nothing(seed: int) -> None:
    document = random_flows(seed)
    for item in document["sources"] + document["demands"]:  # some load at every bus to bear the losses
        item["p_mw"] = [p + 1.0 for p in item["p_mw"]]
    answer = trace_document(document)
    with_losses = values(answer, "demands", "emissions_with_losses_kg")
    assert (with_losses >= values(answer, "demands", "emissions_kg") * (1 - 1e-9)).all()
    assert with_losses.sum() == pytest.approx(answer["balance"]["sources_kg"], rel=1e-9)


@given(seeds)
def test_bounds_and_shares(seed: int) -> None:
    document = random_flows(seed)
    answer = trace_document(document)
    traced = values(answer, "buses", "carbon_g_per_kwh")
    known = traced[~np.isnan(traced)]
    factors = [source["carbon_g_per_kwh"] for source in document["sources"]]
    assert (known >= min(factors) - 1e-9).all()
    assert (known <= max(factors) + 1e-9).all()
    for bus in answer["buses"].values():
        shares = np.array(list(bus["source_shares"].values()), dtype=float)
        there = ~np.isnan(shares[0])
        np.testing.assert_allclose(shares[:, there].sum(axis=0), 1.0, rtol=1e-12)
    for name, demand in answer["demands"].items():
        drawn = next(d["p_mw"] for d in document["demands"] if d["id"] == name)
        np.testing.assert_allclose(
            np.sum(list(demand["source_mwh"].values()), axis=0), np.array(drawn) * 0.25, atol=1e-12
        )


@given(seeds, st.floats(0.1, 1000.0))
def test_scaling_flipping_and_renumbering_change_nothing(seed: int, factor: float) -> None:
    document = random_flows(seed)
    expected = trace_document(document)["buses"]
    changed = copy.deepcopy(document)
    for branch in changed["branches"]:
        p_from, p_to = ([factor * p for p in branch[key]] for key in ("p_from_mw", "p_to_mw"))
        branch |= {"from": branch["to"], "to": branch["from"], "p_from_mw": p_to, "p_to_mw": p_from}
    for item in changed["sources"] + changed["demands"]:
        item["p_mw"] = [factor * p for p in item["p_mw"]]
    shuffle = random.Random(seed)
    for group in ("buses", "branches", "sources", "demands"):
        shuffle.shuffle(changed[group])
    actual = trace_document(changed)["buses"]
    for bus, mix in expected.items():
        for key in ("carbon_g_per_kwh", "renewable_share"):
            np.testing.assert_allclose(
                np.array(actual[bus][key], dtype=float), np.array(mix[key], dtype=float), rtol=1e-9, atol=1e-9
            )


@settings(max_examples=30)
@given(seeds, st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.sampled_from(["direct", "aggregated"]))
def test_intensity_is_linear_in_the_factors(seed: int, a: float, b: float, coupling: str) -> None:
    """c(a·e + b·f) = a·c(e) + b·c(f), of two lists of factors that have nothing to do with each other."""
    document = random_flows(seed) | {"coupling": coupling}
    other = np.random.default_rng(seed + 1).uniform(0.0, 900.0, len(document["sources"]))
    factors = np.array([source["carbon_g_per_kwh"] for source in document["sources"]])

    def traced(g_per_kwh: np.ndarray) -> np.ndarray:
        changed = copy.deepcopy(document)
        for source, value in zip(changed["sources"], g_per_kwh.tolist(), strict=True):
            source["carbon_g_per_kwh"] = value
        return values(trace_document(changed), "buses", "carbon_g_per_kwh")

    both = traced(a * factors + b * other)
    np.testing.assert_allclose(both, a * traced(factors) + b * traced(other), rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(seeds, st.floats(0.0, 900.0), st.floats(0.1, 1.0))
def test_a_storage_without_losses_leaves_a_constant_intensity(
    seed: int, g_per_kwh: float, mwh: float
) -> None:
    """All sources and the tank at one intensity: every bus has it, before and after."""
    document = random_flows(seed)
    for source in document["sources"]:
        source["carbon_g_per_kwh"] = g_per_kwh
    charge, discharge = [mwh, 0.0], [0.0, mwh]
    for item, more in ((document["sources"][0], charge), (document["demands"][0], discharge)):
        item["p_mw"] = [p + extra for p, extra in zip(item["p_mw"], more, strict=True)]
    document["storages"] = [
        {
            "id": "S",
            "bus": "b0",
            "charge_mw": charge,
            "discharge_mw": discharge,
            "e_start_kwh": 50.0,
            "carbon_start_g": 50.0 * g_per_kwh,
            "charge_efficiency": 1.0,
            "discharge_efficiency": 1.0,
        }
    ]
    traced = values(trace_document(document), "buses", "carbon_g_per_kwh")
    np.testing.assert_allclose(traced[~np.isnan(traced)], g_per_kwh, rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(seeds)
def test_in_net_export_nothing_depends_on_the_upstream_grid(seed: int) -> None:
    """On meshed networks: the slack is a source in step 0 and takes what is left over in step 1."""
    document = random_flows(seed)
    slack = document["sources"][0] | {"id": "grid", "p_mw": [2.0, 0.0], "technology": "import"}
    document["sources"].append(slack)
    document["demands"][0]["p_mw"][0] += 2.0
    document["sources"][1]["p_mw"][1] += 3.0
    document["demands"] += [
        {"id": "grid", "bus": "b0", "p_mw": [0.0, 0.0], "kind": "export"},
        {"id": "sent", "bus": "b1", "p_mw": [0.0, 3.0], "kind": "export"},
    ]
    clean = values(trace_document(document), "buses", "carbon_g_per_kwh")
    slack["carbon_g_per_kwh"] = 5000.0
    answer = trace_document(document)
    dirty = values(answer, "buses", "carbon_g_per_kwh")
    np.testing.assert_array_equal(clean[:, 1], dirty[:, 1])
    assert (dirty[0, 0] > clean[0, 0]) or np.isnan(dirty[0, 0])
    for demand in answer["demands"].values():
        assert demand["source_mwh"]["grid"][1] == 0.0


@given(seeds, st.integers(0, 11), st.floats(0.0, 1.0))
def test_a_bus_without_injection_in_a_line_changes_nothing(seed: int, cut: int, share: float) -> None:
    """Any branch in two, with a part of its losses on either side of the new bus."""
    document = random_flows(seed)
    split = copy.deepcopy(document)
    branch = split["branches"][cut]
    # the power in the middle as one end sees it: between what is sent and what arrives
    middle = [
        p_from - share * (p_from + p_to) if p_from * p_to < 0 else 0.0
        for p_from, p_to in zip(branch["p_from_mw"], branch["p_to_mw"], strict=True)
    ]
    split["buses"].append("middle")
    split["branches"][cut] = branch | {"to": "middle", "p_to_mw": [-p for p in middle]}
    split["branches"].append(branch | {"id": "rest", "from": "middle", "p_from_mw": middle})
    whole, parts = trace_document(document), trace_document(split)
    for group, key in (("buses", "carbon_g_per_kwh"), ("demands", "emissions_kg")):
        for name, item in whole[group].items():
            np.testing.assert_allclose(
                np.array(parts[group][name][key], dtype=float),
                np.array(item[key], dtype=float),
                rtol=1e-9,
                atol=1e-9,
            )
    assert parts["balance"]["losses_kg"] == pytest.approx(whole["balance"]["losses_kg"], rel=1e-9, abs=1e-9)


@given(seeds)
def test_the_same_flows_give_the_same_bytes(seed: int) -> None:
    document = random_flows(seed)
    first, second = (json.dumps(trace_document(copy.deepcopy(document))) for _ in range(2))
    assert first == second


def test_losses_between_districts_count_half_to_each() -> None:
    document = line_flows(
        demands=[
            {"id": "LA", "bus": "A", "p_mw": 0.0, "district": "south"},
            {"id": "L1", "bus": "B", "p_mw": 59.0, "district": "north"},
        ]
    )
    districts = trace_document(document)["districts"]
    assert districts["north"]["loss_emissions_kg"] == districts["south"]["loss_emissions_kg"] == [410.0]
    assert districts["south"]["carbon_g_per_kwh"] == [None]


def test_isolated_buses_and_unfed_loops_are_null() -> None:
    loop = [
        {"id": f"c{k}", "from": bus, "to": following, "p_from_mw": 5.0, "p_to_mw": -5.0}
        for k, (bus, following) in enumerate([("X", "Y"), ("Y", "Z"), ("Z", "X")])
    ]
    document = line_flows()
    document |= {"buses": ["A", "B", "X", "Y", "Z", "alone"], "branches": document["branches"] + loop}
    buses = trace_document(document)["buses"]
    for bus in ("X", "Y", "Z", "alone"):
        assert buses[bus]["carbon_g_per_kwh"] == [None]
        assert buses[bus]["source_shares"] == {"G1": [None]}
    assert buses["B"]["carbon_g_per_kwh"] == [820.0]


def test_a_fed_loop_carries_what_feeds_it() -> None:
    """60 MW enter at X, 100 MW circulate without loss, 60 MW leave at Y."""
    document = line_flows(
        buses=["X", "Y", "Z"],
        branches=[
            {"id": "a", "from": "X", "to": "Y", "p_from_mw": 160.0, "p_to_mw": -160.0},
            {"id": "b", "from": "Y", "to": "Z", "p_from_mw": 100.0, "p_to_mw": -100.0},
            {"id": "c", "from": "Z", "to": "X", "p_from_mw": 100.0, "p_to_mw": -100.0},
        ],
    )
    document["sources"][0]["bus"], document["demands"][0] = "X", {"id": "L1", "bus": "Y", "p_mw": 60.0}
    answer = trace_document(document)
    assert all(bus["carbon_g_per_kwh"] == [pytest.approx(820.0)] for bus in answer["buses"].values())
    assert answer["demands"]["L1"]["emissions_kg"] == [pytest.approx(60 * 820.0)]


def test_reversal_and_net_export_hold_no_upstream_carbon() -> None:
    """Step 0 imports, step 1 exports: the slack stands in both lists, one of them zero."""
    document = line_flows(
        time={"start": "2016-06-21T00:00:00Z", "resolution": "PT1H", "steps": 2},
        branches=[{"id": "l1", "from": "A", "to": "B", "p_from_mw": [10.0, -19.0], "p_to_mw": [-9.0, 20.0]}],
        sources=[
            {
                "id": "grid",
                "bus": "A",
                "p_mw": [10.0, 0.0],
                "carbon_g_per_kwh": 500.0,
                "technology": "import",
            },
            {"id": "pv", "bus": "B", "p_mw": [0.0, 25.0], "carbon_g_per_kwh": 40.0, "technology": "pv"},
        ],
        demands=[
            {"id": "grid", "bus": "A", "p_mw": [0.0, 19.0], "kind": "export"},
            {"id": "L", "bus": "B", "p_mw": [9.0, 5.0], "district": "north"},
        ],
    )
    answer = trace_document(document)
    assert answer["buses"]["B"]["carbon_g_per_kwh"] == [500.0, 40.0]
    assert answer["demands"]["grid"]["source_mwh"] == {"grid": [0.0, 0.0], "pv": [0.0, 19.0]}
    assert answer["districts"]["north"]["energy_mwh"] == [9.0, 5.0]
    assert answer["branches"]["l1"]["carbon_flow_kg_per_h"] == [5000.0, -800.0]
    assert answer["buses"]["A"]["renewable_share"] == [None, None]


def test_both_ends_positive_is_a_loss_at_both_ends() -> None:
    document = line_flows(
        branches=[{"id": "l1", "from": "A", "to": "B", "p_from_mw": 1.0, "p_to_mw": 2.0}],
        sources=[
            {"id": "GA", "bus": "A", "p_mw": 4.0, "carbon_g_per_kwh": 100.0},
            {"id": "GB", "bus": "B", "p_mw": 5.0, "carbon_g_per_kwh": 200.0},
        ],
        demands=[
            {"id": "LA", "bus": "A", "p_mw": 3.0},
            {"id": "LB", "bus": "B", "p_mw": 3.0},
        ],
    )
    answer = trace_document(document)
    assert answer["branches"]["l1"]["loss_emissions_kg"] == [500.0]
    assert answer["demands"]["LB"]["emissions_with_losses_kg"] == [1000.0]


def test_aggregated_coupling_nets_local_generation_first() -> None:
    """At B 10 MW of PV meet 30 MW of load: the PV serves a third of it, the rest is the line's."""
    document = line_flows(
        branches=[{"id": "l1", "from": "A", "to": "B", "p_from_mw": 20.0, "p_to_mw": -20.0}],
        sources=[
            {"id": "grid", "bus": "A", "p_mw": 25.0, "carbon_g_per_kwh": 500.0, "technology": "import"},
            {"id": "pv", "bus": "B", "p_mw": 10.0, "carbon_g_per_kwh": 50.0, "technology": "pv"},
        ],
        demands=[
            {"id": "LA", "bus": "A", "p_mw": 5.0},
            {"id": "LB", "bus": "B", "p_mw": 30.0},
        ],
        coupling="aggregated",
    )
    answer = trace_document(document)
    assert answer["buses"]["A"]["carbon_g_per_kwh"] == [500.0]
    assert answer["buses"]["B"]["carbon_g_per_kwh"] == [500.0]  # the residual network's
    assert answer["demands"]["LB"]["emissions_kg"] == [pytest.approx(10 * 50.0 + 20 * 500.0)]
    assert answer["demands"]["LB"]["source_mwh"] == {"grid": [pytest.approx(20.0)], "pv": [10.0]}
    assert abs(answer["balance"]["residual_kg"]) < 1e-9


def test_storage_is_a_tank_in_time_order() -> None:
    """Charged at 100 g in step 0, delivered at 100 / (0.9 × 0.9) g in step 1."""
    document = line_flows(
        time={"start": "2016-06-21T00:00:00Z", "resolution": "PT1H", "steps": 2},
        branches=[],
        sources=[{"id": "G", "bus": "A", "p_mw": [10.0, 0.0], "carbon_g_per_kwh": 100.0, "renewable": True}],
        demands=[{"id": "L", "bus": "A", "p_mw": [0.0, 8.1], "district": "north"}],
        storages=[
            {
                "id": "S",
                "bus": "A",
                "charge_mw": [10.0, 0.0],
                "discharge_mw": [0.0, 8.1],
                "e_start_kwh": 0.0,
                "carbon_start_g": 0.0,
                "charge_efficiency": 0.9,
                "discharge_efficiency": 0.9,
            }
        ],
    )
    answer = trace_document(document)
    assert answer["buses"]["A"]["carbon_g_per_kwh"] == [100.0, pytest.approx(1000.0 / 8.1)]
    assert answer["demands"]["L"]["emissions_kg"] == [0.0, pytest.approx(1000.0)]
    assert answer["storages"]["S"]["e_kwh"] == [pytest.approx(9000.0), pytest.approx(0.0, abs=1e-9)]
    assert answer["balance"]["storage_change_kg"] == pytest.approx(0.0, abs=1e-9)
    document["storages"][0]["discharge_mw"] = [0.0, 8.5]
    assert "storage 'S' takes" in faults(document)


@given(seeds, st.sampled_from(["direct", "aggregated"]))
def test_tanks_keep_the_balance(seed: int, coupling: str) -> None:
    """1 MW more is generated and charged in step 0, 0.8 MW delivered and used in step 1."""
    document = random_flows(seed) | {"coupling": coupling}
    charge, discharge = [1.0, 0.0], [0.0, 0.8]
    for item, more in ((document["sources"][0], charge), (document["demands"][0], discharge)):
        item["p_mw"] = [p + extra for p, extra in zip(item["p_mw"], more, strict=True)]
    tank = {
        "e_start_kwh": 500.0,
        "carbon_start_g": 1e5,
        "charge_efficiency": 0.9,
        "discharge_efficiency": 0.9,
    }
    document["storages"] = [
        {
            "id": "S",
            "bus": "b0",
            "charge_mw": charge,
            "discharge_mw": discharge,
            "standing_loss_per_step": 0.01,
        }
        | tank
    ]
    answer = trace_document(document)
    balance, store = answer["balance"], answer["storages"]["S"]
    assert abs(balance["residual_kg"]) <= 1e-9 * balance["sources_kg"]
    change = store["carbon_g"][-1] / 1000 - 100.0
    assert balance["storage_change_kg"] == pytest.approx(change, rel=1e-9, abs=1e-9)
    assert answer["buses"]["b0"]["renewable_share"] == [None, None]  # the tank does not say its own
    kwh = (500.0 * 0.99 + 0.9 * 250.0) * 0.99 - 200.0 / 0.9
    assert store["e_kwh"][-1] == pytest.approx(kwh)


def test_asked_tolerance_reports_the_mismatch_by_bus() -> None:
    document = line_flows()
    document["demands"][0]["p_mw"] = 58.9
    assert "bus 'B' does not balance" in faults(document)
    answer = trace_document(document | {"balance_tolerance": 1e-2})
    assert answer["buses"]["B"]["mismatch_mw"] == [pytest.approx(0.1)]
    assert answer["balance"]["residual_kg"] == pytest.approx(82.0)


def test_detail_by_technology() -> None:
    document = line_flows(detail="technologies")
    document["sources"].append({**document["sources"][0], "id": "G2", "p_mw": 0.0})
    assert trace_document(document)["buses"]["B"]["source_shares"] == {"coal": [1.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_from_mw": -60.0, "p_to_mw": -59.0}, "branch 'l1' feeds power into both of its ends"),
        ({"p_from_mw": 60.0, "p_to_mw": -61.0}, "branch 'l1' delivers more than is sent"),
        ({"to": "C"}, "branch 'l1' names bus 'C', which is not in buses"),
        ({"to": "A"}, "branch 'l1' has both ends at bus 'A'"),
        ({"p_from_mw": [60.0, 60.0]}, "has 2 values, but time.steps is 1"),
        ({"p_from_mw": float("nan")}, "is not a finite number"),
        ({"pfrom": 1.0}, "unknown key; did you mean 'from'?"),
    ],
)
def test_branches_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    document = line_flows()
    document["branches"][0] |= change
    assert message in faults(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_mw": -1.0}, "source 'G1' has -1; at least 0 is allowed"),
        ({"carbon_g_per_kwh": 820_000.0}, "check the unit"),
        ({"renewable": 2.0}, "at most 1 is allowed"),
        ({"p_mw": 1e308}, "at most 1e+09 is allowed"),
    ],
)
def test_sources_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    document = line_flows()
    document["sources"][0] |= change
    assert message in faults(document)


def test_carbon_has_no_default_and_all_faults_come_at_once() -> None:
    document = line_flows()
    del document["sources"][0]["carbon_g_per_kwh"]
    document["demands"] *= 2
    assert "sources[0].carbon_g_per_kwh: is missing" in faults(document)
    document = line_flows(buses=["A", "B", "B"])
    document["demands"] *= 2
    document["sources"][0]["p_mw"] = -1.0
    told = faults(document)
    assert "the id 'B' is used 2 times" in told
    assert "the id 'L1' is used 2 times" in told
    assert "source 'G1' has -1" in told


def test_ten_thousand_buses() -> None:
    """A feeder of 10,000 buses with a lossless line between each two, one MW drawn at every tenth."""
    count = 10_000
    load = np.where(np.arange(count) % 10 == 9, 1.0, 0.0)
    behind = np.cumsum(load[::-1])[::-1]
    document = line_flows(
        buses=[f"b{k}" for k in range(count)],
        branches=[
            {
                "id": f"l{k}",
                "from": f"b{k - 1}",
                "to": f"b{k}",
                "p_from_mw": float(behind[k]),
                "p_to_mw": -float(behind[k]),
            }
            for k in range(1, count)
        ],
        sources=[{"id": "G", "bus": "b0", "p_mw": float(behind[0]), "carbon_g_per_kwh": 300.0}],
        demands=[{"id": f"d{k}", "bus": f"b{k}", "p_mw": 1.0} for k in range(count) if load[k]],
    )
    answer = trace_document(document)
    assert answer["buses"][f"b{count - 1}"]["carbon_g_per_kwh"] == [pytest.approx(300.0, rel=1e-9)]
    assert abs(answer["balance"]["residual_kg"]) <= 1e-9 * answer["balance"]["sources_kg"]


def test_ten_thousand_meshed_buses() -> None:
    """Lines at random, two thirds more than buses, with losses, loops, dead ends and isolated buses."""
    document = random_flows(3, buses=10_000, branches=16_000, steps=1) | {"detail": "technologies"}
    answer = trace_document(document)
    traced = values(answer, "buses", "carbon_g_per_kwh")
    known = traced[~np.isnan(traced)]
    assert 0 < len(known) < 10_000
    factors = [source["carbon_g_per_kwh"] for source in document["sources"]]
    assert min(factors) - 1e-9 <= known.min() <= known.max() <= max(factors) + 1e-9
    assert abs(answer["balance"]["residual_kg"]) <= 1e-9 * answer["balance"]["sources_kg"]


@given(seeds)
def test_answers_fit_their_schema(seed: int) -> None:
    TraceDocument.model_validate(trace_document(random_flows(seed)))


def test_schemas_can_be_generated() -> None:
    flows = FlowsDocument.model_json_schema()
    assert flows["$defs"]["FlowsBus"]["anyOf"][0]["type"] == "string"
    assert (
        parse(FlowsDocument, line_flows(buses=[{"id": "A", "district": "x"}, "B"])).buses[0].district == "x"
    )


def test_the_ledger_starts_without_pandapower() -> None:
    check = (
        "import sys; from energy.service.ledger import trace_document, tank_document; "
        "from tests.carbon.networks import line_flows; trace_document(line_flows()); "
        "tank_document({'e_start_kwh': 1.0, 'carbon_start_g': 0.0, 'charge_efficiency': 1.0, "
        "'discharge_efficiency': 1.0, 'events': []}); "
        "assert not {'pandapower', 'numba', 'pyomo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def named(read: Callable[[], Any]) -> set[str]:
    """The faults that `read` finds."""
    try:
        read()
    except InputError as error:
        return {str(fault) for fault in error.faults}
    return set()


STRANGE = (None, True, -1, 1e300, "x", [], [1, "a"], {}, {"id": "A"}, [[]], "2016-06-21T00:00:00")


@given(st.data())
def test_a_damaged_document_is_refused_or_traced(data: st.DataObject) -> None:
    """Values of any type anywhere: faults with paths or an answer, and what was said stays said."""
    document: Any = random_flows(7) | {
        "storages": [
            {
                "id": "S",
                "bus": "b0",
                "charge_mw": 0.0,
                "discharge_mw": 0.0,
                "e_start_kwh": 0.0,
                "carbon_start_g": 0.0,
                "charge_efficiency": 0.9,
                "discharge_efficiency": 0.9,
            }
        ]
    }
    for _ in range(data.draw(st.integers(1, 4))):
        owner: Any = document
        while True:
            keys = sorted(owner) if isinstance(owner, dict) else range(len(owner))
            key = data.draw(st.sampled_from([*keys] or ["new"] if isinstance(owner, dict) else [*keys]))
            inner = owner.get(key) if isinstance(owner, dict) else owner[key]
            if not (isinstance(inner, dict | list) and inner and data.draw(st.booleans())):
                break
            owner = inner
        owner[key] = copy.deepcopy(data.draw(st.sampled_from(STRANGE)))  # later damage may go inside it
    before = copy.deepcopy(document)
    alone = named(lambda: parse(FlowsDocument, document))
    assert alone <= named(lambda: trace_document(document))
    assert document == before
