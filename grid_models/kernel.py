"""Numba kernels: the AC fixed point over many steps at once, and what follows from its voltages.

With Y split into slack (s) and load nodes (l), constant power draws S at the load nodes satisfy

    V_l = Y_ll⁻¹ · (−conj(S / V_l) − Y_ls · V_s)

Y_ll is factorised once. Each iteration walks its sparse factors with a block of steps in the innermost
loop, real and imaginary parts apart, so that the compiler turns it into vector instructions. The fixed
point starts from the no-load voltage and reaches the same, upper solution as Newton.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl

from energy.domain.network import BoolArray, FloatArray, IntArray
from grid_models.compiled import CompiledNetwork, ComplexArray

TOLERANCE_PU = 1e-10
MAX_ITERATIONS = 400
LOST_PU = 1e3
"""A voltage change beyond this means a diverged step."""
LOW_SOLUTION = 0.5
"""Below half its no-load voltage a node is past the nose of its power-voltage curve: a solution of the
equations, but not one that a grid is operated at."""

RESULT_STEPS = 64
"""Steps that results are computed for at once, while the voltages of all nodes are in the cache."""

# neither "nnan" nor "ninf": a diverging step must stay visible as NaN
_FAST = {"contract", "reassoc", "arcp", "nsz"}
# every kernel has error_model="numpy": a test of each divisor would keep its loop from becoming vector
# instructions


class Factors(NamedTuple):
    """Sparse LU factors of Y_ll: L without its unit diagonal and U without its diagonal, each by columns
    (starts, rows, real and imaginary values), and where rows and columns stand in them."""

    lower: tuple[IntArray, IntArray, FloatArray, FloatArray]
    upper: tuple[IntArray, IntArray, FloatArray, FloatArray]
    inverse_diagonal: ComplexArray
    row_position: IntArray
    column_position: IntArray


@dataclass(frozen=True)
class FixedPoint:
    """Everything of a network that stays the same over time. Load nodes are all but the slacks."""

    load_nodes: IntArray
    factors: Factors
    source_current: ComplexArray
    no_load: ComplexArray

    @staticmethod
    def of(network: CompiledNetwork) -> FixedPoint:
        load = np.setdiff1d(np.arange(network.nodes), network.slack_nodes)
        admittance = network.admittance.tocsc()
        source_current = -(admittance[load][:, network.slack_nodes] @ network.slack_voltage)
        if not len(load):
            empty = (np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
            none = np.zeros(0, np.int64)
            return FixedPoint(
                load, Factors(empty, empty, np.zeros(0, complex), none, none), source_current, source_current
            )
        lu: Any = spl.splu(
            sp.csc_matrix(admittance[load][:, load]),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        factors = Factors(
            _columns(sp.tril(lu.L, -1)),
            _columns(sp.triu(lu.U, 1)),
            1.0 / lu.U.diagonal(),
            lu.perm_r.astype(np.int64),
            lu.perm_c.astype(np.int64),
        )
        return FixedPoint(load, factors, source_current, lu.solve(source_current))

    def solve(
        self, network: CompiledNetwork, node: IntArray, p_mw: FloatArray, q_mvar: FloatArray
    ) -> tuple[ComplexArray, BoolArray]:
        """Voltages (steps, nodes) and whether each step converged; columns of power draw at `node`.

        A step without solution is NaN. The voltages of one node lie side by side in memory.
        """
        steps = len(p_mw)
        position = np.full(network.nodes, -1)
        position[self.load_nodes] = np.arange(len(self.load_nodes))
        static = network.static_mva[self.load_nodes] / network.base_mva
        voltage = np.empty((network.nodes, steps), dtype=complex)
        voltage[network.slack_nodes] = network.slack_voltage[:, None]
        converged = np.zeros(steps, dtype=bool)
        # a block's six arrays should stay in the second-level cache; no power of two above 32, where all
        # nodes of one step would fall into the same few cache lines
        width = int(np.clip(2**19 // (48 * max(1, len(self.load_nodes))) // 8 * 8, 8, 56))
        _solve_steps(
            self.factors,
            self.source_current,
            self.no_load,
            static,
            self.load_nodes,
            position[node],
            p_mw,
            q_mvar,
            1.0 / network.base_mva,
            width,
            voltage,
            converged,
        )
        voltage[:, ~converged] = np.nan
        return voltage.T, converged


def _columns(matrix: Any) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    matrix = sp.csc_matrix(matrix)
    return (
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int64),
        matrix.data.real.copy(),
        matrix.data.imag.copy(),
    )


@nb.njit(cache=True, fastmath=_FAST, error_model="numpy")
def _eliminate(factor: Any, column: int, x_re: Any, x_im: Any) -> None:
    """Subtract what row `column` of the solution contributes to the rows below or above it."""
    start, rows, values_re, values_im = factor
    for entry in range(start[column], start[column + 1]):
        row, re, im = rows[entry], values_re[entry], values_im[entry]
        for k in range(x_re.shape[1]):
            x_re[row, k] -= re * x_re[column, k] - im * x_im[column, k]
            x_im[row, k] -= re * x_im[column, k] + im * x_re[column, k]


@nb.njit(cache=True, fastmath=_FAST, error_model="numpy")
def _iterate(factors: Any, source: Any, drawn: Any, v: Any, x: Any, moving: Any, change: Any) -> None:
    """One fixed-point iteration of a block of steps; `change` becomes the largest |ΔV|² of each step.

    `drawn`, `v` and the work space `x` have shape (2, load nodes, width): real and imaginary parts. A step
    moves where `moving` is one and stays where it is zero: what its neighbours still do must not touch it.
    """
    lower, upper, inverse_diagonal, row_position, column_position = factors
    s_re, s_im, v_re, v_im, x_re, x_im = drawn[0], drawn[1], v[0], v[1], x[0], x[1]
    count, width = v_re.shape
    for i in range(count):
        row, re, im = row_position[i], source[i].real, source[i].imag
        for k in range(width):
            scale = 1.0 / (v_re[i, k] * v_re[i, k] + v_im[i, k] * v_im[i, k])
            x_re[row, k] = re - (s_re[i, k] * v_re[i, k] + s_im[i, k] * v_im[i, k]) * scale
            x_im[row, k] = im - (s_re[i, k] * v_im[i, k] - s_im[i, k] * v_re[i, k]) * scale
    for column in range(count):
        _eliminate(lower, column, x_re, x_im)
    for column in range(count - 1, -1, -1):
        re, im = inverse_diagonal[column].real, inverse_diagonal[column].imag
        for k in range(width):
            solved = x_re[column, k] * re - x_im[column, k] * im
            x_im[column, k] = x_re[column, k] * im + x_im[column, k] * re
            x_re[column, k] = solved
        _eliminate(upper, column, x_re, x_im)
    change[:] = 0.0
    for i in range(count):
        column = column_position[i]
        for k in range(width):
            d_re, d_im = x_re[column, k] - v_re[i, k], x_im[column, k] - v_im[i, k]
            distance = d_re * d_re + d_im * d_im
            # written so that NaN wins, and as a selection so that it stays a vector instruction
            change[k] = max(change[k], distance)
            v_re[i, k] += moving[k] * d_re
            v_im[i, k] += moving[k] * d_im


@nb.njit(cache=True, fastmath=_FAST, error_model="numpy")
def _solve_steps(
    factors: Any,
    source: Any,
    no_load: Any,
    static: Any,
    load_nodes: Any,
    column_load: Any,
    p_mw: Any,
    q_mvar: Any,
    pu_per_mw: float,
    width: int,
    voltage: Any,
    converged: Any,
) -> None:
    """Fill `voltage` (nodes, steps) at the load nodes and `converged`, `width` steps at a time."""
    count, steps = len(source), len(p_mw)
    drawn, v, x = np.empty((2, count, width)), np.empty((2, count, width)), np.empty((2, count, width))
    change, moving = np.empty(width), np.empty(width)
    for first in range(0, steps, width):
        used = min(width, steps - first)
        for i in range(count):
            drawn[0, i], drawn[1, i] = static[i].real, static[i].imag
            v[0, i], v[1, i] = no_load[i].real, no_load[i].imag
        for k in range(used):
            for column in range(len(column_load)):
                i = column_load[column]
                if i >= 0:
                    drawn[0, i, k] += p_mw[first + k, column] * pu_per_mw
                    drawn[1, i, k] += q_mvar[first + k, column] * pu_per_mw
        moving[:] = 0.0
        moving[:used] = 1.0
        for _ in range(MAX_ITERATIONS):
            _iterate(factors, source, drawn, v, x, moving, change)
            for k in range(used):
                if moving[k] == 1.0 and not TOLERANCE_PU**2 < change[k] < LOST_PU**2:
                    moving[k] = 0.0
                    converged[first + k] = change[k] <= TOLERANCE_PU**2
            if not moving.any():
                break
        for i in range(count):
            node, lowest = load_nodes[i], LOW_SOLUTION * abs(no_load[i])
            for k in range(used):
                # ">=" so that NaN fails
                converged[first + k] &= v[0, i, k] ** 2 + v[1, i, k] ** 2 >= lowest**2
                voltage[node, first + k] = complex(v[0, i, k], v[1, i, k])


def results(network: CompiledNetwork, voltage: ComplexArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Voltage of each bus in pu (steps, buses), NaN where it is not energised; loading in percent of each
    rated element (steps, elements), zero without an energised branch; losses of the branches that lose in
    pu (steps,)."""
    ends = (network.from_node, network.to_node)
    branch = np.arange(len(network.from_node))
    admittances = (
        np.stack(
            [
                np.asarray(matrix[branch, node]).ravel()
                for matrix in (network.current_from, network.current_to)
                for node in ends
            ]
        )
        if len(branch)
        else np.zeros((4, 0), complex)
    )
    # a branch between fused buses has one matrix entry for both ends
    admittances[1::2, ends[0] == ends[1]] = 0.0
    steps = len(voltage)
    vm_pu = np.empty((len(network.bus_node), steps))
    loading = np.zeros((len(network.rated), steps))
    losses = np.zeros(steps)
    _results(
        np.ascontiguousarray(voltage.T),
        network.bus_node,
        *ends,
        admittances,
        network.branch_loses,
        network.branch_rated,
        network.percent_from,
        network.percent_to,
        vm_pu,
        loading,
        losses,
    )
    return vm_pu.T, loading.T, losses


