"""The twin: AC power flow of whole horizons, its violations and flows, and where it is linearised."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.network import (
    SECURE_LOADING_PERCENT,
    SECURE_VM_PU,
    BoolArray,
    ElementId,
    FloatArray,
    GridLimits,
    GridState,
    IntArray,
    NetworkFlows,
    NodalPower,
    OperatingLimits,
    Quantity,
    Terminal,
    Violation,
)
from grid_models.compiled import (
    CompiledNetwork,
    ComplexArray,
    compile_network,
    element_id,
    newton,
)
from grid_models.kernel import LOW_SOLUTION, FixedPoint, results
from grid_models.linearise import NEAR, WATCH, LinearModel, Near
from grid_models.losses import LossFlows, loss_flows
from grid_models.sources import Grid

INJECTIONS = (
    "load", "sgen", "storage", "motor", "ward", "xward", "asymmetric_load", "asymmetric_sgen", "gen",
)  # fmt: skip
"""Tables whose power a document replaces. A generator that is a slack stays: it is a source of voltage."""
TAP_TABLES = ("trafo", "trafo3w")


class Twin:
    """A grid made ready for AC power flow of many steps.

    Every injection comes from `NodalPower`. With `include_static`, what the tables of loads, generators,
    storages, motors and wards hold is drawn in every step as well, and `NodalPower` adds to it.

    Args:
        grid: the grid; it is not changed.
        limits: what `violations` and `linearise` measure against.
        taps: ``"ignore"`` treats stored tap positions without `tap_changer_type` as pandapower does (no
            effect); ``"ratio"`` applies them.
        root_ext_grid: index or unique name of the external grid whose area is meant; the areas of the
            others are left out and listed in `notices`.
        include_static: see above.

    Raises:
        InputError: an unknown external grid, or (with `include_static`) elements in service on buses
            that no external grid reaches.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        limits: OperatingLimits,
        taps: Literal["ignore", "ratio"] = "ignore",
        root_ext_grid: int | str | None = None,
        include_static: bool = False,
    ) -> None:
        self.limits = limits
        self._source = grid.source
        self._net = net = copy.deepcopy(grid.net)
        notices: list[str] = []
        notices += _apply_taps(net, taps)
        if not include_static:
            _silence_injections(net)
        network = compile_network(net)
        root = _find_ext_grid(net, root_ext_grid, grid.source)
        if root is not None:
            left_out = _leave_out_other_areas(net, network, root)
            if left_out:
                notices.append(left_out)
                network = compile_network(net)
        self._network: CompiledNetwork = network
        self._node = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
        self.slack_buses: IntArray = _slack_buses(net, network, root)
        self._root_bus = int(net.ext_grid.bus.at[root]) if root is not None else None
        self.buses = tuple(element_id(net, "bus", bus) for bus in network.bus_index)
        self.branches: tuple[ElementId, ...] = network.rated
        self.rating_known: BoolArray = network.rated_known
        if include_static:
            self._refuse_dead_elements()
        beyond = _beyond_kernel(net, network)
        self._engine: Literal["batched", "runpp"] = "runpp" if beyond else "batched"
        self._fixed_point = None if beyond else FixedPoint.of(network)
        if beyond:
            notices.append(f"solved step by step with pandapower's runpp because of {', '.join(beyond)}")
        dead = [element for element in self.buses if not self.energised(element.index)]
        notices += _listed("buses without supply", dead)
        unrated = [
            element for element, known in zip(self.branches, self.rating_known, strict=True) if not known
        ]
        notices += _listed("branches without a rating, taken as unlimited", unrated)
        self.notices = tuple(notices)
        self._slack_bus = np.isin(network.bus_node, network.slack_nodes)

    @property
    def root_bus(self) -> int:
        """The bus of the external grid that the root connection sits at.

        Raises `InputError` where the grid has several and `root_ext_grid` names none.
        """
        if self._root_bus is None:
            where = ", ".join(f"{element} at bus {bus}" for element, bus in _external_grids(self._net))
            raise InputError(
                Fault(
                    "root_ext_grid",
                    f"is missing: grid {self._source!r} is fed at several buses; name one of {where}",
                )
            )
        return self._root_bus

    def bus_index(self, key: int | str) -> int:
        """The index of the bus that `key` names: its index, or its name where only one bus has it."""
        if isinstance(key, int) and not isinstance(key, bool):
            if key in self._node:
                return key
            raise InputError(
                Fault("bus", f"{key} does not exist in grid {self._source!r}; it has {self._bus_range()}")
            )
        named = [element.index for element in self.buses if element.name == key]
        if len(named) == 1:
            return named[0]
        if named:
            raise InputError(Fault("bus", f"{key!r} names the buses {named}; use one of these indices"))
        hint = nearest(str(key), [element.name for element in self.buses if element.name])
        if len(hint) > 200:
            hint = f"it has {self._bus_range()}"
        raise InputError(Fault("bus", f"{key!r} does not exist in grid {self._source!r}; {hint}"))

    def energised(self, bus: int) -> bool:
        """Whether an external grid reaches `bus`."""
        return self._node[bus] >= 0

    def solve(self, power: NodalPower) -> GridState:
        """The AC solution of every step; a step without one is NaN, `converged` False.

        Raises `InputError` where power is drawn at a bus that does not exist or is not energised.
        """
        node = self._nodes_of(power)
        network = self._network
        if self._fixed_point is not None:
            voltage, converged = self._fixed_point.solve(network, node, power.p_mw, power.q_mvar)
        else:
            voltage, converged = self._solve_stepwise(power)
        vm_pu, loading, losses = results(network, voltage)
        loading[:, ~(network.rated_known & network.rated_live)] = np.nan
        slack = self._slack_power(voltage, node, power)
        for values in (vm_pu, loading, losses, slack):
            values[~converged] = np.nan
        state = GridState(
            time=power.time,
            buses=self.buses,
            branches=self.branches,
            slack_buses=self.slack_buses,
            converged=converged,
            vm_pu=vm_pu,
            loading_percent=loading,
            losses_mw=losses * network.base_mva + network.dc_losses_mw,
            slack_p_mw=slack.real,
            slack_q_mvar=slack.imag,
            voltage=voltage,
            engine=self._engine,
            violations=(),
        )
        return replace(state, violations=self._violations(state))

    def flows(self, state: GridState) -> NetworkFlows:
        """Power entering every internal branch at both ends, shunts and slacks, by electrical node."""
        network, voltage = self._network, state.voltage

        def power(current: Any, node: IntArray) -> FloatArray:
            entering: FloatArray = (voltage[:, node] * np.conj((current @ voltage.T).T)).real
            return entering * network.base_mva

        return NetworkFlows(
            time=state.time,
            node_of_bus={bus: node for bus, node in self._node.items() if node >= 0},
            node_count=network.nodes,
            branches=network.branch_element,
            from_node=network.from_node,
            to_node=network.to_node,
            p_from_mw=power(network.current_from, network.from_node),
            p_to_mw=power(network.current_to, network.to_node),
            slack_node=self._slack_nodes,
            slack_p_mw=state.slack_p_mw,
            shunt_mw=network.shunt_mw * np.abs(voltage) ** 2,
        )

    def linear_model(
        self,
        state: GridState,
        power: NodalPower,
        terminals: Sequence[Terminal],
        *,
        steps: Sequence[int] | IntArray | None = None,
        flows: LossFlows | None = None,
        near: Near = WATCH,
    ) -> LinearModel:
        """Voltages, currents and losses around `state`, linear in the power at terminals, for the steps
        asked (all solved ones by default).

        Args:
            power: what the *terminals* draw in `state`: one column per terminal, in their order. Power
                that is not steered (plain loads) is no part of it; it is inside the rows' constants.
            flows: what bends the losses (see `loss_flows`); without them losses are linear.
            near: how close to a limit a quantity must be in `state` to be watched.

        Raises `InputError` for a terminal that is not energised, `ValueError` where the columns of `power`
        are not those of `terminals`.
        """
        buses = [terminal.bus for terminal in terminals]
        if power.buses.tolist() != buses:
            raise ValueError("a linear model needs one column of power per terminal, in their order")
        if power.time != state.time:
            raise ValueError("a linear model needs power on the time grid of the state")
        self._nodes_of(power, even_without_power=True)
        chosen = np.arange(state.time.steps) if steps is None else np.unique(np.asarray(steps, dtype=int))
        return LinearModel(
            self._network,
            self.limits,
            self.buses,
            state,
            power.p_mw,
            tuple(terminals),
            chosen[state.converged[chosen]],
            flows or LossFlows.none(len(terminals)),
            near,
        )

    def linearise(
        self,
        state: GridState,
        power: NodalPower,
        terminals: Sequence[Terminal],
        *,
        steps: Sequence[int] | IntArray | None = None,
        near: Near = NEAR,
    ) -> GridLimits:
        """Linear limits around `state` for the steps asked (all solved ones by default), and its losses.

        `near` is how close to a limit an element must be to get a row; else as `linear_model`.
        """
        return self.linear_model(state, power, terminals, steps=steps, near=near).rows(near=near)

    def loss_flows(
        self, state: GridState, terminals: Sequence[Terminal], reach_mw: tuple[FloatArray, FloatArray]
    ) -> LossFlows:
        """The flows that bend losses when terminals draw between the two of `reach_mw`, shape (steps,
        terminals) each, for the `linear_model` of states like `state`."""
        node = np.array([self._node[terminal.bus] for terminal in terminals], dtype=np.int64)
        return loss_flows(self._network, state, terminals, node, reach_mw)

    @property
    def _slack_nodes(self) -> IntArray:
        return np.array([self._node[bus] for bus in self.slack_buses.tolist()], dtype=np.int64)

    def _bus_range(self) -> str:
        indices = self._network.bus_index
        return f"{len(indices)} buses, indices {indices.min()} to {indices.max()}"

    def _nodes_of(self, power: NodalPower, *, even_without_power: bool = False) -> IntArray:
        faults = []
        node = np.array([self._node.get(bus, -2) for bus in power.buses.tolist()], dtype=np.int64)
        for column in np.flatnonzero(node < 0):
            drawn = power.p_mw[:, column].any() or power.q_mvar[:, column].any() or even_without_power
            if node[column] == -1 and not drawn:
                continue
            what = "does not exist" if node[column] == -2 else "is not energised, but power is drawn there"
            faults.append(
                Fault(
                    f"bus {power.buses[column]}",
                    f"{what} (grid {self._source!r}); use a bus that an external grid reaches",
                )
            )
        if faults:
            raise InputError(faults)
        return node

    def _solve_stepwise(self, power: NodalPower) -> tuple[ComplexArray, BoolArray]:
        network = self._network
        voltage = np.full((power.time.steps, network.nodes), np.nan, dtype=complex)
        for step, solution in enumerate(newton(copy.deepcopy(self._net), power)):
            # Newton, unlike the fixed point, can land on the low-voltage solution
            if (
                solution is not None
                and np.abs(solution).min() > LOW_SOLUTION * np.abs(network.slack_voltage).min()
            ):
                voltage[step] = solution
        return voltage, np.isfinite(voltage).all(axis=1)

    def _slack_power(self, voltage: ComplexArray, node: IntArray, power: NodalPower) -> ComplexArray:
        """Complex power drawn from upstream at each slack: into the network and by what sits there."""
        network, nodes = self._network, self._slack_nodes
        rows = network.admittance[nodes]
        nearby = np.unique(rows.indices)
        current = voltage[:, nearby] @ rows[:, nearby].toarray().T
        supplied: ComplexArray = voltage[:, nodes] * np.conj(current) * network.base_mva
        supplied += network.static_mva[nodes]
        here = np.flatnonzero(np.isin(node, nodes))
        at_slack = (node[here, None] == nodes[None, :]).astype(float)
        supplied += (power.p_mw[:, here] + 1j * power.q_mvar[:, here]) @ at_slack
        return supplied

    def _violations(self, state: GridState) -> tuple[Violation, ...]:
        limits = self.limits
        found: list[tuple[int, ElementId, Quantity, float, float]] = []

        def collect(
            beyond: BoolArray,
            elements: Sequence[ElementId],
            values: FloatArray,
            quantity: Quantity,
            limit: float,
        ) -> None:
            # element by element: to search all values at once costs more than to compare them
            for k in np.flatnonzero(beyond.any(axis=0)).tolist():
                found.extend(
                    (step, elements[k], quantity, float(values[step, k]), limit)
                    for step in np.flatnonzero(beyond[:, k]).tolist()
                )

        with np.errstate(invalid="ignore"):
            low = state.vm_pu < limits.vm_min_pu - SECURE_VM_PU
            high = state.vm_pu > limits.vm_max_pu + SECURE_VM_PU
            over = state.loading_percent > limits.loading_max_percent + SECURE_LOADING_PERCENT
        low[:, self._slack_bus] = high[:, self._slack_bus] = False
        collect(low, self.buses, state.vm_pu, "vm_pu", limits.vm_min_pu)
        collect(high, self.buses, state.vm_pu, "vm_pu", limits.vm_max_pu)
        collect(over, self.branches, state.loading_percent, "loading_percent", limits.loading_max_percent)
        found.sort(key=lambda item: (item[0], item[2], item[1].table, item[1].index))
        instants = {step: state.time.instant(step) for step, *_ in found}
        return tuple(
            Violation(instants[step], element, quantity, value, limit)
            for step, element, quantity, value, limit in found
        )

    def _refuse_dead_elements(self) -> None:
        """Elements in service on buses that are in service but that nothing supplies."""
        net, faults = self._net, []
        for table in INJECTIONS:
            rows = net[table]
            for index, bus in rows.bus[rows.in_service.astype(bool)].items():
                if self._node[int(bus)] < 0 and bool(net.bus.in_service.at[bus]):
                    faults.append(
                        Fault(
                            str(element_id(net, table, index)),
                            f"is in service at bus {bus}, which no external grid reaches; connect the bus, "
                            "or take the element out of service",
                        )
                    )
        if faults:
            raise InputError(faults)


