"""Indicators of a period: cost, peak, self-sufficiency, shares and intensities, each with one definition.

| indicator | definition |
| --- | --- |
| self-consumption | local generation that is not sent out, Σ max(G − X, 0) / Σ G by hour |
| self-sufficiency | the same energy over all that was supplied, Σ max(G − X, 0) / Σ (max(G − X, 0) + I) |
| loss share | network losses over what was supplied: imports and generation |
| renewable share | renewable part of end use, as traced |

G is local generation, I what came in and X what went out in the hour (after Luthander, Widén, Nilsson and
Palm, "Photovoltaic self-consumption in buildings: a review", Applied Energy 2015). For a city I and X are
those of its root connection, for a district its exchange with the others. Ratios of nothing are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from energy.carbon.rates import ratio
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import ENDS, Account, Period


@dataclass(frozen=True, slots=True)
class Indicators:
    """Of one place and account, over the hours that are known in all accounts compared.

    Attributes:
        end_use_mwh, emissions_kg: of end use.
        loss_mwh, loss_kg: of the network. footprint_kg: end use, losses and, for the city, EVs driven.
        generated_mwh, received_mwh, sent_mwh: G, I and X of the module's table.
        cost: in the city's currency; peak_mw: highest mean import of a step; both NaN for districts.
        ends: the same with all factors at the low and at the high end of their ranges, carbon NaN where these
            are not known.
    """

    end_use_mwh: float
    emissions_kg: float
    renewable_mwh: float
    loss_mwh: float
    loss_kg: float
    footprint_kg: float
    generated_mwh: float
    kept_mwh: float
    received_mwh: float
    sent_mwh: float
    cost: float = float("nan")
    peak_mw: float = float("nan")
    ends: tuple[Indicators, ...] = ()

    @property
    def g_per_kwh(self) -> float:
        return ratio(self.emissions_kg, self.end_use_mwh)

    @property
    def renewable_share(self) -> float:
        return ratio(self.renewable_mwh, self.end_use_mwh)

    @property
    def loss_share(self) -> float:
        return ratio(self.loss_mwh, self.generated_mwh + self.received_mwh)

    @property
    def self_consumption(self) -> float:
        return ratio(self.kept_mwh, self.generated_mwh)

    @property
    def self_sufficiency(self) -> float:
        return ratio(self.kept_mwh, self.kept_mwh + self.received_mwh)

    def per(self, quantity: float) -> tuple[float, float]:
        """End use in kWh and footprint in kg per inhabitant, or per m² of floor area, over the period."""
        if not quantity > 0:
            raise ValueError(f"{quantity} inhabitants or square metres; a number above 0 is needed")
        return self.end_use_mwh * 1000.0 / quantity, self.footprint_kg / quantity


@dataclass(frozen=True)
class Comparison:
    """What happened beside what was planned and what would have happened without control.

    `hours` counts the hours that all three accounts know; only these are compared.
    """

    hours: int
    actual: Indicators
    planned: Indicators
    uncontrolled: Indicators


def compare(period: Period) -> Comparison:
    """The city's indicators in all three accounts."""
    accounts = (period.actual, period.planned, period.uncontrolled)
    known = np.logical_and.reduce([np.isfinite(account.city["end_use_kg"]) for account in accounts])
    return Comparison(int(known.sum()), *(city_indicators(account, known) for account in accounts))


def city_indicators(account: Account, hours: BoolArray | None = None) -> Indicators:
    """The whole city, over `hours` (default: all that are known)."""
    rows = np.isfinite(account.city["end_use_kg"]) if hours is None else hours
    return replace(_of_city(account, rows), ends=tuple(_of_city(account.at(end), rows) for end in ENDS))


def _of_city(account: Account, rows: BoolArray) -> Indicators:
    city, districts = account.city, account.districts
    generated = districts["local_generation_mwh"][rows].sum(axis=1)
    sent, received = city["export_mwh"][rows], city["import_mwh"][rows]
    footprint = sum(city[name][rows].sum() for name in ("end_use_kg", "losses_kg", "ev_driven_kg"))
    peaks = city["peak_import_mw"][rows]
    return Indicators(
        end_use_mwh=float(districts["energy_mwh"][rows].sum()),
        emissions_kg=float(city["end_use_kg"][rows].sum()),
        renewable_mwh=float(districts["renewable_mwh"][rows].sum()),
        loss_mwh=float(city["losses_mwh"][rows].sum()),
        loss_kg=float(city["losses_kg"][rows].sum()),
        footprint_kg=float(footprint),
        cost=float(city["cost"][rows].sum()),
        peak_mw=float(peaks.max()) if len(peaks) else float("nan"),
        **_flows(generated, received, sent),
    )


def district_indicators(period: Period, account: Account | None = None) -> dict[str, Indicators]:
    """Every district of `period`; `account` is what happened unless another one is given."""
    happened = account or period.actual
    rows = np.isfinite(happened.districts["energy_mwh"].sum(axis=1))
    ends = [_of_districts(period, happened.at(end), rows) for end in ENDS]
    return {
        name: replace(found, ends=tuple(of_end[name] for of_end in ends))
        for name, found in _of_districts(period, happened, rows).items()
    }


def _of_districts(period: Period, account: Account, rows: BoolArray) -> dict[str, Indicators]:
    table, found = account.districts, {}
    for k, name in enumerate(period.districts):
        column: Mapping[str, FloatArray] = {key: values[rows, k] for key, values in table.items()}
        exchange = column["exchange_mwh"]
        found[name] = Indicators(
            end_use_mwh=float(column["energy_mwh"].sum()),
            emissions_kg=float(column["emissions_kg"].sum()),
            renewable_mwh=float(column["renewable_mwh"].sum()),
            loss_mwh=float(column["loss_mwh"].sum()),
            loss_kg=float(column["loss_emissions_kg"].sum()),
            footprint_kg=float(column["emissions_kg"].sum() + column["loss_emissions_kg"].sum()),
            **_flows(column["local_generation_mwh"], np.maximum(exchange, 0.0), np.maximum(-exchange, 0.0)),
        )
    return found


def _flows(generated: FloatArray, received: FloatArray, sent: FloatArray) -> dict[str, Any]:
    return {
        "generated_mwh": float(generated.sum()),
        "kept_mwh": float(np.maximum(generated - sent, 0.0).sum()),
        "received_mwh": float(received.sum()),
        "sent_mwh": float(sent.sum()),
    }
