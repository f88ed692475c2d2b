"""Carbon of the upstream grid on the city's time grid: estimated by merit order, measured, or imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from energy.carbon.mix import MixCarbon, mix_carbon
from energy.carbon.upstream import METHOD, merit_order
from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import Basis, Factor, FactorRegistry
from energy.domain.network import FloatArray
from energy.domain.period import DataSource
from energy.domain.time import TimeGrid
from energy.feeds.city import CITY_FILE, UpstreamSection
from energy.feeds.importers.imported import CARBON, EXCHANGED, HIGHEST_G_PER_KWH, MARGINAL
from energy.feeds.series import SeriesFile, on_grid
from energy.feeds.series_store import StoredSeries

CARBON_LOW, CARBON_HIGH = "carbon_low_g_per_kwh", "carbon_high_g_per_kwh"
RENEWABLE = "renewable_share"
INTENSITY = "upstream intensity"
"""What the source of the intensity is called in a city's sources."""
SHARE = "share."


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
    carbon_low: str | None = None
    carbon_high: str | None = None


@dataclass(frozen=True)
class _Found:
    """Series by name that take the place of the estimate's, where each comes from, and what to say."""

    series: Mapping[str, FloatArray]
    sources: Mapping[str, DataSource]
    notices: tuple[str, ...]


def upstream_series(
    section: UpstreamSection,
    columns: Mapping[str, FloatArray],
    time: TimeGrid,
    measured: SeriesFile | StoredSeries | None,
    marginal: StoredSeries | None,
    registry: FactorRegistry,
    basis: Basis = "life-cycle",
) -> UpstreamSeries:
    """The estimate of the merit order; what is measured or imported takes the place of its own.

    The range of the estimate, and of an imported mix, is that of the mix, each technology at the ends of
    its factor; a measured intensity has the range its file gives, or none.
    Gaps of an imported series keep the estimate and count as estimated. Raises `InputError` for shapes
    that do not exist and for measurements that cannot be g/kWh or shares.
    """
    estimate = merit_order(
        _shape(section.merit_order.load, columns, "load"),
        _shape(section.merit_order.wind, columns, "wind"),
        _shape(section.merit_order.pv, columns, "pv"),
        time.hours,
    )
    factors = {name: registry.generation(name, basis) for name in estimate.technologies}
    intensity = {name: factor.g_per_kwh for name, factor in factors.items()}
    series = {
        CARBON: estimate.average(intensity),
        MARGINAL: estimate.marginal_figure(intensity),
        RENEWABLE: estimate.average({name: float(factor.renewable) for name, factor in factors.items()}),
        **{
            f"{SHARE}{name}": share
            for name, share in zip(estimate.technologies, estimate.shares.T, strict=True)
        },
    }
    ends = _ends(factors)
    if ends is not None:
        series[CARBON_LOW], series[CARBON_HIGH] = (estimate.average(end) for end in ends)
    version = f"factors {registry.version}, {basis}"
    sources = {
        name: DataSource(f"upstream {label}", METHOD, version, 1.0, factors=tuple(factors.values()))
        for name, label in ((CARBON, "intensity"), (MARGINAL, "marginal intensity"), (RENEWABLE, "mix"))
    }
    notices: list[str] = []
    faults: list[Fault] = []
    for given in (measured, marginal):
        if given is None:
            continue
        try:
            if isinstance(given, SeriesFile):
                found = _of_file(given, section, time, sources)
            else:
                found = _of_imports(given, time, series, sources, registry, basis)
        except InputError as error:
            faults += error.faults
            continue
        if any(name.startswith(SHARE) for name in found.series):  # a mix is taken as a whole
            series = {name: values for name, values in series.items() if not name.startswith(SHARE)}
        if CARBON in found.series:  # what is measured has its own range or none
            series = {
                name: values for name, values in series.items() if name not in (CARBON_LOW, CARBON_HIGH)
            }
        series |= found.series
        sources |= found.sources
        notices += found.notices
    if faults:
        raise InputError(faults)
    estimated = [source.series for source in sources.values() if source.source == METHOD]
    if len(estimated) == len(sources):
        notices.append("upstream intensity and mix are estimated by a merit order of national shapes")
    else:
        notices += [f"{name} is estimated" for name in estimated]
    return UpstreamSeries(
        {f"upstream.{name}": values for name, values in series.items()},
        f"upstream.{CARBON}",
        f"upstream.{MARGINAL}",
        f"upstream.{RENEWABLE}",
        {name.removeprefix(SHARE): f"upstream.{name}" for name in series if name.startswith(SHARE)},
        tuple(sources.values()),
        tuple(notices),
        f"upstream.{CARBON_LOW}" if CARBON_LOW in series else None,
        f"upstream.{CARBON_HIGH}" if CARBON_HIGH in series else None,
    )


def _ends(factors: Mapping[str, Factor]) -> tuple[dict[str, float], dict[str, float]] | None:
    """The low and high ends of these factors; None where one has no range."""
    lows = {name: factor.low for name, factor in factors.items() if factor.low is not None}
    highs = {name: factor.high for name, factor in factors.items() if factor.high is not None}
    return (lows, highs) if len(lows) == len(highs) == len(factors) else None


