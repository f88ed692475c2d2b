"""The consequential ledger: what one more kWh at a bus would have made the system emit.

The marginal intensity of a bus and step is the derivative of the system's emissions with the optimal
dispatch (Fuentes Valenzuela, Degleris, El Gamal, Pavone and Rajagopal, "Dynamic locational marginal
emissions via implicit differentiation", IEEE Trans. Power Systems 2024, arXiv 2302.14282): what is lost on
the way, full lines and voltage limits, and storage that recharges at another time take part. Days without
it count at the upstream's marginal intensity at every bus.

It says what a change would do, not whose emissions are whose: its figures are never added into an
inventory. Where the upstream marginal intensity is unknown the ledger is not estimated (NE): the average is
no stand-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from energy.carbon.rates import Amount, carbon_kg
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import Period

MarginalMethod = Literal["marginal-dispatch", "marginal", "marginal-mixed"]
"""The dispatch of each day; the upstream's marginal intensity at every bus; days of both."""


@dataclass(frozen=True)
class Marginal:
    """What the net draw of every asset of `period` caused at the margin.

    Attributes:
        net_mwh: drawn less injected, shape (hours, assets). kg: what that causes; NaN where it or its
            marginal intensity is not known, and 0 where nothing is drawn.
        by_dispatch: hours at the rates of the day's dispatch, shape (hours,).
        at_root: marginal intensity at the connection, g/kWh, shape (hours,), NaN where not known.
    """

    period: Period
    net_mwh: FloatArray
    kg: FloatArray
    by_dispatch: BoolArray
    at_root: FloatArray

    @property
    def method(self) -> MarginalMethod:
        """How the hours of stored days are counted."""
        of_days = self.by_dispatch[np.isfinite(self.period.upstream["carbon_g_per_kwh"])]
        if of_days.all():
            return "marginal-dispatch" if len(of_days) else "marginal"
        return "marginal-mixed" if of_days.any() else "marginal"

    @property
    def share_by_dispatch(self) -> float:
        """The share of the hours of stored days that count at the rates of their dispatch, 0 to 1."""
        of_days = self.by_dispatch[np.isfinite(self.period.upstream["carbon_g_per_kwh"])]
        return float(of_days.mean()) if len(of_days) else 0.0

    def of_assets(self, columns: Sequence[int]) -> Amount:
        """What some assets cause: EV charging (V2G deducted), loads, a district. None causes nothing.

        An amount without interval, over the hours whose energy is known; kg NaN where any of them meets
        an unknown marginal intensity.
        """
        net, kg = self.net_mwh[:, list(columns)], self.kg[:, list(columns)]
        known = np.isfinite(net)
        weight = np.where(known, np.abs(net), 0.0).sum(axis=1)
        return _amount(self.period, kg[known].sum(), net[known].sum(), weight)

    def by_district(self) -> dict[str, Amount]:
        """By district, those of the period, ``boundary`` included."""
        return {name: self.of_assets(self._columns("district", name)) for name in self.period.districts}

    def by_kind(self) -> dict[str, Amount]:
        """By kind of asset, those there are."""
        kinds = dict.fromkeys(asset.kind for asset in self.period.assets)
        return {kind: self.of_assets(self._columns("kind", kind)) for kind in kinds}

    def by_asset(self) -> dict[str, Amount]:
        """By asset id, whatever its entries."""
        columns: dict[str, list[int]] = {}
        for k, asset in enumerate(self.period.assets):
            columns.setdefault(asset.id, []).append(k)
        return {name: self.of_assets(of_asset) for name, of_asset in columns.items()}

    def of_connection(self) -> Amount:
        """The city's net import at the marginal intensity of its connection."""
        city = self.period.actual.city
        net = city["import_mwh"] - city["export_mwh"]
        known = np.isfinite(net)
        kg = carbon_kg(net, self.at_root)[known].sum()
        return _amount(self.period, kg, net[known].sum(), np.where(known, np.abs(net), 0.0))

    def _columns(self, name: str, value: str) -> list[int]:
        return [k for k, asset in enumerate(self.period.assets) if getattr(asset, name) == value]


def marginal(period: Period, *, dispatch: bool = True) -> Marginal:
    """The marginal ledger of `period`: at the rates of each day's dispatch where it has them and `dispatch`
    is wanted, else at the upstream's marginal intensity at every bus."""
    net = period.drawn_mwh - period.injected_mwh
    upstream = period.upstream["marginal_g_per_kwh"]
    kg, at_root = carbon_kg(net, upstream), upstream
    by_dispatch = np.zeros(len(net), dtype=bool)
    if dispatch and period.marginal_kg is not None and period.marginal_at_root is not None:
        # a day has rates of all its buses or of none
        by_dispatch = np.isfinite(period.marginal_at_root)
        kg = np.where(by_dispatch[:, None], period.marginal_kg, kg)
        at_root = np.where(by_dispatch, period.marginal_at_root, at_root)
    return Marginal(period, net, kg, by_dispatch, at_root)


def _amount(period: Period, kg: float, mwh: float, weight: FloatArray) -> Amount:
    nan = float("nan")
    return Amount(float(kg), nan, nan, float(mwh), period.estimated_share(weight))