def _listed(what: str, elements: Sequence[ElementId], shown: int = 8) -> list[str]:
    """One line that counts and names; nothing for no elements."""
    if not elements:
        return []
    names = ", ".join(str(element) for element in elements[:shown])
    return [f"{len(elements)} {what}: {names}{' …' if len(elements) > shown else ''}"]


def _apply_taps(net: Any, taps: Literal["ignore", "ratio"]) -> list[str]:
    """Give stored tap positions without a changer type the type ``Ratio``, or say that they are ignored."""
    notices = []
    for table in TAP_TABLES:
        rows = net[table]
        if not len(rows) or "tap_pos" not in rows:
            continue
        position, neutral = (rows[name].astype(float) for name in ("tap_pos", "tap_neutral"))
        if "tap_changer_type" not in rows:
            rows["tap_changer_type"] = None
        rows["tap_changer_type"] = rows["tap_changer_type"].astype(object)
        untyped = rows.tap_changer_type.isna() | rows.tap_changer_type.isin(["", "None", "nan"])
        stored = untyped & position.notna() & (position != neutral.fillna(0.0))
        if not stored.any():
            continue
        names = ", ".join(str(element_id(net, table, index)) for index in rows.index[stored][:8])
        if taps == "ratio":
            rows.loc[stored, "tap_changer_type"] = "Ratio"
            rows.loc[stored & neutral.isna(), "tap_neutral"] = 0.0
            notices.append(f"tap positions without a changer type applied as ratio: {names}")
        else:
            notices.append(
                f"tap positions without a changer type ignored, as pandapower does: {names}; "
                'twin.taps = "ratio" applies them'
            )
    return notices


