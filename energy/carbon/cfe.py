"""The 24/7 carbon-free energy score: how much of a load is met by carbon-free energy in its own hour."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from energy.carbon.breakdown import Cut
from energy.carbon.market_based import MarketBased
from energy.carbon.rates import ratio
from energy.carbon.stores import Stores
from energy.domain.network import FloatArray
from energy.domain.period import AccountedDay, Period

_SHARE, _ESTIMATED = "renewable_share", "estimated_share"


@dataclass(frozen=True)
class CarbonFreeScore:
    """Shares in [0, 1] of a load that carbon-free energy meets.

    `steps` has shape (steps,), NaN where nothing is used; `score` is weighted by energy. `annual_match`
    compares totals only (contracted over used, not clipped): what matching by the year would claim.
    """

    steps: FloatArray
    score: float
    annual_match: float


def carbon_free_score(
    load_mwh: FloatArray, contracted_mwh: FloatArray, grid_share: FloatArray
) -> CarbonFreeScore:
    """Score a load against contracted carbon-free energy, hour by hour.

    Each step counts min(L, C) + max(L − C, 0) · g over L; excess in one hour never serves another
    (Google, 24/7 Carbon-Free Energy: Methodologies and Metrics, 2021).

    Args:
        load_mwh, contracted_mwh: energy used and contracted, ≥ 0, shape (steps,).
        grid_share: carbon-free share of what the grid delivers, 0 to 1, shape (steps,).

    Raises:
        ValueError: shapes differ, a value is out of range or not finite, or nothing is used at all.
    """
    if not load_mwh.shape == contracted_mwh.shape == grid_share.shape:
        raise ValueError(
            f"load, contracted energy and grid share have shapes {load_mwh.shape}, {contracted_mwh.shape} "
            f"and {grid_share.shape}; they must be alike"
        )
    for name, values, most in (
        ("load_mwh", load_mwh, np.inf),
        ("contracted_mwh", contracted_mwh, np.inf),
        ("grid_share", grid_share, 1.0),
    ):
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values <= most)))
        if len(wrong):
            raise ValueError(f"{name}[{wrong[0]}] is {values[wrong[0]]}; 0 to {most:g} is needed")
    used_mwh = float(load_mwh.sum())
    if used_mwh == 0:
        raise ValueError("nothing is used in any step; there is no load to score")
    free = _met(load_mwh, contracted_mwh, grid_share)
    steps = np.divide(free, load_mwh, out=np.full_like(free, np.nan), where=load_mwh > 0)
    return CarbonFreeScore(steps, float(free.sum() / used_mwh), float(contracted_mwh.sum() / used_mwh))


@dataclass(frozen=True)
class CarbonFree:
    """How much of what the places of `period` use is met by carbon-free energy in its own hour.

    The load is end use and charging, less what storages give back. Contracted counts what carbon-free plants
    of the place generate, and what `market` has matched there. Within a place a surplus of one asset serves
    the others in the same hour: a place may score higher than all that it contains, and scores never add up.

    Attributes:
        carbon_free: technologies that count as carbon-free (``pv``, ``wind`` …).
        market: contracts and certificates that are matched hour by hour; none by default.
    """

    period: Period
    carbon_free: Collection[str]
    market: MarketBased | None = None

    @cached_property
    def _stores(self) -> Stores:
        return Stores(self.period)

    @cached_property
    def _plants(self) -> FloatArray:
        return np.array([float(asset.technology in self.carbon_free) for asset in self.period.assets])

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """What `score` is made of, of one day, shape (5, hours, places): MWh met, used and contracted, and
        the parts of the use whose score, and which itself, rests on estimates. Of the grid's delivery the
        renewable share upstream is carbon-free, which leaves nuclear power out."""
        upstream = {name: self.period.upstream[name][day.hours, None] for name in (_SHARE, _ESTIMATED)}
        flat = np.zeros_like(day.tank_mwh)
        drawn = self._stores.net_use(day, day.drawn_mwh, day.injected_mwh, flat)
        contracted = day.injected_mwh * self._plants
        if self.market is not None:
            contracted = contracted + self.market.matched(self.carbon_free, day.hours)
        load, supplied = np.maximum(cut.placed(drawn), 0.0), cut.placed(contracted)
        doubt = np.minimum(cut.placed(np.abs(drawn) * cut.doubt), load)
        values = (
            _met(load, supplied, upstream[_SHARE]),
            load,
            supplied,
            np.maximum(load * upstream[_ESTIMATED], doubt),
            doubt,
        )
        known = np.isfinite(values[0])
        return np.stack([np.where(known, value, 0.0) for value in values])


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a place over some hours: `score` and `annual_match` as in `CarbonFreeScore`, NaN where
    nothing is used. estimated_share: of the energy used, 0 to 1."""

    score: float
    annual_match: float
    used_mwh: float
    estimated_share: float


def score(tallied: FloatArray) -> Score:
    """The score of some sums of `CarbonFree.tallies`, shape (5,)."""
    met, used, contracted, doubtful, _ = tallied.tolist()
    return Score(ratio(met, used), ratio(contracted, used), used, doubtful / used if used else 0.0)


def _met(load: FloatArray, contracted: FloatArray, grid_share: FloatArray) -> FloatArray:
    """What carbon-free energy meets of a load in each hour."""
    direct = np.minimum(load, contracted)
    return np.asarray(direct + (load - direct) * grid_share)
