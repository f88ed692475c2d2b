"""Linear limits around an AC operating point, from the factorised Jacobian of every step.

In rectangular coordinates the power balance reads Y·V + conj(S/V) = 0 at every load node, with S drawn.
Its derivative is the constant matrix Y plus, on the diagonal, −conj(S/V²)·conj(dV): only the diagonal
changes from step to step. A quantity h(V) with dh = Re(conj(g)·dV) has the sensitivities

    dh/dp = λ · (−(1 − j·q)/conj(V)),    Jᵀ·λ = g

with one transposed solve per quantity, however many terminals there are. Where the terminals are fewer
than the quantities, one solve per terminal gives dV/dp, and with it every quantity there is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from threadpoolctl import ThreadpoolController

from energy.domain.network import (
    ElementId,
    FloatArray,
    GridLimits,
    GridState,
    IntArray,
    OperatingLimits,
    Quantity,
    Terminal,
)
from grid_models.compiled import CompiledNetwork, ComplexArray

_LIBRARIES = ThreadpoolController()
"""The matrices of one step are small: threads would wait for each other longer than they compute."""
_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")
"""The matrices of a step are small: BLAS threads would wait for each other longer than they compute."""
UNIT_VM_PU, UNIT_LOADING_PERCENT = 0.01, 10.0
"""So much of either counts as equally far from a limit."""
FAINT = 0.03
"""A terminal that changes the losses of a branch by less than this share of the most is none of its own."""
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
    `base_mw` is the power there. Losses of part k are Σ |w|² over `loss_constant[k] + loss_matrix[k] · p`.
    """

    phasors: _Phasors
    constant: ComplexArray
    matrix: ComplexArray
    direction: ComplexArray
    base_mw: FloatArray
    total: float
    total_slope: FloatArray
    loss_constant: tuple[ComplexArray, ...]
    loss_matrix: tuple[ComplexArray, ...]


