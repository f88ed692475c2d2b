"""The compiled sweep against the sparse factorisation, and Bialek's and Kang's forms of the same thing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon import tracing
from energy.carbon.documents import FlowsDocument
from energy.carbon.flows import read_flows
from energy.carbon.tracing import (
    OrientedFlows,
    Topology,
    Tracer,
    incidence,
    losses_on_loads,
    lost_share_of_generation,
)
from energy.domain.documents import parse
from energy.domain.network import FloatArray
from tests.carbon.networks import random_flows

CASE = Path(__file__).parents[1] / "cases" / "trace_bialek_4bus" / "original.json"
COMPILED, FACTORISED = tracing.COMPILED_FROM, 1


def tracers(flows: OrientedFlows) -> tuple[Tracer, Tracer]:
    """One that sweeps and one that factorises."""
    return Tracer(flows.topology, steps=COMPILED), Tracer(flows.topology, steps=FACTORISED)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 40))
def test_both_ways_agree(seed: int, buses: int, branches: int) -> None:
    flows = read_flows(parse(FlowsDocument, random_flows(seed, buses=buses, branches=branches, steps=6)))
    injected = np.stack([flows.fed_mw, flows.fed_mw * np.arange(buses)], axis=2)
    through = flows.fed_mw + flows.oriented.inflow_mw
    swept, factorised = (
        tracer.accumulate(flows.oriented.arriving_mw, through, injected) for tracer in tracers(flows.oriented)
    )
    np.testing.assert_allclose(swept, factorised, rtol=1e-9, atol=1e-9)
    # what is accumulated of the power itself is the through-flow
    reached = factorised[:, :, 0] > 0
    np.testing.assert_allclose(factorised[:, :, 0][reached], through[reached], rtol=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 40))
def test_gross_supply_is_generation_and_net_generation_is_load(seed: int, buses: int, branches: int) -> None:
    """Bialek: losses on loads leave all generation with them, losses on generators leave the load."""
    flows = read_flows(parse(FlowsDocument, random_flows(seed, buses=buses, branches=branches, steps=3)))
    oriented, fed = flows.oriented, flows.fed_mw
    through = fed + oriented.inflow_mw
    drawn = flows.demands.p_mw @ incidence(flows.demands.node, buses)
    for tracer in tracers(oriented):
        gross = losses_on_loads(tracer, oriented, drawn, fed[:, :, None])
        supplied = (drawn * gross.per_mw[:, :, 0]).sum(axis=1) + gross.unreached[:, :, 0].sum(axis=1)
        np.testing.assert_allclose(supplied, fed.sum(axis=1), rtol=1e-9, atol=1e-9)
        assert (gross.per_mw[drawn > 1e-9] >= 1 - 1e-9).all()
        lost = lost_share_of_generation(tracer, oriented, drawn, through)
        assert ((lost[through > 1e-9] >= -1e-9) & (lost[through > 1e-9] <= 1 + 1e-9)).all()
        net = (fed * (1.0 - lost)).sum(axis=1)
        np.testing.assert_allclose(net, drawn.sum(axis=1), rtol=1e-9, atol=1e-9)


def test_the_published_case_gross_and_net() -> None:
    """Bialek's four buses: what the loads cause with losses, and what reaches them of each generator."""
    case = json.loads(CASE.read_text(encoding="utf-8"))
    given_, expected = case["inputs"], case["expected"]
    ends = np.array(given_["branches_send_recv_MW"], dtype=float)
    topology = Topology(given_["n"], ends[:, 0].astype(int), ends[:, 1].astype(int))
    oriented = OrientedFlows(topology, ends[None, :, 2], -ends[None, :, 3])
    fed, drawn = np.zeros((1, given_["n"])), np.zeros((1, given_["n"]))
    for _, bus, mw, _ in given_["gen"]:
        fed[0, bus] += mw
    for _, bus, mw in given_["load"]:
        drawn[0, bus] += mw
    through = fed + oriented.inflow_mw
    np.testing.assert_allclose(through[0], expected["node_throughflow_MW"], atol=case["tolerance"])
    generators = [bus for _, bus, _, _ in given_["gen"]]
    of_each = np.stack([np.where(np.arange(given_["n"]) == bus, fed[0], 0.0) for bus in generators], axis=1)
    for tracer in tracers(oriented):
        gross = losses_on_loads(tracer, oriented, drawn, np.dstack((fed, of_each[None])))
        demand = drawn * gross.per_mw[:, :, 0]
        np.testing.assert_allclose(demand[0], expected["gross_demand_MW"], atol=case["tolerance"])
        supply = drawn[0, :, None] * gross.per_mw[0, :, 1:]
        for name, bus, _ in given_["load"]:
            np.testing.assert_allclose(
                supply[bus], expected["gross_supply_MW_row_load_col_gen"][name], atol=case["tolerance"]
            )
            lost = demand[0, bus] - drawn[0, bus]
            assert lost == pytest.approx(expected["loss_allocated_to_loads_MW"][name], abs=case["tolerance"])
        share = lost_share_of_generation(tracer, oriented, drawn, through)[0, generators]
        net = fed[0, generators] * (1.0 - share)
        np.testing.assert_allclose(net, expected["net_generation_MW"], atol=case["tolerance"])
        np.testing.assert_allclose(
            fed[0, generators] - net, expected["loss_allocated_to_gens_MW"], atol=case["tolerance"]
        )


def test_a_branch_within_one_node_only_loses() -> None:
    def one(value: float) -> FloatArray:
        return np.array([[value]])

    flows = OrientedFlows(Topology(1, np.array([0]), np.array([0])), one(5.0), one(-4.0))
    assert flows.arriving_mw[0, 0] == flows.inflow_mw[0, 0] == 0.0
    assert flows.loss_mw[0][0, 0] == flows.outflow_mw[0, 0] == 1.0
