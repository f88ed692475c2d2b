"""The upstream grid where nothing is measured: a merit-order estimate of its mix in every step.

National shapes of load, wind and PV are scaled to a year's published totals; nuclear, biomass, hydro,
waste and other run flat; lignite, hard coal, gas and oil fill what remains in order of cost above a
minimum share each, with capacities such that each technology's year meets its published total. The
last one running above its minimum is the marginal one. Whatever comes from here is an estimate and is
flagged so wherever it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray

GERMANY_2016_GROSS_TWH: Mapping[str, float] = MappingProxyType(
    {
        "lignite": 150.0,
        "coal": 112.0,
        "gas": 81.0,
        "oil": 6.0,
        "nuclear": 85.0,
        "wind": 80.0,
        "pv": 38.0,
        "biomass": 45.0,
        "hydro": 21.0,
        "waste": 6.0,
        "other": 27.0,
    }
)
"""Gross generation of Germany in 2016 by technology (``coal`` is hard coal).

AG Energiebilanzen e.V., "Stromerzeugung nach Energieträgern" (Strommix), 2016, rounded.
"""

METHOD = (
    "merit-order estimate from national shapes of load, wind and PV scaled to gross generation of Germany "
    "2016 (AG Energiebilanzen)"
)
FLAT = ("nuclear", "biomass", "hydro", "waste", "other")
MERIT_ORDER = ("lignite", "coal", "gas", "oil")
MINIMUM_SHARE: Mapping[str, float] = MappingProxyType({"lignite": 0.5, "coal": 0.25, "gas": 0.45, "oil": 0.5})
"""Share of its mean power that each technology never falls below: heat, reserve, start costs."""
_BISECTIONS = 200


@dataclass(frozen=True)
class UpstreamEstimate:
    """The estimated mix.

    Attributes:
        technologies: order of the columns of `power_mw`.
        power_mw: shape (steps, technologies).
        marginal: the column of the marginal technology in each step, shape (steps,).
    """

    technologies: tuple[str, ...]
    power_mw: FloatArray
    marginal: IntArray

    @property
    def shares(self) -> FloatArray:
        """Share of each technology in each step, shape (steps, technologies); rows sum to 1."""
        return self.power_mw / self.power_mw.sum(axis=1, keepdims=True)

    def average(self, per_technology: Mapping[str, float]) -> FloatArray:
        """The mean of a figure over the mix (g/kWh, or 0 and 1 for renewable), shape (steps,)."""
        return self.shares @ self._figures(per_technology)

    def marginal_figure(self, per_technology: Mapping[str, float]) -> FloatArray:
        """The figure of the marginal technology in each step, shape (steps,)."""
        return self._figures(per_technology)[self.marginal]

    def _figures(self, per_technology: Mapping[str, float]) -> FloatArray:
        missing = [name for name in self.technologies if name not in per_technology]
        if missing:
            raise InputError([Fault(f"technology {name!r}", "has no factor; add one") for name in missing])
        return np.array([per_technology[name] for name in self.technologies], dtype=float)


def merit_order(
    load: FloatArray,
    wind: FloatArray,
    pv: FloatArray,
    hours: float,
    totals_twh: Mapping[str, float] = GERMANY_2016_GROSS_TWH,
) -> UpstreamEstimate:
    """Estimate the mix of a whole year.

    Args:
        load, wind, pv: national shapes over the year, any unit, shape (steps,).
        hours: length of one step.
        totals_twh: the year's generation by technology; those of `FLAT` and `MERIT_ORDER`, wind and pv.

    Raises:
        InputError: shapes that are not finite, of different lengths, or without any positive value;
            unknown or missing technologies; all at once.
    """
    _check({"load": load, "wind": wind, "pv": pv}, totals_twh)
    steps = len(load)
    mean_mw = {name: twh * 1e6 / (steps * hours) for name, twh in totals_twh.items()}

    def scaled(shape: FloatArray, mean: float) -> FloatArray:
        positive = np.maximum(shape, 0.0)
        return positive * (mean / positive.mean())

    power = {"wind": scaled(wind, mean_mw["wind"]), "pv": scaled(pv, mean_mw["pv"])}
    power |= {name: np.full(steps, mean_mw[name]) for name in FLAT}
    minimum = {name: MINIMUM_SHARE[name] * mean_mw[name] for name in MERIT_ORDER}
    # what remains for the flexible part of the thermal fleet; surplus wind and PV is exported, and the
    # level is shifted so that the year's remainder is what the totals leave for that part
    remainder = scaled(load, sum(mean_mw.values())) - sum(power.values()) - sum(minimum.values())
    flexible = {name: mean_mw[name] - minimum[name] for name in MERIT_ORDER}
    wanted = sum(flexible.values())
    shift = _where_mean_is(
        wanted,
        lambda level: np.maximum(remainder - level, 0.0),
        float(remainder.max()),
        float(remainder.min()) - wanted,
    )
    remainder = np.maximum(remainder - shift, 0.0)
    marginal = np.zeros(steps, dtype=np.int64)
    for position, name in enumerate(MERIT_ORDER):
        if name == MERIT_ORDER[-1]:
            running = remainder
        else:
            capacity = _where_mean_is(
                flexible[name],
                partial(np.minimum, remainder),
                0.0,
                float(remainder.max()),
            )
            running = np.minimum(remainder, capacity)
        marginal = np.where(running > 0, position, marginal)
        power[name] = minimum[name] + running
        remainder = remainder - running
    technologies = tuple(totals_twh)
    column = np.array([technologies.index(name) for name in MERIT_ORDER], dtype=np.int64)
    return UpstreamEstimate(
        technologies,
        np.stack([power[name] for name in technologies], axis=1),
        column[marginal],
    )


def _where_mean_is(target: float, function: Callable[[float], FloatArray], low: float, high: float) -> float:
    """The level between `low` (mean too small) and `high` at which the mean of `function` is `target`."""
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if float(function(middle).mean()) < target:
            low = middle
        else:
            high = middle
    return high


def _check(shapes: Mapping[str, FloatArray], totals_twh: Mapping[str, float]) -> None:
    faults = []
    steps = len(shapes["load"])
    for name, shape in shapes.items():
        if shape.shape != (steps,):
            faults.append(Fault(name, f"has {shape.shape} values, load has {steps}; give one per step"))
        elif not np.isfinite(shape).all():
            faults.append(Fault(name, "has values that are not finite; fill or leave out these steps"))
        elif not (shape > 0).any():
            faults.append(Fault(name, "is nowhere above zero; a shape needs a positive value"))
    known = {*FLAT, *MERIT_ORDER, "wind", "pv"}
    for name in sorted(known ^ totals_twh.keys()):
        word = "is missing" if name in known else "is unknown"
        faults.append(Fault("totals_twh", f"{name!r} {word}; give {', '.join(sorted(known))}"))
    faults += [
        Fault(f"totals_twh.{name}", f"is {twh:g}; at least 0 is needed")
        for name, twh in totals_twh.items()
        if not twh >= 0
    ]
    if faults:
        raise InputError(faults)
