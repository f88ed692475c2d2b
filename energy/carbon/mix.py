"""The carbon of a generation mix: power by technology, weighed with the factors of the technologies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energy.domain.network import FloatArray


@dataclass(frozen=True)
class MixCarbon:
    """Of every step, shape (steps,) and (steps, technologies); NaN where nothing of the mix is known."""

    carbon_g_per_kwh: FloatArray
    renewable_share: FloatArray
    shares: FloatArray


def mix_carbon(
    technologies: Sequence[str],
    power: FloatArray,
    g_per_kwh: Mapping[str, float],
    renewable: Mapping[str, bool],
) -> MixCarbon:
    """Average carbon and renewable share of `power`, shape (steps, technologies), any unit, not negative.

    What storages and other zones supply is left out by the caller: it takes the average of the rest.
    A step without any power is NaN, not zero.
    """
    total = power.sum(axis=1, keepdims=True)
    shares = np.divide(power, total, out=np.full_like(power, np.nan), where=total > 0)
    intensity = np.array([g_per_kwh[name] for name in technologies])
    green = np.array([float(renewable[name]) for name in technologies])
    return MixCarbon(shares @ intensity, shares @ green, shares)