def _silence_injections(net: Any) -> None:
    for table in INJECTIONS:
        if table == "gen":
            net.gen["in_service"] = net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)
        elif len(net[table]):
            net[table]["in_service"] = False


def _external_grids(net: Any) -> list[tuple[ElementId, int]]:
    """The external grids in service, each with its bus."""
    buses = net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]
    return [(element_id(net, "ext_grid", index), int(bus)) for index, bus in buses.items()]


def _find_ext_grid(net: Any, key: int | str | None, source: str) -> int | None:
    """The index of the external grid that `key` names; for None the only one, None where there are more."""
    table = net.ext_grid[net.ext_grid.in_service.astype(bool)]
    if key is None:
        return int(table.index[0]) if len(table) == 1 and not net.gen.slack.any() else None
    if isinstance(key, int) and not isinstance(key, bool):
        found = [index for index in table.index if index == key]
    else:
        found = [index for index, name in table.name.items() if name == key]
    if len(found) == 1:
        return int(found[0])
    known = ", ".join(str(element_id(net, "ext_grid", index)) for index in table.index)
    what = "names several external grids" if found else "is not an external grid in service"
    raise InputError(Fault("root_ext_grid", f"{key!r} {what} of {source!r}; known here: {known}"))


def _leave_out_other_areas(net: Any, network: CompiledNetwork, root: int) -> str | None:
    """Switch off the external grids of areas that `root` does not feed; says which."""
    node = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
    area = network.areas()
    home = area[node[int(net.ext_grid.bus.at[root])]]
    others = []
    for table in ("ext_grid", "gen"):
        rows = net[table]
        for index in rows.index[rows.in_service.astype(bool)]:
            at = node[int(rows.bus.at[index])]
            if at >= 0 and area[at] != home:
                net[table].loc[index, "in_service"] = False
                if table == "ext_grid":
                    others.append(element_id(net, table, index))
    if not others:
        return None
    outside = int(np.sum((network.bus_node >= 0) & (area[network.bus_node] != home)))
    names = ", ".join(str(element) for element in others)
    return f"left out: {outside} buses in the areas of {names}, which the root does not feed"


