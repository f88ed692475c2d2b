"""A day's plan: the public document ``wattshed.plan/1`` and the series behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid


@dataclass(frozen=True)
class SeriesTable:
    """Named series over one time grid: `values` has shape (steps, len(columns))."""

    columns: tuple[str, ...]
    values: FloatArray

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise ValueError(f"values of shape {self.values.shape} for {len(self.columns)} columns")

    def column(self, name: str) -> FloatArray:
        """One series, shape (steps,); `KeyError` where there is none of that name."""
        try:
            return self.values[:, self.columns.index(name)]
        except ValueError:
            raise KeyError(name) from None


@dataclass(frozen=True)
class Plan:
    """One planned day of one city.

    `document` is the public ``wattshed.plan/1`` (JSON-ready, the same bytes for the same inputs);
    `tables` holds the day's series by name. Every table covers `time`, the local day (92, 96 or 100
    quarter-hours). What is unknown in a step without an AC solution is NaN. Tables whose name starts
    with ``planned.``, ``uncontrolled.`` or (only with day-ahead information) ``actual.`` exist once per
    case. Tables and their columns:

    * ``CASE.asset_p_kw``: asset ids; kW, the sign rule of the schedule
    * ``CASE.asset_e_kwh``: each battery, EV and swap station; kWh at interval end
    * ``CASE.unit_series``: in a city with units, what each reports beside its power, as ``unit/series``
      (``h2/tank_kg``, ``pump/room_c``), in the unit of its name
    * ``CASE.curtailed_kw``: each renewable; kW
    * ``CASE.supply_mw``: import, wind, pv, hydro, biomass, …, battery, v2g, hydrogen; MW ≥ 0
    * ``CASE.use_mw``: load, ev, battery, of units flexible and hydrogen, export, losses; MW ≥ 0
    * ``CASE.vm_pu``: bus index as text; pu
    * ``CASE.loading_percent``: ``line 3``, ``trafo 0``; per cent of the rated current
    * ``CASE.p_from_mw``: ``line 3``, ``trafo 0``; MW entering at the from (hv) end
    * ``CASE.totals``: cost_eur, emissions_kg, losses_mw, import_mw, export_mw, carbon_g_per_kwh,
      renewable_share
    * ``CASE.district.energy_mwh``, ``.emissions_kg``, ``.loss_emissions_kg``, ``.carbon_g_per_kwh``,
      ``.renewable_share``, ``.charged_kg``, ``.discharged_kg``, ``.local_generation_mwh``,
      ``.exchange_mwh``, ``.exchange_kg``: district ids, ``boundary`` included; exchange ``+`` is received
    * ``planned.marginal_g_per_kwh``: ``grid`` (the connection) and bus index as text; what a kWh more there
      emits with the planned dispatch, NaN where it is not estimated; only where the city wants it
    * ``CASE.district_source_mwh``: ``district/technology``; MWh (``import`` is the upstream grid)
    * ``market``: import_price_eur_per_mwh, export_price_eur_per_mwh, upstream_g_per_kwh,
      upstream_marginal_g_per_kwh, price_eur_per_mwh (the plan's total price at the root)
    """

    city: str
    day: str
    information: str
    time: TimeGrid
    document: Mapping[str, Any]
    tables: Mapping[str, SeriesTable]
