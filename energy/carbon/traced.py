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
from energy.domain.period import AccountedDay, Period, TracedCarbon


@dataclass(frozen=True)
class Traced:
    """The traced carbon of what the assets of `period` used."""

    period: Period

    @cached_property
    def _stores(self) -> Stores:
        return Stores(self.period)

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """`Cut.tallies` of a day."""
        use = self._stores.net_use
        mwh = use(day, day.drawn_mwh, day.injected_mwh, day.tank_change_mwh)

        def of(carbon: TracedCarbon) -> FloatArray:
            return use(day, carbon.drawn_kg, carbon.injected_kg, carbon.tank_change_kg)

        kg = of(day.carbon)
        unknown = np.full_like(kg, np.nan)
        low, high = (unknown, unknown) if day.ends is None else map(of, day.ends)
        return cut.tallies(mwh, kg, low, high, self.period.upstream["estimated_share"][day.hours])
