"""Hydrogen and swap stations as ``ev-carbon`` shows them, and all that vehicles took beside each other."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from energy.carbon.ev import EvGroup
from energy.carbon.marginal import MarginalMethod
from energy.carbon.stations import HYDROGEN, SWAPS, Station
from energy.domain.report import Cell, Column, Figure, Table
from energy.service.reports.at_margin import caused
from energy.service.reports.figures import TRACED, figure, span, words
from energy.service.reports.registry import Context

_KINDS = {
    HYDROGEN: words("Hydrogen", "水素"),
    SWAPS: words("Battery swaps", "電池交換"),
}
_ACCOUNTS = (
    ("charged_kg", words("Carbon charged", "充電の炭素")),
    ("driven_kg", words("Taken by vehicles", "車両へ供給")),
    ("exported_kg", words("Given back", "系統へ返送")),
    ("residual_kg", words("Emptied stores", "空になった貯蔵の端数")),
    ("change_kg", words("Change in stores", "貯蔵残量の変化")),
)


def stations_table(context: Context, found: Sequence[Station], at_margin: MarginalMethod) -> Table:
    """Every station: what its tank took in, and the carbon of a kg of hydrogen or a kWh swapped."""
    return Table(
        "stations",
        words("Hydrogen and swap stations", "水素・電池交換ステーション"),
        (
            Column("station", words("Station", "ステーション")),
            Column("kind", words("Kind", "種類")),
            Column("charged_mwh", words("Charged", "充電量"), "MWh"),
            Column("charged_kg", words("Carbon charged", "充電の炭素"), "kg"),
            Column("exported_mwh", words("Given back", "系統へ返送"), "MWh"),
            Column("exported_kg", words("Carbon given back", "返送の炭素"), "kg"),
            Column("driven_mwh", words("Taken by vehicles, as electricity", "車両へ供給（電力換算）"), "MWh"),
            Column("hydrogen_kg", words("Hydrogen delivered", "水素供給量"), "kg"),
            Column("driven_kg", words("Carbon taken", "供給の炭素"), "kg"),
            Column("kg_per_kg", words("CO2 per kg of hydrogen", "水素1 kgあたりCO2"), "kg/kg"),
            Column("g_per_kwh", words("Per kWh taken", "供給1 kWhあたり"), "g/kWh"),
            Column("change_kg", words("Change in the store", "貯蔵残量の変化"), "kg"),
            Column("marginal_kg", words("At the margin (not to be added)", "限界（合算不可）"), "kg"),
        ),
        tuple(_row(context, station, at_margin) for station in found),
        words(
            "Carbon charged = taken by vehicles + given back + change in the store + what emptied stores "
            "gave up. The store carries its carbon from day to day.",
            "充電の炭素＝車両へ供給＋返送＋残量変化＋空になった貯蔵の端数。炭素は日をまたいで貯蔵に保持する。",
        ),
    )


def transport_table(context: Context, evs: EvGroup, found: Sequence[Station]) -> Table:
    """EVs, hydrogen and swaps, and their sum: the carbon that the city's vehicles took from its grid."""
    groups: dict[str, list[EvGroup]] = {"ev": [evs]}
    for station in found:
        groups.setdefault(station.asset.kind, []).append(station.use)
    titles = {"ev": words("EVs", "EV"), **_KINDS}
    rows: list[tuple[Cell, ...]] = []
    for kind, uses in groups.items():
        cells = [_transport(context, kind, key, uses) for key, _ in _ACCOUNTS]
        rows.append((titles[kind], *cells))
    everything = [use for uses in groups.values() for use in uses]
    total = [_transport(context, "all", key, everything, tuple(groups)) for key, _ in _ACCOUNTS]
    return Table(
        "transport",
        words("All that vehicles take from the grid", "車両が系統から受けるすべて"),
        (Column("kind", words("By", "方式")), *(Column(key, title, "kg") for key, title in _ACCOUNTS)),
        (*rows, (words("All", "合計"), *total)),
    )


def _transport(
    context: Context, kind: str, key: str, uses: Sequence[EvGroup], kinds: Sequence[str] = ()
) -> Figure:
    charged = sum(use.charged_mwh for use in uses)
    estimated = sum(use.charged_mwh * use.estimated_share for use in uses)
    of = operator.attrgetter(key)
    return figure(
        f"transport/{kind}/{key}",
        sum(of(use) for use in uses),
        "kg",
        low=sum(use.at_ends(of)[0] for use in uses),
        high=sum(use.at_ends(of)[1] for use in uses),
        ledger="traced",
        method="stations" if kind != "ev" else "ev",
        estimated_share=estimated / charged if charged else 0.0,
        inputs=TRACED,
        parts=tuple(f"transport/{part}/{key}" for part in kinds),
        rule="sum" if kinds else "",
        days=span(context.period),
    )


def _row(context: Context, station: Station, at_margin: MarginalMethod) -> tuple[Cell, ...]:
    use, at, days = station.use, f"stations/{station.asset.id}", span(context.period)

    def traced(
        key: str, of: Callable[[Station], float], unit: str, *parts: str, why: str = "not known"
    ) -> Figure:
        low, high = use.at_ends(lambda end: of(replace(station, use=end)))
        return figure(
            f"{at}/{key}", of(station), unit, explanation=why, low=low, high=high, ledger="traced",
            method="stations", estimated_share=use.estimated_share, inputs=TRACED, days=days,
            parts=tuple(f"{at}/{part}" for part in parts), rule="ratio" if parts else "",
        )  # fmt: skip

    hydrogen: Mapping[str, Cell] = {"hydrogen_kg": None, "kg_per_kg": None}
    if station.asset.kind == HYDROGEN:
        unknown = "a day was stored without the mass of its hydrogen; plan it again"
        hydrogen = {
            "hydrogen_kg": figure(
                f"{at}/hydrogen_kg", station.hydrogen_kg, "kg", explanation=unknown, days=days
            ),
            "kg_per_kg": traced(
                "kg_per_kg", lambda found: found.kg_per_kg, "kg/kg", "driven_kg", "hydrogen_kg",
                why="nothing was delivered, or its mass is not known",
            ),
        }  # fmt: skip
    return (
        station.asset.name,
        _KINDS[station.asset.kind],
        figure(f"{at}/charged_mwh", use.charged_mwh, "MWh", days=days),
        traced("charged_kg", lambda found: found.use.charged_kg, "kg"),
        figure(f"{at}/exported_mwh", use.exported_mwh, "MWh", days=days),
        traced("exported_kg", lambda found: found.use.exported_kg, "kg"),
        figure(f"{at}/driven_mwh", use.driven_mwh, "MWh", days=days),
        hydrogen["hydrogen_kg"],
        traced("driven_kg", lambda found: found.use.driven_kg, "kg"),
        hydrogen["kg_per_kg"],
        traced(
            "g_per_kwh", lambda found: found.g_per_kwh, "g/kWh", "driven_kg", "driven_mwh",
            why="nothing was taken",
        ),
        traced("change_kg", lambda found: found.use.change_kg, "kg"),
        caused(f"{at}/marginal_kg", use.marginal, at_margin, days),
    )  # fmt: skip
