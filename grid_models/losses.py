"""Losses as squares of flows: which sums of the power at terminals bend the losses of a grid, and how much.

In a linear phasor model a branch loses Σ |w|² with w linear in the power p at terminals. Its part of the
curvature is the square of one real direction d · p, since the phasors of a branch turn little. Branches in
series, and whatever else moves with the same power, share a flow. A grid of hundreds of branches has some
dozens of flows that matter; what they leave of the losses is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, GridState, IntArray, Losses, Terminal
from grid_models.compiled import CompiledNetwork
from grid_models.jacobian import Jacobian, drawn_per_unit

FLOWS_MAX = 24
"""So many flows at most; the others stay in the linear rest."""
WORTH = 1e-3
"""A flow is left out where its losses bend by less than this share of what all bend by."""
ALIKE = 0.99
"""Directions with a larger cosine are one flow."""
FAINT = 0.03
"""A terminal that moves a flow by less than this share of the most does not belong to it."""
WHOLE = 0.8
"""A terminal that moves a flow by more than this share of the most counts as all of it: where feeders are
radial, flows are sums of the power behind a branch, and one flow is a sum of others."""


@dataclass(frozen=True)
class LossFlows:
    """Flows, in MW per MW drawn at each terminal (shape (flows, terminals)), and what each loses: `curvature`
    times its square, MW per MW²."""

    directions: FloatArray
    curvature: FloatArray

    @staticmethod
    def none(terminals: int) -> LossFlows:
        """No flow: losses are linear."""
        return LossFlows(np.zeros((0, terminals)), np.zeros(0))

    def flow_mw(self, p_mw: FloatArray) -> FloatArray:
        """The flows when terminals draw `p_mw`, shape (steps, flows)."""
        return p_mw @ self.directions.T

    def squares_mw(self, p_mw: FloatArray) -> FloatArray:
        """What the flows lose when terminals draw `p_mw`, shape (steps, flows)."""
        return np.asarray(self.curvature * self.flow_mw(p_mw) ** 2, float)

    def tangents(self, step: IntArray, flow: IntArray, flow_mw: FloatArray) -> Losses:
        """A tangent of flow `flow[l]` in step `step[l]` for every l, where flows are `flow_mw`, shape (steps,
        flows)."""
        at_mw = flow_mw[step, flow]
        slope = 2 * self.curvature[flow] * at_mw
        return replace(
            Losses.none(self.directions.shape[1]),
            directions=self.directions,
            rest_slope=np.zeros((0, len(self.curvature))),
            step=step,
            flow=flow,
            constant=-slope * at_mw / 2,
            slope=slope,
        )

    def over_flows(self, coefficients: FloatArray) -> FloatArray:
        """The slopes over flows that come closest to `coefficients` over terminals."""
        return np.asarray(coefficients @ self._inverse, float)

    @cached_property
    def _inverse(self) -> FloatArray:
        return np.asarray(np.linalg.pinv(self.directions), float)


def loss_flows(
    network: CompiledNetwork,
    state: GridState,
    terminals: Sequence[Terminal],
    node: IntArray,
    reach_mw: tuple[FloatArray, FloatArray],
) -> LossFlows:
    """The flows that bend losses most when terminals draw between the two of `reach_mw`, shape (steps,
    terminals) each, seen from the step of `state` that loses most."""
    lost = np.where(state.converged, state.losses_mw, -np.inf)
    losing = np.flatnonzero(network.branch_loses).tolist()
    if not np.isfinite(lost.max()) or not losing or not terminals:
        return LossFlows.none(len(terminals))
    voltage = state.voltage[int(np.argmax(lost))]
    drawn = np.array([drawn_per_unit(terminal) / network.base_mva for terminal in terminals], np.complex128)
    forms = [_loss_form(network, branch) for branch in losing]
    matrix, _ = Jacobian(network).slopes(
        voltage, sp.csr_array(sp.vstack(forms)), np.zeros(len(voltage), complex), node, drawn
    )
    # turned so that most of it is real; what is left across is a direction of its own
    turned = matrix * np.exp(-0.5j * np.angle((matrix**2).sum(axis=1)))[:, None]
    rows = np.concatenate([turned.real, turned.imag])
    rows[np.abs(rows) < FAINT * np.abs(rows).max(axis=1, keepdims=True)] = 0.0
    size = np.linalg.norm(rows, axis=1)
    rows, size = rows[size > 0], size[size > 0]
    rows *= np.where(rows.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    if not len(rows):
        return LossFlows.none(len(terminals))
    directions, curvature = _merged(rows / size[:, None], size**2)
    largest = np.abs(directions).max(axis=1, initial=0.0)
    share, curvature = directions / largest[:, None], curvature * largest**2
    whole = np.where(np.abs(share) > WHOLE, np.sign(share), share)
    directions, same = np.unique(whole, axis=0, return_inverse=True)
    curvature = np.bincount(same.ravel(), curvature, minlength=len(directions)).astype(float)
    span = (np.abs(directions) @ (reach_mw[1] - reach_mw[0]).T).max(axis=1, initial=0.0)
    worth = curvature * span**2
    ranked = np.argsort(-worth, kind="stable")[:FLOWS_MAX]
    kept = np.sort(ranked[worth[ranked] > WORTH * worth.sum()])
    return LossFlows(directions[kept], curvature[kept])


def _merged(rows: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Unit rows with those that are alike as one, and the sums of their weights."""
    leaders = np.zeros((0, rows.shape[1]))
    total: list[float] = []
    for k in np.argsort(-weight, kind="stable").tolist():
        cosine = leaders @ rows[k]
        best = int(np.argmax(np.abs(cosine))) if len(cosine) else -1
        if best >= 0 and abs(cosine[best]) > ALIKE:
            total[best] += weight[k] * cosine[best] ** 2
        else:
            leaders = np.vstack([leaders, rows[k]])
            total.append(float(weight[k]))
    return leaders, np.array(total)


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