class LinearModel:
    """Voltages and currents as linear functions of the power at terminals, around an AC solution.

    Phasors are linear where their magnitudes are not: a limit on a magnitude is a tangent at whatever
    point is asked for, and losses are a sum of squares. So the model says what a proposal far from the
    operating point breaks and loses, without another power flow. The tangents of upper limits and of losses
    are outer approximations of convex sets; a lower voltage limit is not convex, its tangent is stricter.
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
        parts: IntArray,
        near: Near,
    ) -> None:
        self._limits, self._terminals = limits, terminals
        # what only a price is asked of must not sway which rows are kept
        self._flexible = np.array([terminal.flexible for terminal in terminals], dtype=bool)
        node_of_bus = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
        node = np.array([node_of_bus[terminal.bus] for terminal in terminals], dtype=np.int64)
        drawn = np.array([_drawn(terminal) / network.base_mva for terminal in terminals], np.complex128)
        every, jacobian = _phasors(network, buses), _Jacobian(network)
        losses = network.admittance - sp.diags_array(network.shunt_mw / network.base_mva)
        loss_form: Any = sp.csr_array(losses + losses.conj().T)
        forms = [_loss_form(network, branch) for branch in parts.tolist()]
        self._steps: dict[int, _Step] = {}
        for step in steps.tolist():
            voltage = state.voltage[step]
            phasors = every.chosen(_worth_watching(every, voltage, limits, near))
            complex_forms = sp.csr_array(sp.vstack([phasors.form, *forms]))
            matrix, total_slope = jacobian.slopes(
                voltage, complex_forms, loss_form @ voltage * network.base_mva, node, drawn
            )
            constant = complex_forms @ voltage - matrix @ p_mw[step]
            edges = len(phasors.element) + np.concatenate([[0], np.cumsum([f.shape[0] for f in forms])])
            spans = [slice(int(a), int(b)) for a, b in pairwise(edges)]
            self._steps[step] = _Step(
                phasors=phasors,
                constant=constant[: len(phasors.element)],
                matrix=matrix[: len(phasors.element)],
                direction=np.where(phasors.sign_node >= 0, voltage[phasors.sign_node], 0.0),
                base_mw=p_mw[step],
                total=float(state.losses_mw[step]),
                total_slope=total_slope,
                loss_constant=tuple(constant[span] for span in spans),
                loss_matrix=tuple(matrix[span] for span in spans),
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
        """Tangents at `p_mw` (steps of the horizon, terminals; the operating point by default): limits
        that are `near` there, and the losses of every part.

        Part 0 is what no other part holds; it is linearised at the operating point whatever is asked.
        """
        parts = [GridLimits.none(self._terminals)]
        for step in (self.steps if steps is None else steps).tolist():
            if step not in self._steps:
                continue
            model = self._steps[step]
            at = model.base_mw if p_mw is None else p_mw[step]
            if limits:
                parts.append(self._limit_rows(step, model, at, near))
            if losses:
                parts.append(self._loss_rows(step, model, at))
        return joined(parts)

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

    def _loss_rows(self, step: int, model: _Step, p_mw: FloatArray) -> GridLimits:
        rest_slope = model.total_slope.copy()
        rest = model.total - float(rest_slope @ model.base_mw)
        value: list[float] = []
        slope: list[FloatArray] = []
        for constant, matrix in zip(model.loss_constant, model.loss_matrix, strict=True):
            at_base, here = constant + matrix @ model.base_mw, constant + matrix @ p_mw
            base_slope: FloatArray = 2 * (np.conj(at_base) @ matrix).real
            rest_slope -= base_slope
            rest -= float((np.abs(at_base) ** 2).sum() - base_slope @ model.base_mw)
            own_slope: FloatArray = 2 * (np.conj(here) @ matrix).real
            # power elsewhere acts through the voltage alone: it stays in the part that is dense anyway
            faint = np.abs(own_slope) < FAINT * np.abs(own_slope[self._flexible]).max(initial=0.0)
            faint_base = np.where(faint, base_slope, 0.0)
            own_slope = np.where(faint, 0.0, own_slope)
            rest_slope += faint_base
            rest -= float(faint_base @ model.base_mw)
            slope.append(own_slope)
            value.append(float((np.abs(here) ** 2).sum() - own_slope @ p_mw))
        return replace(
            GridLimits.none(self._terminals),
            loss_step=np.full(1 + len(value), step),
            loss_constant=np.array([rest, *value]),
            loss_coefficients=np.array([rest_slope, *slope]),
            loss_part=np.arange(1 + len(value)),
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


def largest_losses(network: CompiledNetwork, state: GridState, count: int) -> IntArray:
    """The `count` internal branches that lose most over the steps of `state`, ascending."""
    solved = state.voltage[state.converged]
    lost = np.zeros(len(network.from_node))
    for ends, entering in ((network.from_node, network.current_from), (network.to_node, network.current_to)):
        lost += (solved[:, ends] * np.conj((entering @ solved.T).T)).real.sum(axis=0)
    lost[~network.branch_loses] = 0.0
    ranked = np.argsort(-lost, kind="stable")[:count]
    return np.sort(ranked[lost[ranked] > 0])


def _drawn(terminal: Terminal) -> complex:
    """Complex power drawn per unit of a terminal's power."""
    return 1j if terminal.reactive else complex(1.0, terminal.q_mvar_per_mw)


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


def _loss_form(network: CompiledNetwork, branch: int) -> Any:
    """Rows w with Σ |w · V|² = the losses of a branch in MW: a root of its hermitian loss matrix."""
    ends = np.array([network.from_node[branch], network.to_node[branch]])
    admittance = np.array(
        [
            sp.csr_array(entering)[[branch]].toarray()[0][ends]
            for entering in (network.current_from, network.current_to)
        ]
    )
    size, vectors = np.linalg.eigh((admittance + admittance.conj().T) / 2 * network.base_mva)
    kept = size > 1e-9 * size.max()
    root = np.sqrt(size[kept])[:, None] * vectors[:, kept].conj().T
    rows = np.repeat(np.arange(len(root)), 2)
    return sp.csr_array((root.ravel(), (rows, np.tile(ends, len(root)))), shape=(len(root), network.nodes))


