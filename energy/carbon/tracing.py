"""Flow tracing by proportional sharing, with losses: what is injected at nodes, followed along the flows.

At every node the power that arrives mixes, and everything that leaves carries the node's mix. Whatever
is injected (MW, kg/h of carbon, MW of one technology) is accumulated along the flows:

    X_j = E_j + Σ_i (R_ij / T_i) · X_i

with E what is injected at node j, R_ij the power that arrives at j from i, and T_i = G_i + Σ R_ji the
through-flow. X / T is Kang's nodal carbon intensity (Kang et al., IEEE Trans. Smart Grid 2015) extended
to losses, and for E = G, X = T. With the power sent S_ij in place of R_ij, X is Bialek's gross flow
(IEE Proc. GTD 143(4), 1996). Losses of a branch have the mix of the node that sends.

Powers in MW; 1 MW at 1 g/kWh carries 1 kg/h.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array, csr_array, identity
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu

from energy.domain.network import BoolArray, FloatArray, IntArray

COMPILED_FROM = 100_000
"""Steps × branches from which the compiled sweep repays its import (about half a second)."""


@dataclass(frozen=True)
class Topology:
    """Which nodes (0 … node_count − 1) each branch connects; `from_node`, `to_node` of shape (branches,)."""

    node_count: int
    from_node: IntArray
    to_node: IntArray

    def at_nodes(self, at_from: FloatArray, at_to: FloatArray) -> FloatArray:
        """Values at the two branch ends, summed at their nodes: (steps, branches) → (steps, nodes)."""
        from_sum, to_sum = self._sums
        return at_from @ from_sum + at_to @ to_sum

    @cached_property
    def _sums(self) -> tuple[csr_array, csr_array]:
        return incidence(self.from_node, self.node_count), incidence(self.to_node, self.node_count)

    @cached_property
    def incident(self) -> tuple[IntArray, IntArray]:
        """Branches at each node: those of node i are ``branches[first[i]:first[i + 1]]``."""
        ends = np.concatenate([self.from_node, self.to_node])
        order = np.argsort(ends, kind="stable")
        first = np.searchsorted(ends[order], np.arange(self.node_count + 1))
        return first, order % max(len(self.from_node), 1)


@dataclass(frozen=True)
class OrientedFlows:
    """Branch flows of some steps, oriented by where the power goes in each step.

    Attributes:
        p_from_mw, p_to_mw: power entering the branch at either end, shape (steps, branches). Both
            positive is a loss at both ends. What arrives is never more than what was sent.
    """

    topology: Topology
    p_from_mw: FloatArray
    p_to_mw: FloatArray

    @cached_property
    def arriving_mw(self) -> FloatArray:
        """Power that arrives at the far end, ``+`` from → to, ``−`` to → from; shape (steps, branches)."""
        forward = np.minimum(np.maximum(self.p_from_mw, 0.0), np.maximum(-self.p_to_mw, 0.0))
        backward = np.minimum(np.maximum(self.p_to_mw, 0.0), np.maximum(-self.p_from_mw, 0.0))
        arriving = forward - backward
        arriving[:, self._loop] = 0.0  # a branch at one node carries nothing anywhere; all it takes is lost
        return arriving

    @cached_property
    def sent_mw(self) -> FloatArray:
        """Power sent towards the far end, signed like `arriving_mw`; 0 where a branch only loses."""
        arriving = self.arriving_mw
        return np.where(arriving > 0, self.p_from_mw, np.where(arriving < 0, -self.p_to_mw, 0.0))

    @cached_property
    def loss_mw(self) -> tuple[FloatArray, FloatArray]:
        """Losses with the mix of the from end and of the to end, each of shape (steps, branches)."""
        at_from = np.maximum(self.p_from_mw, 0.0) - np.maximum(self.arriving_mw, 0.0)
        at_to = np.maximum(self.p_to_mw, 0.0) - np.maximum(-self.arriving_mw, 0.0)
        loop = self._loop
        at_from[:, loop], at_to[:, loop] = self.p_from_mw[:, loop] + self.p_to_mw[:, loop], 0.0
        return at_from, at_to

    @cached_property
    def inflow_mw(self) -> FloatArray:
        """What arrives at each node over branches, shape (steps, nodes)."""
        return self.topology.at_nodes(np.maximum(-self.arriving_mw, 0.0), np.maximum(self.arriving_mw, 0.0))

    @cached_property
    def outflow_mw(self) -> FloatArray:
        """What leaves each node into branches, losses included, shape (steps, nodes)."""
        at_from, at_to = self.loss_mw
        return self.topology.at_nodes(
            np.maximum(self.arriving_mw, 0.0) + at_from, np.maximum(-self.arriving_mw, 0.0) + at_to
        )

    @cached_property
    def drawn_mw(self) -> FloatArray:
        """Net power branches draw from each node as the data say it, shape (steps, nodes)."""
        return self.topology.at_nodes(self.p_from_mw, self.p_to_mw)

    def window(self, first: int, last: int) -> OrientedFlows:
        """The steps from `first` to before `last`."""
        return OrientedFlows(self.topology, self.p_from_mw[first:last], self.p_to_mw[first:last])

    @property
    def _loop(self) -> BoolArray:
        return self.topology.from_node == self.topology.to_node


def incidence(columns: IntArray, count: int) -> csr_array:
    """The matrix that sums rows onto `columns`: ``values @ incidence(columns, count)``."""
    rows = np.arange(len(columns))
    return csr_array((np.ones(len(columns)), (rows, columns)), shape=(len(columns), count))


class Tracer:
    """Accumulates along the flows of one topology, any number of steps at a time.

    `steps` is how many steps will be traced altogether: it decides whether the compiled sweep pays.
    """

    def __init__(self, topology: Topology, steps: int) -> None:
        self.topology = topology
        self._compiled = steps * len(topology.from_node) >= COMPILED_FROM

    def accumulate(self, carried_mw: FloatArray, through_mw: FloatArray, injected: FloatArray) -> FloatArray:
        """X_j = E_j + Σ_i |carried_ij| / through_i · X_i for every step.

        Args:
            carried_mw: shape (steps, branches), ``+`` carries from → to, ``−`` to → from.
            through_mw: what is mixed at each node, shape (steps, nodes); nothing is passed on where it
                is not positive.
            injected: E, shape (steps, nodes, quantities), ≥ 0; quantity 0 says where injection is:
                what no injection reaches is 0.

        Returns:
            X, shape (steps, nodes, quantities).
        """
        if not self._compiled:
            steps = range(len(carried_mw))
            return np.stack([self._solve(carried_mw[t], through_mw[t], injected[t]) for t in steps])
        from energy.carbon.sweep import sweep

        accumulated = np.array(injected, dtype=float, order="C")
        cyclic = sweep(
            *self.topology.incident,
            self.topology.from_node,
            self.topology.to_node,
            np.ascontiguousarray(carried_mw),
            np.ascontiguousarray(through_mw),
            accumulated,
        )
        for step in np.flatnonzero(cyclic):
            accumulated[step] = self._solve(carried_mw[step], through_mw[step], injected[step])
        return accumulated

    def _solve(self, carried_mw: FloatArray, through_mw: FloatArray, injected: FloatArray) -> FloatArray:
        """One step by a sparse factorisation, flow cycles included."""
        ends = self.topology
        sender = np.where(carried_mw > 0, ends.from_node, ends.to_node)
        receiver = np.where(carried_mw > 0, ends.to_node, ends.from_node)
        active = (carried_mw != 0) & (through_mw[sender] > 0)
        sender, receiver = sender[active], receiver[active]
        fraction = np.abs(carried_mw[active]) / through_mw[sender]

        # a lossless loop that nothing is fed into would make the matrix singular: keep what is reached
        reached = self._reached(sender, receiver, injected[:, 0] > 0)
        position = np.full(ends.node_count, -1)
        position[reached] = np.arange(len(reached))
        inside = position[sender] >= 0
        carried = coo_array(
            (fraction[inside], (position[receiver[inside]], position[sender[inside]])),
            shape=(len(reached), len(reached)),
        )
        accumulated = np.zeros_like(injected)
        if len(reached):
            factors = splu((identity(len(reached), format="csc") - carried).tocsc())
            accumulated[reached] = factors.solve(injected[reached])
        return accumulated

    def _reached(self, sender: IntArray, receiver: IntArray, injecting: BoolArray) -> IntArray:
        """Nodes that power reaches from where it is injected, ascending."""
        root, fed = self.topology.node_count, np.flatnonzero(injecting)
        rows = np.concatenate([sender, np.full(len(fed), root)])
        columns = np.concatenate([receiver, fed])
        graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(root + 1, root + 1))
        order = breadth_first_order(graph, root, directed=True, return_predecessors=False)
        return np.sort(order[1:]).astype(np.int64)


@dataclass(frozen=True)
class Gross:
    """What loads stand for when they carry the losses on their way.

    Attributes:
        accumulated: what reaches each node, shape (steps, nodes, quantities).
        useful_mw: what loads draw there or further on, shape (steps, nodes); drawn_mw: what they draw there.
    """

    accumulated: FloatArray
    useful_mw: FloatArray
    drawn_mw: FloatArray

    @cached_property
    def per_mw(self) -> FloatArray:
        """Per MW drawn, shape (steps, nodes, quantities); 0 where nothing is drawn."""
        return np.divide(
            self.accumulated,
            self.useful_mw[:, :, None],
            out=np.zeros_like(self.accumulated),
            where=(self.drawn_mw > 0)[:, :, None],
        )

    @cached_property
    def unreached(self) -> FloatArray:
        """What is injected where no load follows, same shape, at the node where it is lost."""
        return np.where((self.useful_mw > 0)[:, :, None], 0.0, self.accumulated)


def losses_on_loads(
    tracer: Tracer, flows: OrientedFlows, drawn_mw: FloatArray, injected: FloatArray
) -> Gross:
    """What each MW drawn at a node stands for when loads also carry the losses on their way.

    Bialek's gross flow; a branch that feeds losses only counts as loss of the node before it.
    Σ drawn · per_mw + Σ unreached = Σ injected in every step.

    Args:
        drawn_mw: demand that can carry losses, shape (steps, nodes).
        injected: shape (steps, nodes, quantities), as in `Tracer.accumulate`.
    """
    ends, mixed = flows.topology, drawn_mw + flows.outflow_mw
    # upstream from the loads: a node from which no load is reached has only losses behind it
    behind = tracer.accumulate(-flows.arriving_mw, np.maximum(mixed, 0.0), drawn_mw[:, :, None])[:, :, 0]
    forward = np.where(behind[:, ends.to_node] > 0, np.maximum(flows.sent_mw, 0.0), 0.0)
    backward = np.where(behind[:, ends.from_node] > 0, np.maximum(-flows.sent_mw, 0.0), 0.0)
    useful = drawn_mw + ends.at_nodes(forward, backward)
    gross = tracer.accumulate(forward - backward, useful, injected)
    return Gross(gross, useful, drawn_mw)


def lost_share_of_generation(
    tracer: Tracer, flows: OrientedFlows, drawn_mw: FloatArray, through_mw: FloatArray
) -> FloatArray:
    """Which share of what is injected at each node is lost on its way, shape (steps, nodes), 0 to 1.

    Losses on generators (Bialek's net flow): 1 − P/T with P_i = D_i + Σ_l (R_il / T_l) · P_l, the demand that
    node i serves. Every load keeps the mix of its node: the lossless network that net flows make mixes
    as the real one. `drawn_mw` is demand (steps, nodes), `through_mw` the through-flow T.
    """
    served = tracer.accumulate(-flows.arriving_mw, through_mw, drawn_mw[:, :, None])[:, :, 0]
    served_share = np.divide(served, through_mw, out=np.zeros_like(served), where=through_mw > 0)
    lost: FloatArray = 1.0 - served_share
    return lost
