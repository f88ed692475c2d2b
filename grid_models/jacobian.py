"""The factorised Jacobian of a step: what voltages do when more is drawn at terminals.

In rectangular coordinates the power balance reads Y·V + conj(S/V) = 0 at every load node, with S drawn.
Its derivative is the constant matrix Y plus, on the diagonal, −conj(S/V²)·conj(dV): only the diagonal
changes from step to step. A quantity h(V) with dh = Re(conj(g)·dV) has the sensitivities

    dh/dp = λ · (−(1 − j·q)/conj(V)),    Jᵀ·λ = g

with one transposed solve per quantity, however many terminals there are. Where the terminals are fewer
than the quantities, one solve per terminal gives dV/dp, and with it every quantity there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl

from energy.domain.network import FloatArray, IntArray, Terminal
from grid_models.compiled import CompiledNetwork, ComplexArray


class Jacobian:
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


def drawn_per_unit(terminal: Terminal) -> complex:
    """Complex power drawn per unit of a terminal's power."""
    return 1j if terminal.reactive else complex(1.0, terminal.q_mvar_per_mw)