class _Jacobian:
    """Derivative of the current balance at the load nodes, unknowns (Re V, Im V), then Q of PV nodes."""

    def __init__(self, network: CompiledNetwork) -> None:
        self._network = network
        self._load = np.setdiff1d(np.arange(network.nodes), network.slack_nodes)
        self._position = np.full(network.nodes, -1)
        self._position[self._load] = np.arange(len(self._load))
        self._pv = self._position[network.pv_nodes]
        inner = sp.coo_array(network.admittance[self._load][:, self._load])
        count, (row, column) = len(self._load), inner.coords
        every = np.arange(count)
        # the entries that change from step to step stand last: those of the diagonals of the four blocks
        self._row = np.concatenate([row, row, row + count, row + count, every, every, *2 * [every + count]])
        self._column = np.concatenate(
            [column, column + count, column, column + count, *2 * [every, every + count]]
        )
        self._constant = np.concatenate([inner.data.real, -inner.data.imag, inner.data.imag, inner.data.real])

    def slopes(
        self, voltage: ComplexArray, form: Any, gradient: ComplexArray, node: IntArray, drawn: ComplexArray
    ) -> tuple[ComplexArray, FloatArray]:
        """d(form · V)/dp, shape (rows, terminals), and dh/dp of the h with dh = Re(conj(gradient)·dV)."""
        rows = form.shape[0]
        if len(node) <= 2 * rows + 1:
            derivative = self._derivative(voltage, node, drawn)
            return form @ derivative, (gradient.conj() @ derivative).real
        gradients = form.conj().T.toarray()
        adjoint = self._adjoint(voltage, np.column_stack([gradients, 1j * gradients, gradient]), node, drawn)
        return adjoint[:rows] + 1j * adjoint[rows : 2 * rows], adjoint[2 * rows]

    def _derivative(self, voltage: ComplexArray, node: IntArray, drawn: ComplexArray) -> ComplexArray:
        """dV/dp, shape (nodes, terminals)."""
        count, factorised = len(self._load), self._factorised(voltage)
        inside = np.flatnonzero(self._position[node] >= 0)
        effect = -np.conj(drawn[inside] / voltage[node[inside]])
        right = np.zeros((count * 2 + len(self._pv), len(node)))
        right[self._position[node[inside]], inside] = effect.real
        right[count + self._position[node[inside]], inside] = effect.imag
        solved = factorised.solve(right)
        derivative = np.zeros((len(voltage), len(node)), complex)
        derivative[self._load] = solved[:count] + 1j * solved[count : 2 * count]
        return derivative

    def _adjoint(
        self, voltage: ComplexArray, gradient: ComplexArray, node: IntArray, drawn: ComplexArray
    ) -> FloatArray:
        """dh/dp (quantities, terminals) of quantities with `gradient` (nodes, quantities)."""
        count = len(self._load)
        right = np.zeros((2 * count + len(self._pv), gradient.shape[1]))
        right[:count], right[count : 2 * count] = gradient[self._load].real, gradient[self._load].imag
        adjoint = self._factorised(voltage).solve(right, trans="T")
        position = self._position[node]
        effect = np.where(position >= 0, -np.conj(drawn / voltage[node]), 0.0)
        result: FloatArray = adjoint[position].T * effect.real + adjoint[count + position].T * effect.imag
        return result

    def _factorised(self, voltage: ComplexArray) -> Any:
        network, load, count = self._network, self._load, len(self._load)
        v = voltage[load]
        # drawn power from the solution itself, whatever draws it
        drawn = -v * np.conj((network.admittance @ voltage)[load])
        slope = -np.conj(drawn / v**2)
        # reactive power of PV nodes follows so that |V| stays
        pv, unknown = self._pv, 2 * count + np.arange(len(self._pv))
        injected = -1j / np.conj(v[pv])
        entries = [self._constant, slope.real, slope.imag, slope.imag, -slope.real]
        matrix = sp.csc_matrix(
            (
                np.concatenate([*entries, injected.real, injected.imag, v[pv].real, v[pv].imag]),
                (
                    np.concatenate([self._row, pv, count + pv, unknown, unknown]),
                    np.concatenate([self._column, unknown, unknown, pv, count + pv]),
                ),
            ),
            shape=2 * (2 * count + len(pv),),
        )
        # almost symmetric in its pattern: pivots from the diagonal fill it least
        return spl.splu(
            matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=1e-2, options={"SymmetricMode": True}
        )


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
    """All parts in one, without the quadratic cost of adding them one by one."""
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
        loss_step=join([part.loss_step for part in parts]),
        loss_constant=join([part.loss_constant for part in parts]),
        loss_coefficients=join([part.loss_coefficients for part in parts]),
        loss_part=join([part.loss_part for part in parts]),
    )
