"""Tables of a city's directory: assets, EV sessions and the district of each bus, one CSV row each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from energy.domain.documents import Document, Identifier, Instant, faults_of
from energy.domain.errors import Fault, InputError
from energy.domain.period import UserClass
from energy.feeds.city import Efficiency, Fraction, NotNegative
from energy.feeds.series import rows_of


def _bus(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().lstrip("-").isdigit() else value


Bus = Annotated[int | str, BeforeValidator(_bus)]


class Row(Document):
    """A CSV row: text is read as numbers and truth values; an empty cell is a missing one."""

    model_config = ConfigDict(strict=False)


class LoadRow(Row):
    """Demand at a bus: `p_kw` (and `q_kvar`) times the column `profile` of a profiles file.

    `user_class` comes before the rules of ``[assets.user_classes]``.
    """

    id: Identifier
    bus: Bus
    profile: str
    p_kw: float = Field(ge=0)
    q_kvar: float = 0.0
    name: str = ""
    user_class: UserClass | None = None


class RenewableRow(Row):
    """Generation at a bus: `p_kw` times the column `profile`."""

    id: Identifier
    bus: Bus
    technology: str
    profile: str
    p_kw: float = Field(ge=0)
    name: str = ""
    curtailable: bool = True


class BatteryRow(Row):
    """A stationary battery; efficiencies are one-way."""

    id: Identifier
    bus: Bus
    charge_max_kw: float = Field(gt=0)
    discharge_max_kw: float = Field(gt=0)
    e_max_kwh: float = Field(gt=0)
    e_min_kwh: NotNegative = 0.0
    e_start_kwh: NotNegative
    charge_efficiency: Efficiency
    discharge_efficiency: Efficiency
    self_discharge_per_hour: Fraction = 0.0
    wear_cost_per_mwh: NotNegative = 0.0
    carbon_start_g_per_kwh: NotNegative = 400.0
    name: str = ""

    @model_validator(mode="after")
    def _bounds(self) -> BatteryRow:
        if not self.e_min_kwh <= self.e_start_kwh <= self.e_max_kwh:
            raise ValueError(
                f"e_start_kwh {self.e_start_kwh:g} must lie between e_min_kwh {self.e_min_kwh:g} and "
                f"e_max_kwh {self.e_max_kwh:g}"
            )
        return self


class VehicleRow(Row):
    """An EV that charges at one bus."""

    id: Identifier
    bus: Bus
    fleet: Identifier
    v2g: bool
    e_max_kwh: float = Field(gt=0, le=2000)
    e_min_kwh: NotNegative = 0.0
    charge_efficiency: Efficiency = 0.92
    discharge_efficiency: Efficiency = 0.92
    wear_cost_per_mwh: NotNegative = 20.0
    carbon_start_g_per_kwh: NotNegative = 400.0

    @model_validator(mode="after")
    def _bounds(self) -> VehicleRow:
        if self.e_min_kwh >= self.e_max_kwh:
            raise ValueError(f"e_min_kwh {self.e_min_kwh:g} must be below e_max_kwh {self.e_max_kwh:g}")
        return self


class SessionRow(Row):
    """One stay at the charger; `energy_kwh` is what the driver needs by departure, at the battery."""

    vehicle: Identifier
    arrival: Instant
    departure: Instant
    charge_max_kw: float = Field(gt=0, le=5000)
    discharge_max_kw: float = Field(default=0.0, ge=0, le=5000)
    energy_kwh: float = Field(gt=0, le=2000)
    distance_km: NotNegative = 0.0

    @model_validator(mode="after")
    def _ends(self) -> SessionRow:
        if self.departure <= self.arrival:
            raise ValueError(f"departure {self.departure} is not after arrival {self.arrival}")
        return self


class BusRow(Row):
    """The district of a bus; `name` is needed once per district."""

    bus: Bus
    district: Identifier
    name: str = ""


RowModel = TypeVar("RowModel", bound=Row)


def read_rows(path: Path, name: str, model: type[RowModel]) -> tuple[RowModel, ...]:
    """The rows of a CSV file as `model`; `InputError` with every fault, located by row."""
    header, rows, faults = rows_of(path, name)
    result = []
    for number, row in rows.items():
        cells = {column: text.strip() for column, text in zip(header, row, strict=True) if text.strip()}
        try:
            result.append(model.model_validate(cells))
        except ValidationError as error:
            faults += [
                Fault(f"{name} row {number}" + (f": {fault.path}" if fault.path else ""), fault.message)
                for fault in faults_of(error, model)
            ]
    if faults:
        raise InputError(faults)
    return tuple(result)
