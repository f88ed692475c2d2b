"""The 24/7 carbon-free energy score: how much of a load is met by carbon-free energy in its own hour."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.period import CITY, Period


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
    direct = np.minimum(load_mwh, contracted_mwh)
    free = direct + (load_mwh - direct) * grid_share
    steps = np.divide(free, load_mwh, out=np.full_like(free, np.nan), where=load_mwh > 0)
    return CarbonFreeScore(steps, float(free.sum() / used_mwh), float(contracted_mwh.sum() / used_mwh))


def carbon_free_scores(
    period: Period,
    carbon_free: Collection[str],
    contracted_mwh: FloatArray | None = None,
    grid_share: FloatArray | None = None,
) -> dict[str, CarbonFreeScore]:
    """Scores of every district that uses something, and of the ``city``, over the hours that are known.

    The load is end use and charging, less what storages give back. Contracted counts what carbon-free
    plants in the district generate, and contracts. In the city's score a surplus of one district serves
    the others in the same hour.

    Args:
        carbon_free: technologies that count as carbon-free (``pv``, ``wind`` …).
        contracted_mwh: matched contracts and certificates, shape (hours, districts); none by default.
        grid_share: carbon-free share of the grid, 0 to 1, shape (hours,); by default the renewable share
            upstream, which leaves nuclear power out.
    """
    table = period.actual.districts
    load = np.maximum(table["energy_mwh"] + table["charged_mwh"] - table["discharged_mwh"], 0.0)
    share = period.upstream["renewable_share"] if grid_share is None else grid_share
    plants = np.array(
        [
            [float(asset.technology in carbon_free and asset.district == name) for name in period.districts]
            for asset in period.assets
        ]
    ).reshape(len(period.assets), len(period.districts))
    contracted = period.hourly(lambda day: day.injected_mwh @ plants, len(period.districts))
    if contracted_mwh is not None:
        contracted = contracted + contracted_mwh
    known = np.isfinite(load).all(axis=1) & np.isfinite(contracted).all(axis=1) & np.isfinite(share)
    places = {name: (load[known, k], contracted[known, k]) for k, name in enumerate(period.districts)}
    places[CITY] = (load[known].sum(axis=1), contracted[known].sum(axis=1))
    return {
        name: carbon_free_score(used, supplied, share[known])
        for name, (used, supplied) in places.items()
        if used.any()
    }