@nb.njit(cache=True, fastmath=_FAST, error_model="numpy")
def _results(
    voltage: Any,
    bus_node: Any,
    from_node: Any,
    to_node: Any,
    admittances: Any,
    branch_loses: Any,
    branch_rated: Any,
    percent_from: Any,
    percent_to: Any,
    vm_pu: Any,
    loading: Any,
    losses: Any,
) -> None:
    """All arrays over time have the steps side by side: (nodes, steps), (buses, steps), (rated, steps)."""
    steps = voltage.shape[1]
    for first in range(0, steps, RESULT_STEPS):
        block = range(first, min(first + RESULT_STEPS, steps))
        for bus in range(len(bus_node)):
            node = bus_node[bus]
            for step in block:
                vm_pu[bus, step] = _magnitude(voltage[node, step]) if node >= 0 else np.nan
        for branch in range(len(from_node)):
            a, b, rated = from_node[branch], to_node[branch], branch_rated[branch]
            for step in block:
                v_from, v_to = voltage[a, step], voltage[b, step]
                i_from = admittances[0, branch] * v_from + admittances[1, branch] * v_to
                i_to = admittances[2, branch] * v_from + admittances[3, branch] * v_to
                if branch_loses[branch]:
                    losses[step] += (v_from * i_from.conjugate() + v_to * i_to.conjugate()).real
                if rated >= 0:
                    at_from = percent_from[branch] * _magnitude(i_from)
                    at_to = percent_to[branch] * _magnitude(i_to)
                    loading[rated, step] = max(loading[rated, step], at_from, at_to)


@nb.njit(cache=True, fastmath=_FAST, error_model="numpy")
def _magnitude(z: Any) -> Any:
    """`abs` without its guard against overflow, which costs more than the rest of a step's results."""
    return np.sqrt(z.real * z.real + z.imag * z.imag)
