"""The official location-based ledger: metered grid energy at the published average factor of the grid.

Scope 2 guidance of the GHG Protocol (2015), section 6.5 and table 6.2, and GPC 1.1, section 6.4: energy
delivered by the grid × the average factor of that grid and year. Transmission and distribution losses
(scope 3) are the same energy × the official loss factor, g per kWh delivered. Only this ledger fills the
cells of an inventory; the traced figure stands beside it.

Storages return a part of what they draw, and no kWh may count at the storage and again where it is used in
the end. An EV uses what it charges less what it feeds back; a battery uses what it loses: what it draws
less what it feeds back and what it still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from energy.carbon.breakdown import Cut
from energy.carbon.gaps import GapRule, filled
from energy.carbon.rates import Amount, Rate
from energy.carbon.stores import Stores
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import CITY, USER_CLASSES, AccountedDay, AssetEntry, Period, UserClass

Key = TypeVar("Key")


@dataclass(frozen=True)
class Use:
    """What one group of assets used.

    Attributes:
        scope2: the energy at the average factor. losses: the same energy at the loss factor; None where
            the official factor of the grid counts them already, or none was asked for.
    """

    scope2: Amount
    losses: Amount | None


@dataclass(frozen=True)
class GridAverage:
    """The ledger of a period; groups of assets are summed on request, all from the same hours.

    Attributes:
        energy_mwh: net use of each asset from the grid, shape (hours, assets).
        estimated: hours whose energy is an estimate, shape (hours,).
        factor, losses: g/kWh by hour.
    """

    assets: tuple[AssetEntry, ...]
    districts: tuple[str, ...]
    energy_mwh: FloatArray
    estimated: BoolArray
    factor: Rate
    losses: Rate | None

    def by_asset(self) -> dict[str, Use]:
        return self._sums([asset.id for asset in self.assets], lambda asset: {asset.id: 1.0})

    def by_district(self) -> dict[str, Use]:
        return self._sums(self.districts, lambda asset: {asset.district: 1.0})

    def by_class(self) -> dict[UserClass, Use]:
        """By user class, each asset by the shares of its classes."""
        return self._sums(USER_CLASSES, lambda asset: asset.classes)

    def city(self) -> Use:
        return self._sums([CITY], lambda _: {CITY: 1.0})[CITY]

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """`Cut.tallies` of a day at the average factor, and after them those at the loss factor where there
        is one."""
        hours, mwh = day.hours, self.energy_mwh[day.hours]
        rates = [rate for rate in (self.factor, self.losses) if rate is not None]
        doubtful = [np.where(self.estimated[hours], 1.0, rate.estimated[hours]) for rate in rates]
        return np.concatenate(
            [
                cut.tallies(mwh, *rate.ends(mwh, hours), estimated)
                for rate, estimated in zip(rates, doubtful, strict=True)
            ]
        )

    def _sums(
        self, keys: Sequence[Key], shares: Callable[[AssetEntry], Mapping[Key, float]]
    ) -> dict[Key, Use]:
        energy = self.energy_mwh @ self._weights(keys, shares)
        scope2 = self.factor.amounts(energy, self.estimated)
        losses = (None,) * len(keys) if self.losses is None else self.losses.amounts(energy, self.estimated)
        return {key: Use(*pair) for key, pair in zip(keys, zip(scope2, losses, strict=True), strict=True)}

    def _weights(
        self, keys: Sequence[Key], shares: Callable[[AssetEntry], Mapping[Key, float]]
    ) -> FloatArray:
        place = {key: k for k, key in enumerate(keys)}
        weights = np.zeros((len(self.assets), len(keys)))
        for k, asset in enumerate(self.assets):
            for key, share in shares(asset).items():
                weights[k, place[key]] += share
        return weights


def grid_average(
    period: Period, factor: Rate, losses: Rate | None = None, *, gaps: GapRule = "left-out"
) -> GridAverage:
    """The ledger of `period` at the official factors.

    Args:
        factor: average of the grid, direct combustion. losses: emissions of losses per kWh delivered;
            None where the average counts per kWh sold and so contains them.
        gaps: what becomes of hours that no stored day accounts.
    """
    stores = Stores(period)
    energy = period.hourly(
        lambda day: stores.net_use(day, day.drawn_mwh, day.injected_mwh, day.tank_change_mwh),
        len(period.assets),
    )
    energy, estimated = filled(period, energy, gaps)
    return GridAverage(period.assets, period.districts, energy, estimated, factor, losses)
