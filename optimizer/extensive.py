"""The extensive form of a problem with scenarios: one program, a part for each scenario.

Birge and Louveaux, Introduction to Stochastic Programming (2011), chapter 2: costs and shortfalls are
weighted with the scenario's probability, and the controls of the first stage are equal in all of them
(non-anticipativity). A limit that may be breached with some probability gets one binary per scenario
(Luedtke, Ahmed and Nemhauser 2010, doi:10.1007/s10107-008-0247-4); where it is one, the limit binds in
no step of that scenario.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray
from optimizer.breaches import budget
from optimizer.model import build
from optimizer.problem import DispatchProblem
from optimizer.program import Part, Program
from optimizer.solver import LinearProgram

BUDGET = 1e-9
"""How far the probabilities of breaches may be above what is allowed, in sum: rounding."""

Entries = tuple[Any, Any, Any]
"""Rows, columns and values of a part of a matrix."""


class _Ties:
    """Rows over all scenarios, and the columns that come with them, under construction."""

    def __init__(self, columns: int) -> None:
        self.columns, self.rows = columns, 0
        self.names: list[str] = []
        self.row_names: list[str] = []
        self._first = columns
        self._entries: list[Entries] = []
        self._lower: list[FloatArray] = []
        self._upper: list[FloatArray] = []

    def binary(self, name: str, *labels: str) -> int:
        """One more column, 0 or 1."""
        self.names.append(f"{name}({','.join(labels)})")
        self.columns += 1
        return self.columns - 1

    def add(self, names: Sequence[str], terms: Sequence[tuple[Any, Any]], lower: Any, upper: Any) -> None:
        """Rows lower ≤ Σ value · column ≤ upper, one per name."""
        count = len(names)
        rows = self.rows + np.arange(count)
        for columns, values in terms:
            self._entries.append((rows, np.broadcast_to(columns, count), np.broadcast_to(values, count)))
        self._lower.append(np.broadcast_to(np.asarray(lower, float), count))
        self._upper.append(np.broadcast_to(np.asarray(upper, float), count))
        self.rows += count
        self.row_names += names

    def joined(self, programs: Sequence[LinearProgram], weights: Sequence[float]) -> LinearProgram:
        """The programs side by side, costs weighted, with these rows below them."""
        new = self.columns - self._first
        row, column, value = (
            np.concatenate([np.zeros(0, kind), *(entry[k] for entry in self._entries)])
            for k, kind in enumerate((np.int64, np.int64, np.float64))
        )
        side_by_side = sp.block_diag([program.matrix for program in programs], format="csr")
        side_by_side.resize((side_by_side.shape[0], self.columns))
        ties = sp.csr_array((value, (row, column)), shape=(self.rows, self.columns))
        firsts = np.cumsum([0, *(len(program.cost) for program in programs)])
        integers = [p.integer + first for p, first in zip(programs, firsts[:-1], strict=True)]
        return LinearProgram(
            sp.csc_array(sp.vstack([side_by_side, ties])),
            np.concatenate([*(p.cost * w for p, w in zip(programs, weights, strict=True)), np.zeros(new)]),
            np.concatenate([*(p.lower for p in programs), np.zeros(new)]),
            np.concatenate([*(p.upper for p in programs), np.ones(new)]),
            np.concatenate([*(p.row_lower for p in programs), *self._lower]),
            np.concatenate([*(p.row_upper for p in programs), *self._upper]),
            np.concatenate([*integers, np.arange(self._first, self.columns)]),
        )


def build_scenarios(problem: DispatchProblem) -> tuple[Program, ...]:
    """The program of each scenario alone, in the order of `problem.scenarios`."""
    return tuple(build(problem.given(scenario)) for scenario in problem.scenarios)


def extensive(problem: DispatchProblem, alone: Sequence[Program]) -> Program:
    """One program of all scenarios; `InputError` where an asset says nothing about its controls."""
    parts = tuple(_placed(problem, alone))
    labels = [scenario.id for scenario in problem.scenarios]
    ties = _Ties(parts[-1].columns.stop)
    common = [part.columns.start + first_stage_controls(part, problem.first_stage_steps) for part in parts]
    for label, columns in zip(labels[1:], common[1:], strict=True):
        if len(columns) != len(common[0]):
            what = (
                f"{label!r} and {labels[0]!r} leave different decisions open: a p_min_kw is zero in one alone"
            )
            raise InputError(Fault("scenarios", f"{what}; make it zero in both, or in neither"))
        names = [f"common_control({label},{position})" for position in range(len(columns))]
        ties.add(names, [(columns, 1.0), (common[0], -1.0)], 0.0, 0.0)
    for connection in problem.connections.values():
        if connection.breach_probability > 0:
            allowed = budget(connection.breach_probability, connection.breach_confidence, len(parts))
            _breaches(ties, connection.id, allowed, parts, labels)

    def named(names: list[list[str]], more: list[str]) -> list[str]:
        of_parts = zip(labels, names, strict=True)
        return [name.replace("(", f"({label},", 1) for label, part in of_parts for name in part] + more

    return Program(
        ties.joined([program.linear for program in alone], [part.probability for part in parts]),
        parts,
        lambda: named([program.names() for program in alone], ties.names),
        lambda: named([program.row_names() for program in alone], ties.row_names),
        alone[0].cost_scale,
    )


def _placed(problem: DispatchProblem, alone: Sequence[Program]) -> Iterator[Part]:
    """Each scenario's part with its place among the others."""
    column = row = 0
    for scenario, program in zip(problem.scenarios, alone, strict=True):
        (part,) = program.parts
        columns = slice(column, column + part.columns.stop)
        rows = slice(row, row + part.rows.stop)
        yield replace(part, columns=columns, rows=rows, probability=scenario.probability)
        column, row = columns.stop, rows.stop


def first_stage_controls(part: Part, steps: int) -> IntArray:
    """The columns of the controls of the first steps, counted from the part's first."""
    found = [np.zeros(0, np.int64)]
    for rows in part.assets:
        controls = rows.controls(steps)
        if controls is None:
            what = type(rows).__name__.removesuffix("Rows")
            raise InputError(Fault("scenarios", f"are not supported together with assets of {what}"))
        found.append(controls)
    return np.concatenate(found)


def _breaches(
    ties: _Ties, connection: str, allowed: float, parts: Sequence[Part], labels: Sequence[str]
) -> None:
    """One binary per scenario that lifts the connection's limits there, and the probability of all; without
    any probability the limits hold in every scenario."""
    chances = []
    for label, part in zip(labels, parts, strict=True):
        binary = ties.binary("breached", label, connection) if allowed > 0 else None
        if binary is not None:
            chances.append((binary, part.probability))
        for way, limit in enumerate(part.connections.breachable):
            if limit.connection != connection:
                continue
            if not np.isfinite(limit.most_kw).all():
                raise InputError(
                    Fault("connections", f"{connection!r}: breach_probability needs assets of finite power")
                )
            terms: list[tuple[Any, Any]] = [(limit.flows + part.columns.start, 1.0)]
            if binary is not None:
                terms.append((binary, -np.clip(limit.most_kw - limit.limit_kw, 0.0, None)))
            if len(limit.overruns):
                terms.append((limit.overruns + part.columns.start, -1.0))
            names = [f"breach({label},{connection},{way},{step})" for step in range(len(limit.flows))]
            ties.add(names, terms, -np.inf, limit.limit_kw)
    if chances:
        ties.add([f"breach_budget({connection})"], chances, -np.inf, allowed + BUDGET)
