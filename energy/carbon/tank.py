"""Storage as a mixing tank: what is charged mixes with what is stored, what is taken has the mix.

Energy e and carbon m of each tank:

    e' = e·(1 − σ) + η_c·q − d/η_d        m' = m + c·q − (m/e)·d/η_d

with q charged and d delivered at the connection, c the carbon per unit charged, and one-way
efficiencies. Conversion and standing losses take energy and leave the carbon, so they concentrate
it: whoever takes the energy takes the carbon of its losses. Nothing is dropped: when a tank runs
empty, what is left of its contents is handed out as residual.

Renewable energy r is a part of the energy, lost with it, so that its share stays between 0 and 1:

    r' = r·(1 − σ) + η_c·s·q − (r/e)·d/η_d        (r/e)·d is delivered

with s the renewable share of what is charged.

Carbon by other factors (the low and high ends of their ranges) is carried like carbon.

Any consistent units serve (MWh and kg, kWh and g); `EMPTY_KWH` is the one absolute figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.domain.network import FloatArray

EMPTY_KWH = 1e-9
"""A tank below this is empty: its remaining contents are booked out."""


class Tanks:
    """Any number of tanks side by side; every array has one entry (or row) per tank.

    Attributes:
        energy: what is stored, shape (tanks,).
        content: what it carries, shape (tanks, contents): carbon, then (if wanted) the renewable part of
            the energy, then (if wanted) carbon by other factors.
    """

    def __init__(
        self,
        energy: FloatArray,
        content: FloatArray,
        charge_efficiency: FloatArray,
        discharge_efficiency: FloatArray,
        standing_loss: FloatArray,
        *,
        empty: float,
    ) -> None:
        """`standing_loss` is σ per step; `empty` is `EMPTY_KWH` in the unit of `energy`."""
        self.energy = np.array(energy, dtype=float)
        self.content = np.array(content, dtype=float)
        self.charge_efficiency = np.asarray(charge_efficiency, dtype=float)
        self.discharge_efficiency = np.asarray(discharge_efficiency, dtype=float)
        self.kept = 1.0 - np.asarray(standing_loss, dtype=float)
        self._empty = empty

    @property
    def mix(self) -> FloatArray:
        """Content per stored energy, shape (tanks, contents); NaN where a tank is empty."""
        energy = np.where(self.energy > 0, self.energy, np.nan)
        return self.content / energy[:, None]

    def stand(self, steps: int = 1) -> None:
        """Lose energy by standing `steps` steps; the carbon stays."""
        kept = self.kept**steps
        self.energy = self.energy * kept
        self.content = self._as_energy(self.content, kept)

    def charge(self, metered: FloatArray, content: FloatArray) -> None:
        """Take `metered` energy at the connection, which carries `content` altogether."""
        self.energy = self.energy + self.charge_efficiency * metered
        self.content = self.content + self._as_energy(content, self.charge_efficiency)

    def discharge(self, delivered: FloatArray) -> FloatArray:
        """Deliver energy at the connection; returns what it carries, shape (tanks, contents)."""
        taken = self.withdraw(delivered / self.discharge_efficiency)
        return self._as_energy(taken, self.discharge_efficiency)

    def withdraw(self, taken: FloatArray) -> FloatArray:
        """Take energy out of the tanks; returns what it carries, shape (tanks, contents).

        A tank gives no more than it has: `overdrafts` finds beforehand who would ask for more.
        """
        share = np.divide(
            taken, self.energy, out=(taken > 0).astype(float), where=self.energy > np.maximum(taken, 0.0)
        )
        carried = self.content * share[:, None]
        self.energy = np.maximum(self.energy - taken, 0.0)
        self.content = self.content - carried
        return carried

    def allowed_overdraft(self, taken: FloatArray, energy: FloatArray, tolerance: float) -> FloatArray:
        """What may be missing: rounding of a sum that was meant to empty the tank is no overdraft."""
        return tolerance + self._empty + 1e-12 * (taken + energy)

    def book_out(self) -> FloatArray:
        """Empty the tanks that hold next to nothing; returns what they still carried."""
        empty = self.energy < self._empty
        residual = np.where(empty[:, None], self.content, 0.0)
        self.content = np.where(empty[:, None], 0.0, self.content)
        return residual

    @staticmethod
    def _as_energy(content: FloatArray, kept: FloatArray) -> FloatArray:
        """`content` after a loss that leaves the share `kept` of the energy: its renewable part goes with
        it, carbon stays."""
        left = np.array(content)
        left[:, 1:2] *= kept[:, None]
        return left


@dataclass(frozen=True, slots=True)
class Overdraft:
    """Step `step` asks tank `tank` for `asked`, and `stored` is there (energy, as the tanks count it)."""

    tank: int
    step: int
    asked: float
    stored: float


def overdrafts(
    tanks: Tanks, charge: FloatArray, discharge: FloatArray, drive: FloatArray, tolerance: float
) -> list[Overdraft]:
    """The first step of each tank that asks for more than is stored; energies never depend on the mix.

    `charge` and `discharge` are metered energies, `drive` is taken at the battery; each has shape
    (steps, tanks). Within a step a tank stands, delivers, charges and is driven, in this order.
    """
    found: dict[int, Overdraft] = {}
    energy = tanks.energy
    for step in range(len(charge)):
        energy = energy * tanks.kept
        for taken, added in (
            (discharge[step] / tanks.discharge_efficiency, tanks.charge_efficiency * charge[step]),
            (drive[step], 0.0),
        ):
            for tank in np.flatnonzero(taken - energy > tanks.allowed_overdraft(taken, energy, tolerance)):
                found.setdefault(int(tank), Overdraft(int(tank), step, taken[tank], energy[tank]))
            energy = np.maximum(energy - taken, 0.0) + added
    return sorted(found.values(), key=lambda overdraft: (overdraft.step, overdraft.tank))
