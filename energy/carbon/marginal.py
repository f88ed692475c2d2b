"""The consequential ledger: what one more kWh at a bus would have made the system emit.

The marginal intensity of a bus and hour is the derivative of the system's emissions with the optimal
dispatch (Fuentes Valenzuela, Degleris, El Gamal, Pavone and Rajagopal, "Dynamic locational marginal
emissions via implicit differentiation", IEEE Trans. Power Systems 2024, arXiv 2302.14282). It says what a
change would do, not whose emissions are whose: its figures are never added into an inventory. Where the
upstream marginal intensity is unknown the ledger is not estimated (NE): the average is no stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energy.carbon.rates import Amount, together
from energy.domain.network import FloatArray
from energy.domain.period import AssetEntry, Period


@dataclass(frozen=True)
class Marginal:
    """Marginal intensities by hour and bus, g/kWh, shape (hours, buses), NaN where not known.

    Attributes:
        estimated_share: share of the hour's upstream marginal intensity that is a model's estimate, 0 to
            1, shape (hours,).
    """

    buses: tuple[int, ...]
    g_per_kwh: FloatArray
    estimated_share: FloatArray

    def of_change(self, change_mwh: FloatArray, buses: Sequence[int]) -> tuple[Amount, ...]:
        """What a change of load would cause, for each of its columns.

        Args:
            change_mwh: additional load, ``+`` more, shape (hours, n); hours of unknown change (NaN) are
                left out. buses: of each column.

        Returns:
            Amounts without interval; kg NaN where any change meets an unknown marginal intensity.
        """
        change = np.where(np.isfinite(change_mwh), change_mwh, 0.0)
        kg = self.hourly_kg(change, buses).sum(axis=0)
        weight = np.abs(change)
        total = weight.sum(axis=0)
        estimated = np.divide(self.estimated_share @ weight, total, out=np.zeros_like(total), where=total > 0)
        return tuple(
            Amount(float(kg[k]), float("nan"), float("nan"), float(change[:, k].sum()), float(estimated[k]))
            for k in range(change.shape[1])
        )

    def hourly_kg(self, change_mwh: FloatArray, buses: Sequence[int]) -> FloatArray:
        """What each change would cause, shape (hours, n); NaN where it or its marginal intensity is not
        known. No change causes nothing."""
        position = {bus: k for k, bus in enumerate(self.buses)}
        rates = np.full(change_mwh.shape, np.nan)
        for k, bus in enumerate(buses):
            if bus in position:
                rates[:, k] = self.g_per_kwh[:, position[bus]]
        return np.where(change_mwh == 0, 0.0, change_mwh * rates)


def upstream_marginal(period: Period) -> Marginal:
    """The upstream marginal intensity at every bus: what the root alone knows, network losses left out."""
    buses = tuple(sorted({*period.buses, *(asset.bus for asset in period.assets)}))
    at_root = period.upstream["marginal_g_per_kwh"]
    return Marginal(
        buses, np.repeat(at_root[:, None], len(buses), axis=1), period.upstream["estimated_share"]
    )


def of_assets(
    period: Period, marginal: Marginal, groups: Mapping[str, Sequence[AssetEntry]]
) -> dict[str, Amount]:
    """What the net draw of groups of assets causes at the margin: EV charging (V2G deducted), loads, a
    hub. Groups without an asset cause nothing."""
    net = period.drawn_mwh - period.injected_mwh
    found = {}
    for name, assets in groups.items():
        columns = [period.assets.index(asset) for asset in assets]
        found[name] = together(marginal.of_change(net[:, columns], [asset.bus for asset in assets]))
    return found
