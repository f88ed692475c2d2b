"""Linear limits and losses around an AC operating point, from the factorised Jacobian of every step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import ThreadpoolController

from energy.domain.network import (
    ElementId,
    FloatArray,
    GridLimits,
    GridState,
    IntArray,
    Losses,
    OperatingLimits,
    Quantity,
    Terminal,
)
from grid_models.compiled import CompiledNetwork, ComplexArray
from grid_models.jacobian import Jacobian, drawn_per_unit
from grid_models.losses import LossFlows

_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")
"""The matrices of a step are small: BLAS threads would wait for each other longer than they compute."""
UNIT_VM_PU, UNIT_LOADING_PERCENT = 0.01, 10.0
"""So much of either counts as equally far from a limit."""
NEGLIGIBLE = 5e-4
"""A slope of the losses over the power at a terminal, beside what flows say, is left out below this."""
WATCHED_PER_STEP = 150
"""So many quantities of a step are watched for limits that a proposal may come to."""
ROWS_PER_STEP = 40
"""Rows that one step contributes at most; the tightest that say something of their own."""
PARALLEL = 1e-3
"""Rows whose directions differ by less (1 − cosine) bound the same thing; only the tighter one is kept."""


@dataclass(frozen=True, slots=True)
class Near:
    """How close to a limit an element must be, or how far beyond, to be worth a row."""

    vm_pu: float = 0.02
    loading_percent: float = 20.0


NEAR = Near()
WATCH = Near(np.inf, np.inf)
"""Everything, as far as `WATCHED_PER_STEP` goes."""
VM_PU: tuple[Quantity, ...] = ("vm_pu",)
LOADING: tuple[Quantity, ...] = ("loading_percent",)


@dataclass(frozen=True)
class _Phasors:
    """Complex quantities w(V) = form · V, linear in the node voltages, of one step or of all.

    Attributes:
        form: shape (quantities, nodes).
        element, quantity: what each belongs to; the loading of an element is the largest of its own.
        scale: pu or percent per unit of magnitude, shape (quantities,).
        sign_node: the node whose voltage tells the direction of a current; −1 for a voltage.
        sign: +1 where a current with its voltage there flows forward, −1 where backward.
    """

    form: Any
    element: tuple[ElementId, ...]
    quantity: tuple[Quantity, ...]
    scale: FloatArray
    sign_node: IntArray
    sign: FloatArray

    def chosen(self, rows: IntArray) -> _Phasors:
        return _Phasors(
            self.form[rows],
            tuple(self.element[k] for k in rows),
            tuple(self.quantity[k] for k in rows),
            self.scale[rows],
            self.sign_node[rows],
            self.sign[rows],
        )


@dataclass(frozen=True)
class _Step:
    """One step of a model: its quantities are w = constant + matrix · p, p in MW at the terminals.

    `total` and `total_slope` are the losses at the operating point and their slope, MW and MW per MW;
    `base_mw` is the power there.
    """

    phasors: _Phasors
    constant: ComplexArray
    matrix: ComplexArray
    direction: ComplexArray
    base_mw: FloatArray
    total: float
    total_slope: FloatArray


class LinearModel:
    """Voltages and currents as linear functions of the power at terminals, around an AC solution.

    Phasors are linear where their magnitudes are not: a limit on a magnitude is a tangent at whatever
    point is asked for, and losses are a sum of squares. So the model says what a proposal far from the
    operating point breaks and loses, without another power flow. The tangents of upper limits and of losses
    are outer approximations of convex sets; a lower voltage limit is not convex, its tangent is stricter.
    `flows` bend the losses; the rest of them is linear.
    """

    @_one_thread
    def __init__(
        self,
        network: CompiledNetwork,
        limits: OperatingLimits,
        buses: tuple[ElementId, ...],
        state: GridState,
        p_mw: FloatArray,
        terminals: tuple[Terminal, ...],
        steps: IntArray,
        flows: LossFlows,
        near: Near,
    ) -> None:
        self._limits, self._terminals, self._flows = limits, terminals, flows
        # what only a price is asked of must not sway which rows are kept
        self._flexible = np.array([terminal.flexible for terminal in terminals], dtype=bool)
        node_of_bus = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
        node = np.array([node_of_bus[terminal.bus] for terminal in terminals], dtype=np.int64)
        per_unit = [drawn_per_unit(terminal) / network.base_mva for terminal in terminals]
        drawn = np.array(per_unit, np.complex128)
        every, jacobian = _phasors(network, buses), Jacobian(network)
        losses = network.admittance - sp.diags_array(network.shunt_mw / network.base_mva)
        loss_form: Any = sp.csr_array(losses + losses.conj().T)
        self._steps: dict[int, _Step] = {}
        for step in steps.tolist():
            voltage = state.voltage[step]
            phasors = every.chosen(_worth_watching(every, voltage, limits, near))
            matrix, total_slope = jacobian.slopes(
                voltage, phasors.form, loss_form @ voltage * network.base_mva, node, drawn
            )
            self._steps[step] = _Step(
                phasors=phasors,
                constant=phasors.form @ voltage - matrix @ p_mw[step],
                matrix=matrix,
                direction=np.where(phasors.sign_node >= 0, voltage[phasors.sign_node], 0.0),
                base_mw=p_mw[step],
                total=float(state.losses_mw[step]),
                total_slope=total_slope,
            )

    @property
    def steps(self) -> IntArray:
        """The steps that the model covers, ascending."""
        return np.array(sorted(self._steps), dtype=np.int64)

    @_one_thread
    def rows(
        self,
        p_mw: FloatArray | None = None,
        *,
        near: Near = NEAR,
        limits: bool = True,
        losses: bool = True,
        steps: IntArray | None = None,
    ) -> GridLimits:
        """Limits that are `near` at `p_mw` (steps of the horizon, terminals; the operating point by default)
        as tangents there, and the losses beside what flows lose as they are at the operating point."""
        wanted = [step for step in (self.steps if steps is None else steps).tolist() if step in self._steps]
        found = [GridLimits.none(self._terminals)]
        if limits:
            for step in wanted:
                model = self._steps[step]
                found.append(
                    self._limit_rows(step, model, model.base_mw if p_mw is None else p_mw[step], near)
                )
        rows = joined(found)
        return replace(rows, losses=self._rest(wanted)) if losses and wanted else rows

    def _limit_rows(self, step: int, model: _Step, p_mw: FloatArray, near: Near) -> GridLimits:
        phasors, limits = model.phasors, self._limits
        if not len(phasors.element):
            return GridLimits.none(self._terminals)
        phasor = model.constant + model.matrix @ p_mw
        size = np.abs(phasor)
        volts = np.array([quantity == "vm_pu" for quantity in phasors.quantity])
        value = phasors.scale * size
        headroom = np.where(
            volts,
            np.minimum(limits.vm_max_pu - value, value - limits.vm_min_pu),
            limits.loading_max_percent - value,
        )
        close = np.flatnonzero(headroom < np.where(volts, near.vm_pu, near.loading_percent))
        if not len(close):
            return GridLimits.none(self._terminals)
        # of the windings and ends of an element only the most loaded counts
        first: dict[ElementId, int] = {}
        for k in close[np.argsort(headroom[close], kind="stable")].tolist():
            first.setdefault(phasors.element[k], k)
        rows = np.array(sorted(first.values()), dtype=np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            towards = np.where(size > 0, phasor / size, model.direction / np.abs(model.direction))[rows]
        forward = (phasor[rows] * np.conj(model.direction[rows])).real >= 0
        sign = np.where(volts[rows], 1.0, np.where(forward, 1.0, -1.0) * phasors.sign[rows])
        slope = (sign * phasors.scale[rows])[:, None] * (np.conj(towards)[:, None] * model.matrix[rows]).real
        signed = sign * value[rows]
        candidates = _Candidates(
            element=tuple(phasors.element[k] for k in rows),
            quantity=tuple(phasors.quantity[k] for k in rows),
            value=signed,
            lower=np.where(volts[rows], limits.vm_min_pu, -limits.loading_max_percent),
            upper=np.where(volts[rows], limits.vm_max_pu, limits.loading_max_percent),
            headroom=headroom[rows],
        )
        kept = _undominated(slope[:, self._flexible], candidates)
        return replace(
            GridLimits.none(self._terminals),
            step=np.full(len(kept), step),
            element=tuple(candidates.element[k] for k in kept),
            quantity=tuple(candidates.quantity[k] for k in kept),
            coefficients=slope[kept],
            constant=signed[kept] - slope[kept] @ p_mw,
            lower=candidates.lower[kept],
            upper=candidates.upper[kept],
        )

    def _rest(self, steps: list[int]) -> Losses:
        """The losses that no flow bends: linear, over flows as far as they go and over terminals beyond."""
        flows, models = self._flows, [self._steps[step] for step in steps]
        base_mw = np.array([model.base_mw for model in models])
        flow_mw = flows.flow_mw(base_mw)
        gradient = np.array([model.total_slope for model in models])
        gradient -= 2 * flows.curvature * flow_mw @ flows.directions
        slope = flows.over_flows(gradient)
        beyond = gradient - slope @ flows.directions
        if len(flows.curvature):
            beyond[np.abs(beyond) < NEGLIGIBLE] = 0.0
        total = np.array([model.total for model in models]) - flows.squares_mw(base_mw).sum(axis=1)
        constant = total - (slope * flow_mw).sum(axis=1) - (beyond * base_mw).sum(axis=1)
        return replace(
            Losses.linear(np.array(steps, np.int64), constant, beyond),
            directions=flows.directions,
            rest_slope=slope,
        )


@dataclass(frozen=True)
class _Candidates:
    """Limits of one step that are worth a row, shape (rows,) each."""

    element: tuple[ElementId, ...]
    quantity: tuple[Quantity, ...]
    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    headroom: FloatArray


def _phasors(network: CompiledNetwork, buses: tuple[ElementId, ...]) -> _Phasors:
    """Every voltage but the slack's, and the currents at both ends of every rated branch."""
    # one voltage per node: buses fused by closed switches share theirs
    _, first = np.unique(network.bus_node, return_index=True)
    node = network.bus_node[first]
    bound = (node >= 0) & ~np.isin(node, network.slack_nodes)
    watched, nodes = first[bound], node[bound]
    identity = sp.csr_array(
        (np.ones(len(nodes)), (np.arange(len(nodes)), nodes)), shape=(len(nodes), network.nodes)
    )
    forms, elements = [identity.astype(complex)], [buses[k] for k in watched]
    scale, sign_node, sign = [np.ones(len(nodes))], [np.full(len(nodes), -1)], [np.ones(len(nodes))]
    for current, percent, ends, way in (
        (network.current_from, network.percent_from, network.from_node, 1.0),
        (network.current_to, network.percent_to, network.to_node, -1.0),
    ):
        known = network.rated_known & network.rated_live
        branches = np.flatnonzero((network.branch_rated >= 0) & (percent > 0))
        branches = branches[known[network.branch_rated[branches]]]
        forms.append(sp.csr_array(current)[branches])
        elements += [network.rated[k] for k in network.branch_rated[branches]]
        scale.append(percent[branches])
        sign_node.append(ends[branches])
        sign.append(np.full(len(branches), way))
    volts = len(nodes)
    return _Phasors(
        sp.csr_array(sp.vstack(forms)),
        tuple(elements),
        VM_PU * volts + LOADING * (len(elements) - volts),
        np.concatenate(scale),
        np.concatenate(sign_node),
        np.concatenate(sign),
    )


