"""Linear limits around an AC operating point, from the factorised Jacobian of every step.

In rectangular coordinates the power balance reads Y·V + conj(S/V) = 0 at every load node, with S drawn.
Its derivative is the constant matrix Y plus, on the diagonal, −conj(S/V²)·conj(dV): only the diagonal
changes from step to step. A quantity h(V) with dh = Re(conj(g)·dV) has the sensitivities

    dh/dp = λ · (−(1 − j·q)/conj(V)),    Jᵀ·λ = g

with one transposed solve per quantity, however many terminals there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl

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
VM_PU: tuple[Quantity, ...] = ("vm_pu",)
LOADING: tuple[Quantity, ...] = ("loading_percent",)


@dataclass(frozen=True)
class _Candidates:
    """Quantities of one step that are worth a row: shape (rows,), gradients (nodes, rows)."""

    element: tuple[ElementId, ...]
    quantity: tuple[Quantity, ...]
    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    headroom: FloatArray
    gradient: ComplexArray


class Linearisation:
    """The rows of one network: `rows` does all steps, each with a factorisation of its own."""

    def __init__(
        self, network: CompiledNetwork, limits: OperatingLimits, buses: tuple[ElementId, ...], near: Near
    ) -> None:
        self._network = network
        self._limits = limits
        self._near = near
        self._buses = buses
        # one voltage row per node: buses fused by closed switches share their voltage
        _, first = np.unique(network.bus_node, return_index=True)
        node = network.bus_node[first]
        bound = (node >= 0) & ~np.isin(node, network.slack_nodes)
        self._watched_bus, self._watched_node = first[bound], node[bound]
        losses = network.admittance - sp.diags_array(network.shunt_mw / network.base_mva)
        self._loss_form: Any = sp.csr_array(losses + losses.conj().T)
        self._jacobian = _Jacobian(network)
        self._branches_of = [np.flatnonzero(network.branch_rated == k) for k in range(len(network.rated))]

    def rows(
        self, state: GridState, p_mw: FloatArray, terminals: tuple[Terminal, ...], steps: IntArray
    ) -> GridLimits:
        """Rows of `steps`; `p_mw` (steps of the state, terminals) is what the terminals draw there."""
        network = self._network
        node_of_bus = dict(zip(network.bus_index.tolist(), network.bus_node.tolist(), strict=True))
        node = np.array([node_of_bus[terminal.bus] for terminal in terminals], dtype=np.int64)
        drawn = np.array(
            [complex(1.0, terminal.q_mvar_per_mw) / network.base_mva for terminal in terminals],
            dtype=np.complex128,
        )
        none = GridLimits.none(terminals)
        if not len(steps) or not len(terminals):
            return none
        parts = []
        for step in steps.tolist():
            voltage = state.voltage[step]
            rows = self._candidates(state, step)
            gradient = np.column_stack([rows.gradient, self._loss_form @ voltage * network.base_mva])
            sensitivity = self._jacobian.sensitivity(voltage, gradient, node, drawn)
            kept = _undominated(sensitivity[:-1], rows)
            coefficients, losses = sensitivity[kept], sensitivity[-1:]
            parts.append(
                GridLimits(
                    terminals=terminals,
                    step=np.full(len(kept), step),
                    element=tuple(rows.element[k] for k in kept),
                    quantity=tuple(rows.quantity[k] for k in kept),
                    coefficients=coefficients,
                    constant=rows.value[kept] - coefficients @ p_mw[step],
                    lower=rows.lower[kept],
                    upper=rows.upper[kept],
                    loss_step=np.array([step]),
                    loss_constant=state.losses_mw[step] - losses @ p_mw[step],
                    loss_coefficients=losses,
                )
            )
        return _joined(none, parts)

    def _candidates(self, state: GridState, step: int) -> _Candidates:
        network, limits, near, voltage = self._network, self._limits, self._near, state.voltage[step]
        vm = np.abs(voltage[self._watched_node])
        vm_headroom = np.minimum(limits.vm_max_pu - vm, vm - limits.vm_min_pu)
        low = np.flatnonzero(vm_headroom < near.vm_pu)
        loading = state.loading_percent[step]
        with np.errstate(invalid="ignore"):
            loaded = np.flatnonzero(loading > limits.loading_max_percent - near.loading_percent)
        gradient = np.zeros((network.nodes, len(low) + len(loaded)), dtype=complex)
        nodes = self._watched_node[low]
        gradient[nodes, np.arange(len(low))] = voltage[nodes] / np.abs(voltage[nodes])
        signed = np.zeros(len(loaded))
        for k, rated in enumerate(loaded.tolist()):
            signed[k], gradient[:, len(low) + k] = self._signed_loading(rated, voltage)
        buses = self._watched_bus[low]
        return _Candidates(
            element=tuple(self._buses[k] for k in buses) + tuple(network.rated[k] for k in loaded),
            quantity=(*VM_PU * len(low), *LOADING * len(loaded)),
            value=np.concatenate([vm[low], signed]),
            lower=np.repeat([limits.vm_min_pu, -limits.loading_max_percent], [len(low), len(loaded)]),
            upper=np.repeat([limits.vm_max_pu, limits.loading_max_percent], [len(low), len(loaded)]),
            headroom=np.concatenate([vm_headroom[low], limits.loading_max_percent - loading[loaded]]),
            gradient=gradient,
        )

    def _signed_loading(self, rated: int, voltage: ComplexArray) -> tuple[float, ComplexArray]:
        """The loading with the sign of the active power that enters at the from (hv) end, and its gradient.

        For a three-winding transformer both are those of its most loaded winding.
        """
        network = self._network
        worst, answer = -1.0, (0.0, np.zeros(network.nodes, dtype=complex))
        for branch in self._branches_of[rated].tolist():
            ends = network.from_node[branch], network.to_node[branch]
            entering = network.current_from[[branch]], network.current_to[[branch]]
            forward = (voltage[ends[0]] * np.conj(entering[0] @ voltage)[0]).real >= 0
            for row, percent in zip(
                entering, (network.percent_from[branch], network.percent_to[branch]), strict=True
            ):
                current = (row @ voltage)[0]
                if percent == 0 or percent * abs(current) <= worst:
                    continue
                worst = percent * abs(current)
                sign = 1.0 if forward else -1.0
                direction = current / abs(current) if current else 1.0
                gradient = sign * percent * direction * np.conj(row.toarray()[0])
                answer = sign * worst, gradient
        return answer


class _Jacobian:
    """Derivative of the current balance at the load nodes, unknowns (Re V, Im V), then Q of PV nodes."""

    def __init__(self, network: CompiledNetwork) -> None:
        self._network = network
        self._load = np.setdiff1d(np.arange(network.nodes), network.slack_nodes)
        self._position = np.full(network.nodes, -1)
        self._position[self._load] = np.arange(len(self._load))
        self._pv = self._position[network.pv_nodes]
        inner = network.admittance[self._load][:, self._load]
        self._constant = sp.csc_array(sp.block_array([[inner.real, -inner.imag], [inner.imag, inner.real]]))

    def sensitivity(
        self, voltage: ComplexArray, gradient: ComplexArray, node: IntArray, drawn: ComplexArray
    ) -> FloatArray:
        """dh/dp (quantities, terminals) of quantities with `gradient` (nodes, quantities)."""
        count = len(self._load)
        matrix = self._matrix(voltage)
        right = np.zeros((matrix.shape[0], gradient.shape[1]))
        right[:count], right[count : 2 * count] = gradient[self._load].real, gradient[self._load].imag
        factorised: Any = spl.splu(matrix)
        adjoint = factorised.solve(right, trans="T")
        position = self._position[node]
        effect = np.where(position >= 0, -np.conj(drawn / voltage[node]), 0.0)
        result: FloatArray = adjoint[position].T * effect.real + adjoint[count + position].T * effect.imag
        return result

    def _matrix(self, voltage: ComplexArray) -> Any:
        network, load, count = self._network, self._load, len(self._load)
        v = voltage[load]
        # drawn power from the solution itself, whatever draws it
        drawn = -v * np.conj((network.admittance @ voltage)[load])
        slope = -np.conj(drawn / v**2)
        matrix = self._constant + sp.block_array(
            [
                [sp.diags_array(slope.real), sp.diags_array(slope.imag)],
                [sp.diags_array(slope.imag), sp.diags_array(-slope.real)],
            ]
        )
        if not len(self._pv):
            return sp.csc_matrix(matrix)
        # reactive power follows so that |V| stays
        pv, unknowns = self._pv, np.arange(len(self._pv))
        injected = -1j / np.conj(v[pv])
        shape = (2 * count, len(pv))
        columns = sp.coo_array((injected.real, (pv, unknowns)), shape=shape) + sp.coo_array(
            (injected.imag, (count + pv, unknowns)), shape=shape
        )
        fixed = sp.coo_array((v[pv].real, (pv, unknowns)), shape=shape) + sp.coo_array(
            (v[pv].imag, (count + pv, unknowns)), shape=shape
        )
        return sp.csc_matrix(sp.block_array([[matrix, columns], [fixed.T, None]]))


def _undominated(coefficients: FloatArray, rows: _Candidates) -> IntArray:
    """The candidates to keep, tightest first: at most `ROWS_PER_STEP`, none parallel to a tighter one."""
    if not len(rows.value):
        return np.zeros(0, dtype=np.int64)
    norm = np.linalg.norm(coefficients, axis=1)
    # towards the limit that is nearer: the same direction towards opposite limits is not the same row
    towards = np.where(rows.upper - rows.value <= rows.value - rows.lower, 1.0, -1.0)
    direction = coefficients * (towards / np.maximum(norm, 1e-300))[:, None]
    cosine = direction @ direction.T
    scale = np.where(np.array(rows.quantity) == "vm_pu", 0.01, 10.0)
    kept: list[int] = []
    for k in np.argsort(rows.headroom / scale, kind="stable").tolist():
        if len(kept) == ROWS_PER_STEP:
            break
        same = [j for j in kept if rows.quantity[j] == rows.quantity[k]]
        if norm[k] > 0 and not (cosine[k, same] > 1 - PARALLEL).any():
            kept.append(k)
    return np.array(sorted(kept), dtype=np.int64)


def _joined(none: GridLimits, parts: list[GridLimits]) -> GridLimits:
    """All parts in one, without the quadratic cost of adding them one by one."""
    join = np.concatenate
    return GridLimits(
        terminals=none.terminals,
        step=join([part.step for part in parts]),
        element=sum((part.element for part in parts), ()),
        quantity=sum((part.quantity for part in parts), ()),
        coefficients=join([part.coefficients for part in parts]),
        constant=join([part.constant for part in parts]),
        lower=join([part.lower for part in parts]),
        upper=join([part.upper for part in parts]),
        loss_step=join([part.loss_step for part in parts]),
        loss_constant=join([part.loss_constant for part in parts]),
        loss_coefficients=join([part.loss_coefficients for part in parts]),
    )