def _of_file(
    file: SeriesFile, section: UpstreamSection, time: TimeGrid, sources: Mapping[str, DataSource]
) -> _Found:
    values, filled = on_grid(file, time, None)
    found = dict(zip(file.columns, values.T, strict=True))
    _check(found, file.name)
    return _Found(
        found,
        {
            name: DataSource(
                source.series,
                section.measured_source or file.name,
                section.measured_version,
                0.0,
                hash=file.hash,
            )
            for name, source in sources.items()
            if name in found
        },
        filled,
    )


def _of_imports(
    stored: StoredSeries,
    time: TimeGrid,
    estimate: Mapping[str, FloatArray],
    sources: Mapping[str, DataSource],
    registry: FactorRegistry,
    basis: Basis,
) -> _Found:
    """An imported series on the city's grid, with the estimate in its gaps."""
    values, flagged = stored.on(time)
    source, notices = stored.source, []
    used: set[Factor] = set()
    if stored.kind == "mix":
        own = [k for k, name in enumerate(stored.columns) if name not in EXCHANGED]
        names = [stored.columns[k] for k in own]
        factors = {name: registry.generation(name, basis) for name in names}
        renewable = {name: factor.renewable for name, factor in factors.items()}
        used.update(factors.values())

        def weighed(per_technology: Mapping[str, float]) -> MixCarbon:
            return mix_carbon(names, np.maximum(values[:, own], 0.0), per_technology, renewable)

        carbon = weighed({name: factor.g_per_kwh for name, factor in factors.items()})
        source = f"{stored.source}; mix × factors {registry.version}, {basis}"
        left_out = [name for name in stored.columns if name in EXCHANGED]
        if left_out:
            notices.append(
                f"{stored.source}: {' and '.join(left_out)} take the average of the rest of the mix"
            )
        found = {CARBON: carbon.carbon_g_per_kwh, RENEWABLE: carbon.renewable_share}
        ends = _ends(factors)
        if ends is not None and CARBON_LOW in estimate:  # gaps have the estimate's range
            found[CARBON_LOW], found[CARBON_HIGH] = (weighed(end).carbon_g_per_kwh for end in ends)
        found |= dict(zip((f"{SHARE}{name}" for name in names), carbon.shares.T, strict=True))
        found |= {
            name: np.zeros(time.steps) for name in estimate if name.startswith(SHARE) and name not in found
        }
    else:
        if stored.kind == "intensity" and stored.basis == "direct" and basis != "direct":
            raise InputError(
                Fault(
                    stored.source,
                    "counts combustion only, the trace the life cycle; one trace has one basis. Import "
                    "the mix (--series mix), which is weighed with life-cycle factors, or set carbon.basis",
                )
            )
        found = {MARGINAL if stored.kind == "marginal" else CARBON: values[:, 0]}
    gap = np.isnan(next(iter(found.values())))
    filled = {
        name: np.where(gap, estimate.get(name, np.zeros(time.steps)), column)
        for name, column in found.items()
    }
    share = float(np.where(gap, 1.0, flagged).mean())
    if gap.any():
        notices.append(
            f"{stored.source}: {int(gap.sum())} of {time.steps} steps are gaps, filled by the estimate"
        )
    if stored.methods:
        notices.append(f"{stored.source} marks values estimated: {', '.join(stored.methods)}")
    return _Found(
        filled,
        {
            name: DataSource(
                known.series,
                source,
                stored.version,
                share,
                hash=stored.hash,
                factors=tuple(sorted(used.union(known.factors if gap.any() else ()), key=lambda f: f.key)),
            )
            for name, known in sources.items()
            if name in filled
        },
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
        if name in (CARBON, CARBON_LOW, CARBON_HIGH, MARGINAL):
            if low < 0 or high > HIGHEST_G_PER_KWH:
                faults.append(
                    Fault(
                        f"{file} column {name!r}",
                        f"is {low:g} to {high:g}; 0 to {HIGHEST_G_PER_KWH:g} g/kWh is possible",
                    )
                )
            elif high < 2:
                faults.append(Fault(f"{file} column {name!r}", f"is at most {high:g}; in g/kWh, not kg/kWh?"))
        elif name == RENEWABLE or name.startswith(SHARE):
            if low < 0 or high > 1 + 1e-9:
                faults.append(Fault(f"{file} column {name!r}", f"is {low:g} to {high:g}; shares are 0 to 1"))
        else:
            known = (CARBON, CARBON_LOW, CARBON_HIGH, MARGINAL, RENEWABLE, f"{SHARE}TECHNOLOGY")
            faults.append(Fault(f"{file} column {name!r}", f"is unknown; {nearest(name, known)}"))
    if (CARBON_LOW in found) != (CARBON_HIGH in found):
        faults.append(Fault(file, f"has one of {CARBON_LOW} and {CARBON_HIGH}; give both or neither"))
    elif CARBON_LOW in found and CARBON in found:
        inside = (found[CARBON_LOW] <= found[CARBON]) & (found[CARBON] <= found[CARBON_HIGH])
        if not inside.all():
            step = int(np.argmin(inside))
            faults.append(
                Fault(
                    file,
                    f"has {found[CARBON][step]:g} g/kWh outside its range of {found[CARBON_LOW][step]:g} to "
                    f"{found[CARBON_HIGH][step]:g} in step {step}; correct the range",
                )
            )
    if faults:
        raise InputError(faults)
