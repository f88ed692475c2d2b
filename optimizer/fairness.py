"""Fairness between districts: what it costs to spread curtailment and unmet charging evenly.

A district's share is what it bears over what it could bear: curtailed over available energy, unmet over
needed energy. The objective pays a weight for the spread, the largest share less the smallest. The needs
that stay unmet are held in total first, so that fairness moves them and never adds to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from energy.domain.documents import Document
from energy.domain.errors import Fault
from energy.domain.schedule import AssetSchedule, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.base import BURDENS, Asset, Burden
from optimizer.quantities import Positive


class Fairness(Document):
    """What a spread of 1 between the largest and the smallest share of the districts costs, in the
    problem's currency."""

    curtailment: Positive = 0.0
    charging: Positive = 0.0

    @property
    def weights(self) -> dict[Burden, float]:
        """The weights above zero."""
        return {burden: weight for burden in BURDENS if (weight := getattr(self, burden)) > 0}

    def faults(self, assets: Sequence[Asset | None]) -> Iterator[Fault]:
        """Assets that would have to share and belong to no district."""
        for number, asset in enumerate(assets):
            if asset is not None and asset.bears in self.weights and asset.district is None:
                yield Fault(
                    f"assets[{number}].district",
                    f"is missing, but objective.fairness.{asset.bears} is {self.weights[asset.bears]:g}; "
                    "name the district whose share it counts towards",
                )

    def report(
        self,
        assets: Sequence[Asset],
        schedules: Mapping[str, AssetSchedule],
        shortfalls: Sequence[Shortfall],
        time: TimeGrid,
    ) -> dict[str, dict[str, Any]]:
        """By burden: `shares` of the districts (None where there is nothing to bear), their `spread`, and
        its `price`, which only a solve can tell."""
        report: dict[str, dict[str, Any]] = {}
        for burden in self.weights:
            at_stake = stakes(assets, burden, time)
            borne = dict.fromkeys(at_stake, 0.0)
            for asset in assets:
                if asset.bears == burden and asset.district is not None:
                    own = [shortfall for shortfall in shortfalls if shortfall.asset == asset.id]
                    borne[asset.district] += asset.borne_kwh(schedules[asset.id], own, time)
            shares = {key: borne[key] / kwh if kwh > 0 else None for key, kwh in at_stake.items()}
            some = [share for share in shares.values() if share is not None]
            spread = max(some) - min(some) if some else 0.0
            report[burden] = {"shares": shares, "spread": spread, "price": None}
        return report

    def cost(self, report: Mapping[str, Mapping[str, Any]]) -> float:
        """Σ weight × spread of a report, in the problem's currency."""
        weighted = (weight * float(report[burden]["spread"]) for burden, weight in self.weights.items())
        return sum(weighted, 0.0)


def stakes(assets: Sequence[Asset], burden: Burden, time: TimeGrid) -> dict[str, float]:
    """kWh that each district could bear, districts in order."""
    found: dict[str, float] = defaultdict(float)
    for asset in assets:
        if asset.bears == burden and asset.district is not None:
            found[asset.district] += asset.at_stake_kwh(time)
    return dict(sorted(found.items()))
