"""The registry of emission factors: a versioned table with the source of every value.

A factor is never overwritten: a correction is a new row with the same id and a higher version, so a
report that names its version can be made again.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Literal

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError

Basis = Literal["life-cycle", "direct"]


@dataclass(frozen=True, slots=True)
class Factor:
    """One emission factor.

    Attributes:
        renewable: whether the technology counts as renewable.
        value, low, high: in `unit` (``g/kWh`` of electricity, ``kg/TJ`` of fuel); low and high are the
            range of the source, None where it gives none.
        gas_basis: which gases, with which warming potentials.
        estimated: the source does not give this value for this technology; `note` says how it came about.
        valid_from: first day it may be used for.
    """

    id: str
    technology: str
    renewable: bool
    value: float
    low: float | None
    high: float | None
    unit: str
    gas_basis: str
    basis: Basis
    estimated: bool
    source: str
    data_year: int
    publication_year: int
    valid_from: date
    version: int
    note: str

    @property
    def g_per_kwh(self) -> float:
        """The value as g per kWh of electricity; `InputError` for a factor of fuel."""
        if self.unit != "g/kWh":
            raise InputError(
                Fault(
                    f"factor {self.id!r}",
                    f"is per fuel ({self.unit}); electricity needs the efficiency of a plant as well",
                )
            )
        return self.value


@dataclass(frozen=True)
class FactorRegistry:
    """Factors by technology and basis; `version` names the table, down to its bytes."""

    factors: tuple[Factor, ...]
    version: str

    def generation(self, technology: str, basis: Basis = "life-cycle") -> Factor:
        """The factor of electricity from `technology`; `InputError` where there is none, never zero."""
        of_basis = {factor.technology: factor for factor in self.factors if factor.basis == basis}
        if technology not in of_basis:
            raise InputError(
                Fault(
                    f"technology {technology!r}",
                    f"has no {basis} emission factor; {nearest(technology, of_basis)}",
                )
            )
        return of_basis[technology]

    def intensities(self, technologies: tuple[str, ...], basis: Basis = "life-cycle") -> dict[str, float]:
        """g/kWh of several technologies; `InputError` naming every one without a factor."""
        faults: list[Fault] = []
        found = {}
        for technology in technologies:
            try:
                found[technology] = self.generation(technology, basis).g_per_kwh
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(faults)
        return found


def load_factors(version: int | None = None) -> FactorRegistry:
    """The packaged factors; of each id the newest row, or the newest up to `version`."""
    text = files("energy.feeds").joinpath("factors.csv").read_bytes()
    newest: dict[str, Factor] = {}
    for row in csv.DictReader(io.StringIO(text.decode("utf-8"))):
        factor = _factor(row)
        known = newest.get(factor.id)
        if (version is None or factor.version <= version) and (
            known is None or factor.version > known.version
        ):
            newest[factor.id] = factor
    if not newest:
        raise InputError(Fault("factors", f"no factor has version {version} or lower"))
    release = max(factor.version for factor in newest.values())
    return FactorRegistry(tuple(newest.values()), f"{release}+{hashlib.sha256(text).hexdigest()[:12]}")


def _factor(row: dict[str, str]) -> Factor:
    basis: Basis = "direct" if row["basis"] == "direct" else "life-cycle"
    return Factor(
        id=row["id"],
        technology=row["technology"],
        renewable=row["renewable"] == "true",
        value=float(row["value"]),
        low=float(row["low"]) if row["low"] else None,
        high=float(row["high"]) if row["high"] else None,
        unit=row["unit"],
        gas_basis=row["gas_basis"],
        basis=basis,
        estimated=row["estimated"] == "true",
        source=row["source"],
        data_year=int(row["data_year"]),
        publication_year=int(row["publication_year"]),
        valid_from=date.fromisoformat(row["valid_from"]),
        version=int(row["version"]),
        note=row["note"],
    )
