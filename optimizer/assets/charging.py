"""How a store charges when nobody controls it: what the safe rule of `optimizer.fallback` works with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.domain.network import FloatArray, IntArray

SERVED_KWH = 1e-6
"""Unserved energy (of heat too) below this is the solver's tolerance."""


@dataclass(frozen=True)
class Charging:
    """A store that draws at most `most_kw` until its energy at the end of a step is `target_kwh`.

    It draws nothing or at least `least_kw`. `drives_kwh` leave in a step; `due` is the last step in which
    it can charge for its target, `priority` what that is worth beside others. Energies are in the store;
    arrays have shape (steps,).
    """

    e_start_kwh: float
    e_min_kwh: float
    e_max_kwh: float
    efficiency: float
    retained: float
    most_kw: FloatArray
    least_kw: FloatArray
    target_kwh: FloatArray
    drives_kwh: FloatArray
    due: IntArray
    priority: FloatArray


@dataclass(frozen=True)
class Charged:
    """What became of a `Charging`: power, energy at the end of each step, and what drives went short of."""

    p_kw: FloatArray
    e_kwh: FloatArray
    unserved_kwh: FloatArray


def uncharged(charging: Charging) -> Charged:
    """What becomes of a store that never charges."""
    energy, energies = charging.e_start_kwh, np.zeros(len(charging.drives_kwh))
    unserved = np.zeros(len(energies))
    for step, drive in enumerate(charging.drives_kwh.tolist()):
        energy *= charging.retained
        unserved[step] = max(drive - (energy - charging.e_min_kwh), 0.0)
        energies[step] = energy = energy - (drive - unserved[step])
    return Charged(np.zeros(len(energies)), energies, unserved)
