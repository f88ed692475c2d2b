"""The compiled sweep against the sparse factorisation, and Bialek's and Kang's forms of the same thing."""

from __future__ import annotations

import numpy as np
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


def test_a_branch_within_one_node_only_loses() -> None:
    def one(value: float) -> FloatArray:
        return np.array([[value]])

    flows = OrientedFlows(Topology(1, np.array([0]), np.array([0])), one(5.0), one(-4.0))
    assert flows.arriving_mw[0, 0] == flows.inflow_mw[0, 0] == 0.0
    assert flows.loss_mw[0][0, 0] == flows.outflow_mw[0, 0] == 1.0
