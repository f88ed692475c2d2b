"""The merit-order estimate against the published year it is scaled to."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from energy.carbon.upstream import GERMANY_2016_GROSS_TWH, MERIT_ORDER, UpstreamEstimate, merit_order
from energy.domain.errors import InputError
from energy.domain.factors import Basis
from energy.feeds.factors import load_factors

HOURS = 0.25


def columns_of(path: Path, columns: list[str]) -> pd.DataFrame:
    return pd.read_csv(path, sep=";", usecols=columns, engine="pyarrow")


def intensities(estimate: UpstreamEstimate, basis: Basis) -> dict[str, float]:
    """g/kWh of every technology of the estimate."""
    registry = load_factors()
    return {name: registry.generation(name, basis).g_per_kwh for name in estimate.technologies}


@pytest.fixture(scope="module")
def year() -> tuple[UpstreamEstimate, np.ndarray]:
    """The German estimate of 2016 from SimBench's shapes, and the UTC hour and month of each step."""
    package = importlib.util.find_spec("simbench")  # its profiles only: importing it costs seconds
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "networks" / "1-complete_data-mixed-all-0-sw"
    sectors = ("H0-A", "H0-B", "G0-A", "G1-A", "G3-A", "G4-A", "G6-A", "L0-A")
    loads = [f"{sector}_pload" for sector in sectors]
    wind, sun = [f"WP{k}" for k in range(1, 13)], [f"PV{k}" for k in range(1, 9)]
    load = columns_of(folder / "LoadProfile.csv", ["time", *loads])
    renewable = columns_of(folder / "RESProfile.csv", [*wind, *sun])
    local = pd.to_datetime(load["time"], format="%d.%m.%Y %H:%M")
    utc = local.dt.tz_localize("Europe/Berlin", ambiguous="infer", nonexistent="shift_forward").dt.tz_convert(
        "UTC"
    )
    estimate = merit_order(
        load[loads].mean(axis=1).to_numpy() + 0.3,  # industry runs through
        renewable[wind].mean(axis=1).to_numpy(),
        renewable[sun].mean(axis=1).to_numpy(),
        HOURS,
    )
    return estimate, np.where(utc.dt.month == 6, utc.dt.hour, -1)


def test_every_technology_meets_its_published_total(year: tuple[UpstreamEstimate, np.ndarray]) -> None:
    estimate, _ = year
    twh = dict(zip(estimate.technologies, estimate.power_mw.sum(axis=0) * HOURS / 1e6, strict=True))
    assert twh == pytest.approx(dict(GERMANY_2016_GROSS_TWH), rel=1e-6)
    assert (estimate.power_mw >= 0).all()


def test_direct_intensity_is_near_the_published_average(year: tuple[UpstreamEstimate, np.ndarray]) -> None:
    """About 0.52 kg/kWh was published for 2016, per kWh consumed (without the plants' own use)."""
    estimate, _ = year
    direct = intensities(estimate, "direct")
    power = estimate.power_mw.sum(axis=1)
    assert np.average(estimate.average(direct), weights=power) == pytest.approx(520.0, rel=0.1)


def test_june_is_cleanest_at_noon_and_dirtiest_in_the_evening(
    year: tuple[UpstreamEstimate, np.ndarray],
) -> None:
    """As in the measured quarter-hourly series of 2020: lowest around 12 UTC, highest around 20 UTC."""
    estimate, hour = year
    series = estimate.average(intensities(estimate, "life-cycle"))
    by_hour = [series[hour == h].mean() for h in range(24)]
    assert 10 <= int(np.argmin(by_hour)) <= 14
    assert 18 <= int(np.argmax(by_hour)) <= 22


def test_marginal_is_the_last_one_running(year: tuple[UpstreamEstimate, np.ndarray]) -> None:
    estimate, _ = year
    names = np.array(estimate.technologies)[estimate.marginal]
    assert set(names) <= set(MERIT_ORDER)
    lowest = estimate.power_mw.min(axis=0)
    for name in set(names):
        column = estimate.technologies.index(name)
        above = [estimate.technologies.index(later) for later in MERIT_ORDER[MERIT_ORDER.index(name) + 1 :]]
        # those above it run at their minimum
        np.testing.assert_allclose(estimate.power_mw[names == name][:, above] - lowest[above], 0.0, atol=1e-6)
        if name != MERIT_ORDER[0]:
            assert (estimate.power_mw[names == name, column] > lowest[column]).all()
    shares = {name: float(name in ("wind", "pv", "biomass", "hydro")) for name in estimate.technologies}
    assert ((estimate.average(shares) > 0) & (estimate.average(shares) < 1)).all()


def test_faults_come_at_once() -> None:
    shape = np.ones(8)
    totals = {name: twh for name, twh in GERMANY_2016_GROSS_TWH.items() if name != "oil"}
    with pytest.raises(InputError) as refused:
        merit_order(shape, shape[:4], np.zeros(8), HOURS, totals | {"fusion": 1.0})
    told = str(refused.value)
    for part in (
        "wind: has (4,) values",
        "pv: is nowhere above zero",
        "'oil' is missing",
        "'fusion' is unknown",
    ):
        assert part in told
    estimate = merit_order(shape, shape, shape, HOURS)
    with pytest.raises(InputError, match="'lignite': has no factor"):
        estimate.average({})