def _worth_watching(every: _Phasors, voltage: ComplexArray, limits: OperatingLimits, near: Near) -> IntArray:
    """The quantities that may come to a limit: all of a small grid, the nearest of a large one."""
    value = every.scale * np.abs(every.form @ voltage)
    volts = every.sign_node < 0
    headroom = np.where(
        volts,
        np.minimum(limits.vm_max_pu - value, value - limits.vm_min_pu) / UNIT_VM_PU,
        (limits.loading_max_percent - value) / UNIT_LOADING_PERCENT,
    )
    if near != WATCH:
        # asked for what is near, nothing else is of use
        within = np.where(volts, near.vm_pu / UNIT_VM_PU, near.loading_percent / UNIT_LOADING_PERCENT)
        return np.flatnonzero(headroom < within)
    return np.sort(np.argsort(headroom, kind="stable")[:WATCHED_PER_STEP])


def _undominated(coefficients: FloatArray, rows: _Candidates) -> IntArray:
    """The candidates to keep, tightest first: at most `ROWS_PER_STEP`, none parallel to a tighter one."""
    if not len(rows.value):
        return np.zeros(0, dtype=np.int64)
    norm = np.linalg.norm(coefficients, axis=1)
    # towards the limit that is nearer: the same direction towards opposite limits is not the same row
    towards = np.where(rows.upper - rows.value <= rows.value - rows.lower, 1.0, -1.0)
    direction = coefficients * (towards / np.maximum(norm, 1e-300))[:, None]
    cosine = direction @ direction.T
    scale = np.where(np.array(rows.quantity) == "vm_pu", UNIT_VM_PU, UNIT_LOADING_PERCENT)
    kept: list[int] = []
    for k in np.argsort(rows.headroom / scale, kind="stable").tolist():
        if len(kept) == ROWS_PER_STEP:
            break
        same = [j for j in kept if rows.quantity[j] == rows.quantity[k]]
        if norm[k] > 0 and not (cosine[k, same] > 1 - PARALLEL).any():
            kept.append(k)
    return np.array(sorted(kept), dtype=np.int64)


def joined(parts: list[GridLimits]) -> GridLimits:
    """The rows of all parts, without the quadratic cost of adding one by one; losses of the first part."""
    join = np.concatenate
    return GridLimits(
        terminals=parts[0].terminals,
        step=join([part.step for part in parts]),
        element=tuple(element for part in parts for element in part.element),
        quantity=tuple(quantity for part in parts for quantity in part.quantity),
        coefficients=join([part.coefficients for part in parts]),
        constant=join([part.constant for part in parts]),
        lower=join([part.lower for part in parts]),
        upper=join([part.upper for part in parts]),
        losses=parts[0].losses,
    )