def _slack_buses(net: Any, network: CompiledNetwork, root: int | None) -> IntArray:
    """One bus per slack node: the external grid's (the root's first), or the slack generator's."""
    node = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
    buses = [int(net.ext_grid.bus.at[root])] if root is not None else []
    buses += net.ext_grid.bus[net.ext_grid.in_service.astype(bool)].astype(int).tolist()
    buses += net.gen.bus[net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)].astype(int).tolist()
    of_node: dict[int, int] = {}
    for bus in buses:
        if node[bus] >= 0:
            of_node.setdefault(node[bus], bus)
    return np.array(list(of_node.values()), dtype=np.int64)


def _beyond_kernel(net: Any, network: CompiledNetwork) -> list[str]:
    """What the fixed point does not cover: fixed voltage magnitudes and voltage-dependent loads."""
    reasons = []
    generators = net.gen[net.gen.in_service.astype(bool) & ~net.gen.slack.astype(bool)]
    for what, count in (
        ("generator(s) that hold a voltage", len(generators)),
        ("extended ward(s)", int(net.xward.in_service.sum())),
        ("DC line(s)", int(net.dcline.in_service.sum())),
    ):
        if count:
            reasons.append(f"{count} {what}")
    loads = net.load[net.load.in_service.astype(bool)]
    shares = [column for column in loads if column.startswith(("const_z", "const_i"))]
    dependent = int((loads[shares].fillna(0.0) != 0).any(axis=1).sum()) if shares else 0
    if dependent:
        reasons.append(f"{dependent} load(s) of constant impedance or current")
    assert reasons or not len(network.pv_nodes), "a fixed voltage magnitude of unknown origin"
    return reasons
