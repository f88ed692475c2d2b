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

from dataclasses import dataclass
from typing import Literal

import numpy as np

from energy.carbon.breakdown import Cut
from energy.carbon.rates import Amount, carbon_kg
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import AccountedDay, Period

MarginalMethod = Literal["marginal-dispatch", "marginal", "marginal-mixed"]
"""The dispatch of each day; the upstream's marginal intensity at every bus; days of both."""
TALLIES = 4
"""Rows of `tallies`."""


@dataclass(frozen=True)
class Marginal:
    """What the net draw of every asset of `period` caused at the margin.

    Attributes:
        by_dispatch: hours at the rates of the day's dispatch, shape (hours,).
        at_root: marginal intensity at the connection, g/kWh, shape (hours,), NaN where not known.
    """

    period: Period
    by_dispatch: BoolArray
    at_root: FloatArray

    def kg(self, day: AccountedDay) -> FloatArray:
        """What the net draw of each asset caused on a day, shape (its hours, assets): NaN where it or its
        marginal intensity is not known, and 0 where nothing is drawn."""
        upstream = self.period.upstream["marginal_g_per_kwh"][day.hours]
        kg = carbon_kg(day.drawn_mwh - day.injected_mwh, upstream)
        if day.marginal_kg is None:
            return kg
        # a day has rates of all its buses or of none
        return np.where(self.by_dispatch[day.hours, None], day.marginal_kg, kg)

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """`Cut.tallies` of a day: of the net draw of EVs (V2G deducted), loads, plants, without ends. Kg are
        NaN where any of it meets an unknown marginal intensity."""
        kg = self.kg(day)
        unknown = np.full_like(kg, np.nan)
        share = self.period.upstream["estimated_share"][day.hours]
        return cut.tallies(day.drawn_mwh - day.injected_mwh, kg, unknown, unknown, share)

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

    def of_connection(self) -> Amount:
        """The city's net import at the marginal intensity of its connection."""
        city = self.period.actual.city
        net = city["import_mwh"] - city["export_mwh"]
        known = np.isfinite(net)
        kg = carbon_kg(net, self.at_root)[known].sum()
        nan, share = float("nan"), self.period.estimated_share(np.where(known, np.abs(net), 0.0))
        return Amount(float(kg), nan, nan, float(net[known].sum()), share)


def marginal(period: Period, *, dispatch: bool = True) -> Marginal:
    """The marginal ledger of `period`: at the rates of each day's dispatch where it has them and `dispatch`
    is wanted, else at the upstream's marginal intensity at every bus."""
    upstream, at_root = period.upstream["marginal_g_per_kwh"], period.marginal_at_root
    if not dispatch or at_root is None:
        return Marginal(period, np.zeros(period.time.steps, dtype=np.bool_), upstream)
    by_dispatch = np.isfinite(at_root)
    return Marginal(period, by_dispatch, np.where(by_dispatch, at_root, upstream))


def tallies(period: Period, day: AccountedDay, net_mwh: FloatArray, kg: FloatArray) -> FloatArray:
    """What `amount` is made of, for `net_mwh` and `kg` of some assets on a day, shape (its hours, n): the kg
    and MWh of the hours whose energy is known, the size of that energy, and what part of the size has an
    estimated upstream intensity, shape (4, hours, n). They add up over hours and assets."""
    known, share = np.isfinite(net_mwh), period.upstream["estimated_share"][day.hours, None]
    size = np.where(known & np.isfinite(share), np.abs(net_mwh), 0.0)
    return np.stack(
        [np.where(known, kg, 0.0), np.where(known, net_mwh, 0.0), size, size * np.nan_to_num(share)]
    )


def amount(tallied: FloatArray) -> Amount:
    """The amount of some sums of `tallies`, shape (4,)."""
    kg, mwh, size, estimated = tallied.tolist()
    nan = float("nan")
    return Amount(kg, nan, nan, mwh, estimated / size if size else 0.0)
