"""pandapower's own compiled network: the one module that knows `_pd2ppc`, `_ppc` and their columns.

Switches, open line ends, taps, shunts and three-winding transformers are resolved by pandapower itself;
what leaves this module are admittance matrices and index maps. Converting the tables a second time would
be shorter to run and wrong in a dozen corners. Private attributes can change between versions: the tests
hold every value against `pandapower.runpp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandapower as pp
import scipy.sparse as sp
from numpy.typing import NDArray
from pandapower.auxiliary import (
    LoadflowNotConverged,
    _add_auxiliary_elements,
    _clean_up,
    _init_runpp_options,
)
from pandapower.pd2ppc import _pd2ppc
from pandapower.pf.ppci_variables import _get_pf_variables_from_ppci
from pandapower.pypower.idx_brch import F_BUS, T_BUS
from pandapower.pypower.idx_bus import BASE_KV, GS, PD, QD
from pandapower.pypower.makeYbus import makeYbus

from energy.domain.network import BoolArray, ElementId, FloatArray, IntArray, NodalPower

ComplexArray = NDArray[np.complex128]

UNLIMITED = 9999.0
"""A rating (kA, MVA) of this or more, zero or none, stands for no rating in every grid seen."""
RATED_TABLES = ("line", "trafo", "trafo3w")


@dataclass(frozen=True)
class CompiledNetwork:
    """The energised part of a grid in per unit of `base_mva`: Y·V = I at `nodes` electrical nodes.

    Attributes:
        admittance: Y with bus shunts, sparse, shape (nodes, nodes).
        shunt_mw: active power of the shunts at 1 pu, shape (nodes,).
        static_mva: complex power that the tables draw at each node, shape (nodes,).
        slack_nodes, slack_voltage: nodes of fixed voltage; pv_nodes: nodes of fixed magnitude.
        bus_index: every bus of the grid; bus_node: its node, −1 where it is not energised.
        from_node, to_node: ends of the internal branches; current_from, current_to: the currents that
            enter them are these (branches, nodes) matrices times V.
        branch_element: the element of each internal branch (a three-winding transformer has three).
        branch_loses: whether its loss counts; dc_losses_mw: what all DC lines lose in every step.
        rated: the elements with a loading; rated_known: whether their rating is known.
        rated_live: whether all their ends are energised (a loading exists, if only zero).
        branch_rated: position in `rated` of each internal branch, −1 for none.
        percent_from, percent_to: loading in percent per pu of current at either end; 0 does not count.
    """

    base_mva: float
    admittance: Any
    shunt_mw: FloatArray
    static_mva: ComplexArray
    slack_nodes: IntArray
    slack_voltage: ComplexArray
    pv_nodes: IntArray
    bus_index: IntArray
    bus_node: IntArray
    from_node: IntArray
    to_node: IntArray
    current_from: Any
    current_to: Any
    branch_element: tuple[ElementId, ...]
    branch_loses: BoolArray
    dc_losses_mw: float
    rated: tuple[ElementId, ...]
    rated_known: BoolArray
    rated_live: BoolArray
    branch_rated: IntArray
    percent_from: FloatArray
    percent_to: FloatArray

    @property
    def nodes(self) -> int:
        return len(self.shunt_mw)

    def areas(self) -> IntArray:
        """The connected area of each node, shape (nodes,)."""
        links = self.admittance.astype(bool)
        labels = sp.csgraph.connected_components(links, directed=False)[1]
        return labels.astype(np.int64)


def element_id(net: Any, table: str, index: int) -> ElementId:
    """The id of a row of `net[table]`, with its name where it has one."""
    name = net[table].name.at[index] if "name" in net[table] else None
    missing = name is None or name != name or str(name) in ("", "None", "<NA>")
    return ElementId(table, int(index), None if missing else str(name))


def compile_network(net: Any) -> CompiledNetwork:
    """Compile `net` (changed only in pandapower's own private attributes) without solving it.

    No power flow is run: the compiled network exists whether or not the tables' operating point does.
    """
    ppci, in_service = _convert(net)
    base_mva, bus, _, branch, *_, slack, pv, _, _, _, voltage, _ = _get_pf_variables_from_ppci(ppci)
    admittance, current_from, current_to = makeYbus(base_mva, bus, branch)
    nodes = len(bus)
    lookup = net._pd2ppc_lookups["bus"][net.bus.index.to_numpy()]
    bus_node = np.where((lookup >= 0) & (lookup < nodes), lookup, -1)
    from_node, to_node = (branch[:, end].real.astype(np.int64) for end in (F_BUS, T_BUS))
    ratings = _Ratings(net, in_service, bus[:, BASE_KV].real, from_node, to_node, base_mva)
    live = dict(zip(net.bus.index.tolist(), (bus_node >= 0).tolist(), strict=True))
    return CompiledNetwork(
        base_mva=float(base_mva),
        admittance=sp.csr_array(admittance),
        shunt_mw=bus[:, GS].real.copy(),
        static_mva=bus[:, PD].real + 1j * bus[:, QD].real,
        slack_nodes=np.asarray(slack, dtype=np.int64),
        slack_voltage=np.asarray(voltage[slack], dtype=complex),
        pv_nodes=np.asarray(pv, dtype=np.int64),
        bus_index=net.bus.index.to_numpy(dtype=np.int64),
        bus_node=bus_node.astype(np.int64),
        from_node=from_node,
        to_node=to_node,
        current_from=sp.csr_array(current_from),
        current_to=sp.csr_array(current_to),
        branch_element=ratings.branch_element,
        # what the impedance inside an extended ward takes is drawn by the ward, as in res_xward
        branch_loses=np.array([element.table != "xward" for element in ratings.branch_element], dtype=bool),
        dc_losses_mw=_dc_losses_mw(net, live),
        rated=ratings.rated,
        rated_known=np.array(ratings.known, dtype=bool),
        rated_live=np.array([all(live[bus] for bus in buses) for buses in ratings.ends], dtype=bool),
        branch_rated=ratings.branch_rated,
        percent_from=ratings.percent_from,
        percent_to=ratings.percent_to,
    )


def _convert(net: Any) -> tuple[dict[str, Any], BoolArray]:
    """pandapower's internal case of `net` and which of its branches are in it: `runpp` up to the solver."""
    _init_runpp_options(
        net,
        algorithm="nr",
        calculate_voltage_angles=True,
        init="flat",
        max_iteration="auto",
        tolerance_mva=1e-8,
        trafo_model="t",
        trafo_loading="current",
        enforce_p_lims=False,
        enforce_q_lims=False,
        check_connectivity=True,
        voltage_depend_loads=True,
        numba=False,  # compiling pandapower's search for fused buses takes longer than this search
    )
    net._pd2ppc_lookups = {key: np.array([], dtype=np.int64) for key in ("bus", "bus_dc", "ext_grid", "gen")}
    net._pd2ppc_lookups |= {"branch": {}, "branch_dc": {}}
    _add_auxiliary_elements(net)
    try:
        _, ppci = _pd2ppc(net)
    finally:
        _clean_up(net, res=False)
    return ppci, ppci["internal"]["branch_is"]


def _dc_losses_mw(net: Any, live: dict[int, bool]) -> float:
    """What the DC lines lose in every step: pandapower fixes the power at both of their ends."""
    lines = net.dcline[net.dcline.in_service.astype(bool)]
    sent_mw = lines.p_mw.abs()
    received_mw = sent_mw * (1 - lines.loss_percent / 100) - lines.loss_mw
    at_from, at_to = lines.from_bus.map(live), lines.to_bus.map(live)
    forward = lines.p_mw > 0
    # an end that nothing supplies neither sends nor receives
    enters, leaves = at_from.where(forward, at_to), at_to.where(forward, at_from)
    return float((sent_mw * enters - received_mw * leaves).sum())


class _Ratings:
    """Which element each internal branch belongs to, and what current loads it by one percent."""

    def __init__(
        self,
        net: Any,
        in_service: BoolArray,
        base_kv: FloatArray,
        from_node: IntArray,
        to_node: IntArray,
        base_mva: float,
    ) -> None:
        row = np.full(len(in_service), -1)
        row[in_service] = np.arange(in_service.sum())
        count = len(from_node)
        owner: list[ElementId | None] = [None] * count
        self.rated: tuple[ElementId, ...] = ()
        self.known: list[bool] = []
        self.ends: list[tuple[int, ...]] = []
        self.branch_rated = np.full(count, -1)
        self.percent_from, self.percent_to = np.zeros(count), np.zeros(count)
        ka_per_pu = base_mva / (np.sqrt(3) * base_kv)
        for table, (first, end) in net._pd2ppc_lookups["branch"].items():
            rows = row[first:end]
            indices = net.switch.index[net._impedance_bb_switches] if table == "switch" else net[table].index
            ids = [element_id(net, table, index) for index in indices]
            for position, branch in enumerate(rows):
                if branch >= 0:
                    owner[branch] = ids[position % len(ids)]
            if table not in RATED_TABLES:
                continue
            windings = {"line": _line_ends, "trafo": _trafo_ends, "trafo3w": _trafo3w_ends}[table](net)
            limits = np.array([limit_ka for *_, limit_ka in windings])
            known = ((limits > 0) & (limits < UNLIMITED)).all(axis=0) & _rating_given(net, table)
            for block, at_from, limit_ka in windings:
                part = rows[block * len(ids) : (block + 1) * len(ids)]
                inside = (part >= 0) & known
                branches = part[inside]
                node, percent = (from_node, self.percent_from) if at_from else (to_node, self.percent_to)
                percent[branches] = 100 * ka_per_pu[node[branches]] / limit_ka[inside]
                self.branch_rated[branches] = len(self.rated) + np.flatnonzero(inside)
            self.rated += tuple(ids)
            self.known += known.tolist()
            columns = {"line": ("from_bus", "to_bus"), "trafo": ("hv_bus", "lv_bus")}.get(
                table, ("hv_bus", "mv_bus", "lv_bus")
            )
            self.ends += [tuple(map(int, buses)) for buses in net[table][list(columns)].to_numpy()]
        assert None not in owner, "an internal branch that belongs to no element"
        self.branch_element = tuple(element for element in owner if element is not None)


Windings = list[tuple[int, bool, FloatArray]]
"""Per end that counts: block of internal branches of the table, at its from end?, current limit in kA."""


def _line_ends(net: Any) -> Windings:
    line = net.line
    limit_ka = (line.max_i_ka * line.df * line.parallel).to_numpy(dtype=float)
    return [(0, True, limit_ka), (0, False, limit_ka)]


def _trafo_ends(net: Any) -> Windings:
    trafo = net.trafo
    sn_mva = (trafo.sn_mva * trafo.parallel * trafo.df).to_numpy(dtype=float)
    return [
        (0, side == "hv", sn_mva / (np.sqrt(3) * trafo[f"vn_{side}_kv"].to_numpy(dtype=float)))
        for side in ("hv", "lv")
    ]


def _trafo3w_ends(net: Any) -> Windings:
    trafo = net.trafo3w
    return [
        (
            block,
            side == "hv",
            (trafo[f"sn_{side}_mva"] / (np.sqrt(3) * trafo[f"vn_{side}_kv"])).to_numpy(float),
        )
        for block, side in enumerate(("hv", "mv", "lv"))
    ]


def _rating_given(net: Any, table: str) -> BoolArray:
    """False where the table's own rating column says unlimited, whatever current follows from it."""
    columns = {"line": ["max_i_ka"], "trafo": ["sn_mva"]}.get(table, ["sn_hv_mva", "sn_mv_mva", "sn_lv_mva"])
    ratings = net[table][columns].to_numpy(dtype=float)
    given: BoolArray = ((ratings > 0) & (ratings < UNLIMITED)).all(axis=1)
    return given


def newton(net: Any, power: NodalPower) -> Iterator[ComplexArray | None]:
    """Voltages of each step by `pandapower.runpp`, nodes as `compile_network` orders them; None where it
    does not converge. `net` gets one storage per bus of `power` (a load would be averaged into the
    voltage dependence of the loads at its bus) and is left with it."""
    buses, column = np.unique(power.buses, return_inverse=True)
    drawn = np.zeros((2, power.time.steps, len(buses)))
    for k, position in enumerate(column.tolist()):
        drawn[0, :, position] += power.p_mw[:, k]
        drawn[1, :, position] += power.q_mvar[:, k]
    rows = [pp.create_storage(net, bus, p_mw=0.0, max_e_mwh=0.0) for bus in buses]
    for p_mw, q_mvar in zip(*drawn, strict=True):
        net.storage.loc[rows, "p_mw"] = p_mw
        net.storage.loc[rows, "q_mvar"] = q_mvar
        try:
            pp.runpp(net, lightsim2grid=False, numba=False)  # the same order of nodes as in _convert
        except LoadflowNotConverged:
            yield None
        else:
            yield np.asarray(net._ppc["internal"]["V"], dtype=complex)
