"""Avoided emissions: the stored counterfactual against what happened, in the terms of crediting.

    reduction = baseline − project − leakage

as in ISO 14064-2 and the methodologies of the Clean Development Mechanism. The baseline is the same
period without control (charging on arrival, storage idle, nothing curtailed). Two statements, never added:

* ``average``: sources less exports, as traced. Leakage: the carbon of what tanks hold less at the end than
  in the baseline has been used up, that of what they hold more is still there.
* ``marginal``: net import at the upstream marginal intensity, and local generation at its own. Leakage:
  the energy that tanks hold less, at the period's mean marginal intensity of net imports. Not estimated
  (NE) where that intensity is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from energy.carbon.rates import carbon_kg
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import ENDS, Account, Period


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of avoided emissions, kg; NaN where not estimated.

    Attributes:
        storage_leakage_kg: + where the project left less in tanks than the baseline.
        estimated_share: of the upstream intensity, by imported energy.
        ends: the statement with all factors, those of baseline and project alike, at the low and at the high
            end of their ranges; None where these are not known.
    """

    method: Literal["average", "marginal"]
    baseline_kg: float
    project_kg: float
    storage_leakage_kg: float
    estimated_share: float
    ends: tuple[Statement, Statement] | None = None

    @property
    def reduction_kg(self) -> float:
        """Baseline − project − leakage; negative where control has caused more."""
        return self.baseline_kg - self.project_kg - self.storage_leakage_kg

    def at_ends(self, of: Callable[[Statement], float]) -> tuple[float, float]:
        """A figure at the low and at the high end; NaN where these are not known."""
        nan = float("nan")
        return (nan, nan) if self.ends is None else (of(self.ends[0]), of(self.ends[1]))


@dataclass(frozen=True, slots=True)
class Avoided:
    """Both statements, over the hours that baseline and project both know.

    Attributes:
        moved_mwh: imports shifted in time: half of the sum of hourly differences once their total is
            taken out. import_change_mwh: project − baseline, net of exports.
        storage_change_mwh: how much more the project left in tanks than the baseline.
    """

    hours: int
    average: Statement
    marginal: Statement
    import_change_mwh: float
    moved_mwh: float
    storage_change_mwh: float


def avoided(period: Period) -> Avoided:
    """What control has avoided in `period`."""
    base, project = period.uncontrolled, period.actual
    rows = np.isfinite(base.city["sources_kg"]) & np.isfinite(project.city["sources_kg"])
    net = {name: _net_import(account)[rows] for name, account in (("base", base), ("project", project))}
    difference = net["project"] - net["base"]
    left = _total(project, "storage_change_mwh", rows) - _total(base, "storage_change_mwh", rows)
    mean = difference.sum() / len(difference) if len(difference) else 0.0
    return Avoided(
        hours=int(rows.sum()),
        average=_average(period, rows),
        marginal=_marginal(period, rows, net["base"], net["project"], left),
        import_change_mwh=float(difference.sum()),
        moved_mwh=float(np.abs(difference - mean).sum() / 2.0),
        storage_change_mwh=left,
    )


def _average(period: Period, rows: BoolArray) -> Statement:
    base, project = period.uncontrolled, period.actual
    share = _estimated(period, rows, project.city["import_mwh"])
    low, high = (_as_traced(base.at(end), project.at(end), rows, share) for end in ENDS)
    ends = (low, high) if np.isfinite([low.reduction_kg, high.reduction_kg]).all() else None
    return replace(_as_traced(base, project, rows, share), ends=ends)


def _as_traced(base: Account, project: Account, rows: BoolArray, estimated_share: float) -> Statement:
    def caused(account: Account) -> float:
        return _total(account, "sources_kg", rows) - _total(account, "exports_kg", rows)

    leakage = _total(base, "storage_change_kg", rows) - _total(project, "storage_change_kg", rows)
    return Statement("average", caused(base), caused(project), leakage, estimated_share)


def _marginal(
    period: Period, rows: BoolArray, base: FloatArray, project: FloatArray, left_mwh: float
) -> Statement:
    intensity = period.upstream["marginal_g_per_kwh"][rows]

    def at_margin(net: FloatArray) -> float:
        return float(carbon_kg(net, intensity).sum())

    def caused(account: Account, net: FloatArray) -> float:
        return at_margin(net) + float(account.districts["local_generation_kg"][rows].sum())

    weight = np.abs(project)
    mean = at_margin(weight) / float(weight.sum()) if weight.any() else 0.0
    return Statement(
        "marginal",
        caused(period.uncontrolled, base),
        caused(period.actual, project),
        0.0 if left_mwh == 0 else -left_mwh * mean,
        _estimated(period, rows, _net_import(period.actual)),
    )


def _net_import(account: Account) -> FloatArray:
    return np.asarray(account.city["import_mwh"] - account.city["export_mwh"])


def _total(account: Account, name: str, rows: BoolArray) -> float:
    return float(account.city[name][rows].sum())


def _estimated(period: Period, rows: BoolArray, mwh: FloatArray) -> float:
    return period.estimated_share(np.where(rows, mwh, 0.0))
