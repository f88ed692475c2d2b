"""Random flows that balance at every bus: meshed, with losses, cycles, dead ends and isolated buses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from energy.carbon.accounts import Storage, Supply, UpstreamMix, Use
from energy.domain.network import ElementId, NetworkFlows
from energy.domain.time import TimeGrid

START = datetime(2016, 6, 21, tzinfo=UTC)


def random_flows(seed: int, *, buses: int = 8, branches: int = 12, steps: int = 2) -> dict[str, Any]:
    """A ``wattshed.flows/1`` whose branches run at random and whose sources and demands close the balance."""
    random = np.random.default_rng(seed)
    from_bus = random.integers(0, buses, branches)
    to_bus = (from_bus + random.integers(1, buses, branches)) % buses
    sent = random.uniform(0.0, 10.0, (steps, branches)) * (random.random((steps, branches)) < 0.8)
    arriving = sent * random.uniform(0.9, 1.0, (steps, branches))
    forward = random.random((steps, branches)) < 0.5
    p_from, p_to = np.where(forward, sent, -arriving), np.where(forward, -arriving, sent)
    both = random.random((steps, branches)) < 0.1  # drawn from both ends: only losses
    p_to = np.where(both, np.abs(p_to), p_to)
    p_from = np.where(both, np.abs(p_from), p_from)
    drawn = np.zeros((steps, buses))
    np.add.at(drawn.T, from_bus, p_from.T)
    np.add.at(drawn.T, to_bus, p_to.T)
    local = random.uniform(0.0, 5.0, (steps, buses)) * (random.random(buses) < 0.5)
    fed, used = np.maximum(drawn, 0.0) + local, np.maximum(-drawn, 0.0) + local
    return {
        "schema": "wattshed.flows/1",
        "time": {"start": "2016-06-21T00:00:00Z", "resolution": "PT15M", "steps": steps},
        "buses": [f"b{k}" for k in range(buses)],
        "branches": [
            {
                "id": f"l{k}",
                "from": f"b{from_bus[k]}",
                "to": f"b{to_bus[k]}",
                "p_from_mw": p_from[:, k].tolist(),
                "p_to_mw": p_to[:, k].tolist(),
            }
            for k in range(branches)
        ],
        "sources": [
            {
                "id": f"g{k}",
                "bus": f"b{k}",
                "p_mw": fed[:, k].tolist(),
                "carbon_g_per_kwh": float(random.uniform(0.0, 900.0)),
                "technology": str(random.choice(["coal", "gas", "wind"])),
                "renewable": bool(random.random() < 0.5),
            }
            for k in range(buses)
        ],
        "demands": [
            {"id": f"d{k}", "bus": f"b{k}", "p_mw": used[:, k].tolist(), "district": f"q{k % 3}"}
            for k in range(buses)
        ],
    }


def line_flows(**changes: Any) -> dict[str, Any]:
    """Two buses, one line from A to B with 1 MW of losses; `changes` replace top-level keys."""
    document: dict[str, Any] = {
        "schema": "wattshed.flows/1",
        "time": {"start": "2016-06-21T00:00:00Z", "resolution": "PT1H", "steps": 1},
        "buses": ["A", "B"],
        "branches": [{"id": "l1", "from": "A", "to": "B", "p_from_mw": [60.0], "p_to_mw": [-59.0]}],
        "sources": [
            {
                "id": "G1",
                "bus": "A",
                "p_mw": 60.0,
                "carbon_g_per_kwh": 820.0,
                "technology": "coal",
                "renewable": False,
            }
        ],
        "demands": [{"id": "L1", "bus": "B", "p_mw": 59.0, "district": "north"}],
    }
    return {**document, **changes}


def random_city(
    seed: int, *, nodes: int = 20, steps: int = 8, vehicles: int = 6, batteries: int = 2
) -> tuple[NetworkFlows, Supply, Use, Storage, UpstreamMix, dict[int, str]]:
    """The arguments of `account` for a radial city of one bus per node, except that the last two buses
    share a node and lie in different districts; flows with losses and shunts, PV that at times exports.
    """
    random = np.random.default_rng(seed)
    parent = np.array([random.integers(max(0, k - 3), k) for k in range(1, nodes)])
    buses = np.append(np.arange(1, nodes), nodes)  # bus `nodes` sits on the last node
    node_of_bus = {bus: min(bus, nodes - 1) for bus in range(nodes + 1)}
    time = TimeGrid(START, timedelta(minutes=15), steps)
    use = Use(buses, random.uniform(0.0, 0.5, (steps, len(buses))))
    pv_buses = random.choice(buses, nodes // 3, replace=False)
    sun = random.uniform(0.0, 4.0, (steps, 1)) * (random.random((steps, 1)) < 0.6)
    supply = Supply(
        pv_buses,
        tuple(random.choice(["pv", "wind"], len(pv_buses))),
        sun * random.uniform(0.0, 1.0, (steps, len(pv_buses))),
        random.uniform(10.0, 50.0, len(pv_buses)),
        np.ones(len(pv_buses), dtype=bool),
    )
    assets = vehicles + batteries
    mode = random.random((steps, assets))
    is_ev = np.arange(assets) < vehicles
    storage = Storage(
        ids=tuple(f"s{k}" for k in range(assets)),
        buses=random.choice(buses, assets),
        is_ev=is_ev,
        charge_mw=np.where(mode < 0.4, random.uniform(0.0, 0.02, (steps, assets)), 0.0),
        discharge_mw=np.where(mode > 0.8, random.uniform(0.0, 0.01, (steps, assets)), 0.0),
        charge_efficiency=np.full(assets, 0.92),
        discharge_efficiency=np.full(assets, 0.9),
        self_discharge_per_hour=np.where(is_ev, 0.0, 0.002),
        e_start_mwh=np.full(assets, 0.06),
        carbon_start_kg=random.uniform(0.0, 30.0, assets),
        renewable_start_share=random.uniform(0.0, 1.0, assets),
        drive_mwh=np.where((mode > 0.5) & (mode < 0.6) & is_ev, 0.003, 0.0),
        distance_km=np.where((mode > 0.5) & (mode < 0.6) & is_ev, 15.0, 0.0),
    )
    drawn = np.zeros((steps, nodes))
    for part, sign in ((use, 1.0), (supply, -1.0)):
        np.add.at(drawn.T, [node_of_bus[int(bus)] for bus in part.buses], sign * part.p_mw.T)
    np.add.at(
        drawn.T,
        [node_of_bus[int(bus)] for bus in storage.buses],
        (storage.charge_mw - storage.discharge_mw).T,
    )
    shunt_mw = np.zeros((steps, nodes))
    shunt_mw[:, [1, nodes - 1]] = random.uniform(0.0, 0.05, (steps, 2))
    drawn += shunt_mw
    p_from, p_to = np.zeros((steps, nodes - 1)), np.zeros((steps, nodes - 1))
    for node in range(nodes - 1, 0, -1):
        needed = drawn[:, node]
        p_to[:, node - 1] = -needed
        p_from[:, node - 1] = np.where(needed > 0, 1.02 * needed, 0.98 * needed) + 1e-4  # iron losses
        drawn[:, parent[node - 1]] += p_from[:, node - 1]
    flows = NetworkFlows(
        time=time,
        node_of_bus=node_of_bus,
        node_count=nodes,
        branches=tuple(ElementId("line", k) for k in range(nodes - 1)),
        from_node=parent,
        to_node=np.arange(1, nodes),
        p_from_mw=p_from,
        p_to_mw=p_to,
        slack_node=np.array([0]),
        slack_p_mw=drawn[:, :1],
        shunt_mw=shunt_mw,
    )
    upstream = UpstreamMix(random.uniform(200.0, 600.0, steps), random.uniform(0.0, 0.6, steps))
    districts = {bus: f"q{bus % 3}" for bus in range(1, nodes + 1)}
    return flows, supply, use, storage, upstream, districts
