"""The traced ledger by asset: the carbon that came with what each asset used up, through the city's grid.

Net use as in the official ledger, and its carbon by the same rule: what storages fed back is taken out, and
what batteries hold more. So both stand on the same kWh. With losses as an account of their own, or on
generators, those of the network are not in it (a district's are in its account); on loads they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from energy.carbon.breakdown import Cut
from energy.carbon.stores import Stores
from energy.domain.network import FloatArray
from energy.domain.period import AccountedDay, Period


@dataclass(frozen=True)
class Traced:
    """The traced carbon of what the assets of `period` used."""

    period: Period

    @cached_property
    def _stores(self) -> Stores:
        return Stores(self.period)

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """`Cut.tallies` of a day; no ends, which no hour of an asset has."""
        use = self._stores.net_use
        mwh = use(day, day.drawn_mwh, day.injected_mwh, day.tank_change_mwh)
        kg = use(day, day.drawn_kg, day.injected_kg, day.tank_change_kg)
        unknown = np.full_like(kg, np.nan)
        return cut.tallies(mwh, kg, unknown, unknown, self.period.upstream["estimated_share"][day.hours])
