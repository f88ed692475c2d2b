"""AC optimal power flow of a dispatch problem by an interior point method: what the AC loop is held against.

The whole horizon is one non-linear program over rectangular voltages, written from the documented rules of
a dispatch problem; it shares the compiled admittances with the twin and nothing with the dispatcher. IPOPT
(Wächter and Biegler 2006, Mathematical Programming 106) finds a local optimum: the best known one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np

from energy.domain.network import OperatingLimits
from energy.domain.schedule import AssetSchedule
from grid_models.elements import grid_elements, profile_series
from grid_models.sources import load_grid
from grid_models.twin import Twin
from optimizer import DispatchProblem, uncontrolled

Document = dict[str, Any]
PRICES = Path(__file__).parents[1] / "grid_models" / "reference_city" / "nl_2016_day_ahead_price.csv"
START = datetime.fromisoformat("2016-05-22T10:00:00+00:00")
STEPS, HOURS = 96, 0.25


def lv_day(code: str, *, pv: float, evs: int = 40, steps: int = STEPS, **network: Any) -> Document:
    """A day of a SimBench LV grid from noon to noon: its own loads, PV times `pv`, and EVs at homes (over
    night, half of them with V2G) and at work (over noon), drawn with a fixed seed."""
    source = f"simbench:{code}"
    grid = load_grid(source)
    elements = grid_elements(grid)
    names = sorted(
        {f"{load.profile}_{kind}" for load in elements.loads for kind in ("pload", "qload")}
        | {str(sgen.profile) for sgen in elements.sgens}
    )
    time, values = profile_series(grid, names)
    first = time.step_at(START)
    series = {name: values[first : first + steps, k] for k, name in enumerate(names)}
    assets: list[Document] = [
        {
            "type": "load",
            "id": f"load{load.index}",
            "connection": "poc",
            "bus": load.bus,
            "p_kw": (1000 * load.p_mw * series[f"{load.profile}_pload"]).tolist(),
            "q_kvar": (1000 * load.q_mvar * series[f"{load.profile}_qload"]).tolist(),
        }
        for load in elements.loads
    ]
    for sgen in elements.sgens:
        available = 1000 * pv * sgen.p_mw * series[str(sgen.profile)]
        assets.append(
            {
                "type": "renewable",
                "id": f"pv{sgen.index}",
                "connection": "poc",
                "bus": sgen.bus,
                "available_kw": available.tolist(),
            }
        )
    random = np.random.default_rng(7)
    homes = [load.bus for load in elements.loads]
    for number in range(evs):
        at_work = number % 4 == 3
        begin = int(random.integers(0, 8) if at_work else random.integers(20, 40))
        end = int(random.integers(20, 28) if at_work else random.integers(76, 90))
        begin, end = min(begin, steps - 2), min(end, steps)
        e_start = float(random.integers(15, 40))
        reachable = e_start + 0.8 * 11.0 * 0.93 * HOURS * (end - begin)
        assets.append(
            {
                "type": "ev",
                "id": f"ev{number}",
                "connection": "poc",
                "bus": int(random.choice(homes)),
                "e_min_kwh": 6.0,
                "e_max_kwh": 60.0,
                "e_start_kwh": e_start,
                "charge_efficiency": 0.93,
                "discharge_efficiency": 0.93,
                "wear_cost_per_mwh": 20.0,
                "sessions": [
                    {
                        "arrival": (START + timedelta(hours=begin * HOURS)).isoformat(),
                        "departure": (START + timedelta(hours=end * HOURS)).isoformat(),
                        "charge_max_kw": 11.0,
                        "discharge_max_kw": 11.0 if number % 2 else 0.0,
                        "e_departure_min_kwh": min(30.0 if at_work else 50.0, reachable),
                    }
                ],
            }
        )
    rows = dict(line.split(",")[:2] for line in PRICES.read_text(encoding="utf-8").splitlines()[1:])
    stamps = [START + timedelta(hours=HOURS * step) for step in range(steps)]
    price = [float(rows[f"{stamp:%Y-%m-%dT%H}:00Z"]) for stamp in stamps]
    return {
        "schema": "wattshed.dispatch/1",
        "time": {"start": START.isoformat(), "resolution": "PT15M", "steps": steps},
        "connections": [
            {
                "id": "poc",
                "import_price_per_mwh": price,
                "export_price_per_mwh": [value - 5 for value in price],
            }
        ],
        "assets": assets,
        "network": {"grid": source, "vm_min_pu": 0.95, "vm_max_pu": 1.05, **network},
    }


def best_known(document: Document, start: Document) -> float:
    """The cost of the best AC operation that IPOPT finds from the schedule `start`.

    Handles one root without limits of its own, loads, curtailable PV
    and EVs of one session each; raises `RuntimeError` where IPOPT ends without an optimum.
    """
    network = document["network"]
    twin = Twin(load_grid(network["grid"]), limits=OperatingLimits())
    grid = twin._network
    steps = document["time"]["steps"]
    node_of = dict(zip(grid.bus_index.tolist(), grid.bus_node.tolist(), strict=True))
    kva = 1000 * grid.base_mva
    slack, inner = int(grid.slack_nodes[0]), np.setdiff1d(np.arange(grid.nodes), grid.slack_nodes)
    fixed_p, fixed_q = np.zeros((steps, grid.nodes)), np.zeros((steps, grid.nodes))
    flexible: list[tuple[Document, int]] = []
    for asset in document["assets"]:
        node = node_of[asset["bus"]]
        if asset["type"] == "load":
            fixed_p[:, node] += np.array(asset["p_kw"]) / kva
            fixed_q[:, node] += np.array(asset["q_kvar"]) / kva
        else:
            flexible.append((asset, node))

    opti, cost, drawn = _Program(), 0.0, [[ca.MX(0)] * grid.nodes for _ in range(steps)]
    proposed = start["assets"]
    voltage = _voltages(twin, document, start)
    prices = {way: document["connections"][0][f"{way}_price_per_mwh"] for way in ("import", "export")}
    reactive = [[ca.MX(0)] * grid.nodes for _ in range(steps)]
    for asset, node in flexible:
        p_kw = proposed[asset["id"]]["p_kw"]
        if asset["type"] == "renewable":
            available = asset["available_kw"]
            for step in range(steps):
                if available[step] > 0:
                    power = opti.variable(0.0, available[step] / kva, p_kw[step] / kva)
                    drawn[step][node] = drawn[step][node] - power
                if network.get("reactive") == "optimise" and asset.get("inverter_kva"):
                    kva_max = asset["inverter_kva"] / kva
                    q_kvar = proposed[asset["id"]]["q_kvar"][step]
                    q = opti.variable(-kva_max, kva_max, q_kvar / kva)
                    reactive[step][node] = reactive[step][node] + q
                    if available[step] > 0:
                        opti.between(power**2 + q**2, -1.0, kva_max**2)
            continue
        stay = asset["sessions"][0]
        begin, end = (
            round((datetime.fromisoformat(stay[key]) - START) / timedelta(hours=HOURS))
            for key in ("arrival", "departure")
        )
        energy: Any = asset["e_start_kwh"] / kva
        for step in range(begin, end):
            most, back = stay["charge_max_kw"] / kva, stay["discharge_max_kw"] / kva
            charge = opti.variable(0.0, most, max(p_kw[step], 0.0) / kva)
            energy = energy + HOURS * asset["charge_efficiency"] * charge
            drawn[step][node] = drawn[step][node] + charge
            if back:
                discharge = opti.variable(0.0, back, max(-p_kw[step], 0.0) / kva)
                energy = energy - HOURS / asset["discharge_efficiency"] * discharge
                drawn[step][node] = drawn[step][node] - discharge
                cost += HOURS * asset["wear_cost_per_mwh"] * grid.base_mva * discharge
            last = step == end - 1
            low = stay["e_departure_min_kwh"] if last else asset["e_min_kwh"]
            kept = opti.variable(low / kva, asset["e_max_kwh"] / kva, low / kva)
            opti.equal(energy - kept)
            energy = kept
    y = grid.admittance.tocsr()
    g, b = ca.DM(y.real.toarray()), ca.DM(y.imag.toarray())
    ends = [
        (current, percent)
        for current, percent in (
            (grid.current_from, grid.percent_from),
            (grid.current_to, grid.percent_to),
        )
    ]
    v0 = grid.slack_voltage[0]
    for step in range(steps):
        now = voltage[step]
        re = [opti.variable(-2, 2, v.real) if k != slack else ca.MX(v0.real) for k, v in enumerate(now)]
        im = [opti.variable(-2, 2, v.imag) if k != slack else ca.MX(v0.imag) for k, v in enumerate(now)]
        vr, vi = ca.vertcat(*re), ca.vertcat(*im)
        ir, ii = ca.mtimes(g, vr) - ca.mtimes(b, vi), ca.mtimes(g, vi) + ca.mtimes(b, vr)
        p, q = vr * ir + vi * ii, vi * ir - vr * ii
        wanted_p = ca.vertcat(*drawn[step]) + fixed_p[step]
        wanted_q = ca.vertcat(*reactive[step]) + fixed_q[step]
        opti.equal((p + wanted_p)[inner.tolist()])
        opti.equal((q + wanted_q)[inner.tolist()])
        magnitude = vr**2 + vi**2
        opti.between(magnitude[inner.tolist()], network["vm_min_pu"] ** 2, network["vm_max_pu"] ** 2)
        for current, percent in ends:
            rows = np.flatnonzero((percent > 0) & grid.rated_known[np.maximum(grid.branch_rated, 0)])
            matrix = current.tocsr()[rows]
            cr, ci = ca.DM(matrix.real.toarray()), ca.DM(matrix.imag.toarray())
            jr, ji = ca.mtimes(cr, vr) - ca.mtimes(ci, vi), ca.mtimes(cr, vi) + ca.mtimes(ci, vr)
            opti.between((jr**2 + ji**2) * (percent[rows] / 100) ** 2, -1.0, 1.0)
        root_kw = start["connections"][document["connections"][0]["id"]]
        bought, sold = (opti.variable(0, 1e3, root_kw[way][step] / kva) for way in ("import_kw", "export_kw"))
        opti.equal(p[slack] + drawn[step][slack] + fixed_p[step, slack] - bought + sold)
        cost += HOURS * grid.base_mva * (prices["import"][step] * bought - prices["export"][step] * sold)
    return opti.minimise(cost)


def _voltages(twin: Twin, document: Document, schedule: Document) -> Any:
    """The AC solution of a schedule, shape (steps, nodes)."""
    problem = DispatchProblem.from_document(document).resolve_buses(twin.bus_index)
    assets = {
        key: AssetSchedule(
            np.array(value["p_kw"]), {"q_kvar": np.array(value["q_kvar"])} if "q_kvar" in value else {}
        )
        for key, value in schedule["assets"].items()
    }
    return twin.solve(problem.nodal_power(replace(uncontrolled(problem), assets=assets))).voltage


class _Program:
    """A non-linear program grown variable by variable."""

    def __init__(self) -> None:
        self.x: list[Any] = []
        self.bounds: list[tuple[float, float, float]] = []
        self.rows: list[Any] = []
        self.limits: list[tuple[float, float]] = []

    def variable(self, lower: float, upper: float, start: float) -> Any:
        self.x.append(ca.MX.sym(f"x{len(self.x)}"))
        self.bounds.append((lower, upper, start))
        return self.x[-1]

    def equal(self, expression: Any) -> None:
        self.between(expression, 0.0, 0.0)

    def between(self, expression: Any, lower: float, upper: float) -> None:
        self.rows.append(expression)
        self.limits += [(lower, upper)] * expression.shape[0]

    def minimise(self, cost: Any) -> float:
        options = {
            "print_time": False,
            "ipopt": {"print_level": 0, "max_iter": 500, "tol": 1e-7, "sb": "yes", "mu_init": 1e-3},
        }
        problem = {"x": ca.vertcat(*self.x), "f": cost, "g": ca.vertcat(*self.rows)}
        solver = ca.nlpsol("opf", "ipopt", problem, options)
        lower, upper, start = np.array(self.bounds).T
        low, high = np.array(self.limits).T
        answer = solver(x0=start, lbx=lower, ubx=upper, lbg=low, ubg=high)
        if not solver.stats()["success"]:
            raise RuntimeError(f"IPOPT ended with {solver.stats()['return_status']}")
        return float(answer["f"])
