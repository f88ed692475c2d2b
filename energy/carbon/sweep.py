"""The compiled sweep behind `energy.carbon.tracing`: one pass per step in the order of the flow."""

from __future__ import annotations

import numba
import numpy as np

from energy.domain.network import BoolArray, FloatArray, IntArray


@numba.njit(cache=True)
def sweep(
    first: IntArray,
    incident: IntArray,
    from_node: IntArray,
    to_node: IntArray,
    carried_mw: FloatArray,
    through_mw: FloatArray,
    accumulated: FloatArray,
) -> BoolArray:
    """Accumulate in place what is injected; returns the steps whose flow has a cycle (left to the caller).

    Branch b is incident to node i for b in ``incident[first[i]:first[i + 1]]``; the other arguments are
    those of `Tracer.accumulate`. Flows seldom turn, so the order of one step is kept for the next as
    long as every branch still runs down it.
    """
    steps, branches = carried_mw.shape
    nodes, quantities = accumulated.shape[1:]
    cyclic = np.zeros(steps, np.bool_)
    order = np.arange(nodes)
    rank = np.arange(nodes)
    waiting = np.empty(nodes, np.int64)
    for t in range(steps):
        carried = carried_mw[t]
        ordered = True
        for b in range(branches):
            w = carried[b]
            if (w > 0 and rank[from_node[b]] > rank[to_node[b]]) or (
                w < 0 and rank[from_node[b]] < rank[to_node[b]]
            ):
                ordered = False
                break
        if not ordered:  # Kahn's topological order
            waiting[:] = 0
            for b in range(branches):
                if carried[b] > 0:
                    waiting[to_node[b]] += 1
                elif carried[b] < 0:
                    waiting[from_node[b]] += 1
            found = 0
            for i in range(nodes):
                if waiting[i] == 0:
                    order[found] = i
                    found += 1
            done = 0
            while done < found:
                i = order[done]
                done += 1
                for k in range(first[i], first[i + 1]):
                    b = incident[k]
                    if carried[b] > 0 and from_node[b] == i:
                        j = to_node[b]
                    elif carried[b] < 0 and to_node[b] == i:
                        j = from_node[b]
                    else:
                        continue
                    waiting[j] -= 1
                    if waiting[j] == 0:
                        order[found] = j
                        found += 1
            if found < nodes:
                cyclic[t] = True
                order[:] = np.arange(nodes)
                rank[:] = order
                continue
            for k in range(nodes):
                rank[order[k]] = k
        values = accumulated[t]
        for k in range(nodes):
            i = order[k]
            through = through_mw[t, i]
            if through <= 0:
                continue
            for m in range(first[i], first[i + 1]):
                b = incident[m]
                w = carried[b]
                if w > 0 and from_node[b] == i:
                    j = to_node[b]
                elif w < 0 and to_node[b] == i:
                    j = from_node[b]
                    w = -w
                else:
                    continue
                share = w / through
                for q in range(quantities):
                    values[j, q] += share * values[i, q]
    return cyclic
