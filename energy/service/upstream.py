"""Carbon of the upstream grid on the city's time grid: estimated by merit order, or measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from energy.carbon.upstream import METHOD, merit_order
from energy.domain.city import DataSource
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import FactorRegistry
from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid
from energy.feeds.city import CITY_FILE, UpstreamSection
from energy.feeds.series import SeriesFile, on_grid

CARBON = "carbon_g_per_kwh"
MARGINAL = "marginal_g_per_kwh"
RENEWABLE = "renewable_share"
LARGEST_G_PER_KWH = 2000.0


@dataclass(frozen=True)
class UpstreamSeries:
    """The upstream series by column name, what they mean, and where they come from."""

    series: Mapping[str, FloatArray]
    carbon: str
    marginal_carbon: str
    renewable_share: str
    mix: Mapping[str, str]
    sources: tuple[DataSource, ...]
    notices: tuple[str, ...]


def upstream_series(
    section: UpstreamSection,
    columns: Mapping[str, FloatArray],
    time: TimeGrid,
    measured: SeriesFile | None,
    registry: FactorRegistry,
) -> UpstreamSeries:
    """The estimate of the merit order; columns of `measured` take the place of its own.

    Raises `InputError` for shapes that do not exist and for measurements that cannot be g/kWh or shares.
    """
    estimate = merit_order(
        _shape(section.merit_order.load, columns, "load"),
        _shape(section.merit_order.wind, columns, "wind"),
        _shape(section.merit_order.pv, columns, "pv"),
        time.hours,
    )
    factors = {name: registry.generation(name) for name in estimate.technologies}
    intensity = {name: factor.g_per_kwh for name, factor in factors.items()}
    series = {
        f"upstream.{CARBON}": estimate.average(intensity),
        f"upstream.{MARGINAL}": estimate.marginal_figure(intensity),
        f"upstream.{RENEWABLE}": estimate.average(
            {name: float(factor.renewable) for name, factor in factors.items()}
        ),
        **{
            f"upstream.share.{name}": share
            for name, share in zip(estimate.technologies, estimate.shares.T, strict=True)
        },
    }
    version = f"factors {registry.version}, life-cycle"
    sources = {
        name: DataSource(f"upstream {label}", METHOD, version, 1.0)
        for name, label in ((CARBON, "intensity"), (MARGINAL, "marginal intensity"), (RENEWABLE, "mix"))
    }
    notices = ["upstream intensity and mix are estimated by a merit order of national shapes"]
    shares = {name: f"upstream.share.{name}" for name in estimate.technologies}
    if measured is not None:
        values, filled = on_grid(measured, time, None)
        found = dict(zip(measured.columns, values.T, strict=True))
        _check(found, measured.name)
        if any(name.startswith("share.") for name in found):
            shares = {name[6:]: f"upstream.{name}" for name in found if name.startswith("share.")}
        series |= {f"upstream.{name}": column for name, column in found.items()}
        sources |= {
            name: DataSource(
                source.series,
                section.measured_source or measured.name,
                section.measured_version,
                0.0,
            )
            for name, source in sources.items()
            if name in found
        }
        notices = [
            *filled,
            *(f"{source.series} is estimated" for name, source in sources.items() if name not in found),
        ]
    return UpstreamSeries(
        series,
        f"upstream.{CARBON}",
        f"upstream.{MARGINAL}",
        f"upstream.{RENEWABLE}",
        shares,
        tuple(sources.values()),
        tuple(notices),
    )


def _shape(weights: Mapping[str, float], columns: Mapping[str, FloatArray], name: str) -> FloatArray:
    where = f"{CITY_FILE}: upstream.merit_order.{name}"
    if not weights:
        raise InputError(Fault(where, "is empty; name at least one column and its weight"))
    unknown = [column for column in weights if column not in columns]
    if unknown:
        raise InputError([Fault(where, f"no column {key!r}; {nearest(key, columns)}") for key in unknown])
    shape = np.asarray(sum(weight * columns[column] for column, weight in weights.items()))
    if shape.mean() <= 0:
        raise InputError(Fault(where, f"is {shape.mean():g} on average; a shape of power is needed"))
    return shape


def _check(found: Mapping[str, FloatArray], file: str) -> None:
    faults = []
    if CARBON not in found:
        faults.append(Fault(file, f"has no column {CARBON!r}; {nearest(CARBON, found)}"))
    for name, values in found.items():
        low, high = float(values.min()), float(values.max())
        if name in (CARBON, MARGINAL):
            if low < 0 or high > LARGEST_G_PER_KWH:
                faults.append(
                    Fault(
                        f"{file} column {name!r}",
                        f"is {low:g} to {high:g}; 0 to {LARGEST_G_PER_KWH:g} g/kWh is possible",
                    )
                )
            elif high < 2:
                faults.append(Fault(f"{file} column {name!r}", f"is at most {high:g}; in g/kWh, not kg/kWh?"))
        elif name == RENEWABLE or name.startswith("share."):
            if low < 0 or high > 1 + 1e-9:
                faults.append(Fault(f"{file} column {name!r}", f"is {low:g} to {high:g}; shares are 0 to 1"))
        else:
            known = (CARBON, MARGINAL, RENEWABLE, "share.TECHNOLOGY")
            faults.append(Fault(f"{file} column {name!r}", f"is unknown; {nearest(name, known)}"))
    if faults:
        raise InputError(faults)
