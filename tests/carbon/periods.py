"""Random consistent periods of a city: every kWh and gram of a small copper-plate grid in its place."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st

from energy.domain.network import FloatArray
from energy.domain.period import (
    ENDS,
    Account,
    AccountedDay,
    AssetEntry,
    DayRun,
    Period,
    TracedCarbon,
    end_name,
)
from energy.domain.time import TimeGrid

ETA = 0.92
DISTRICTS = ("boundary", "east", "west")
BUSES = (0, 1, 2, 3)
DISTRICT_OF_BUS = {0: "boundary", 1: "east", 2: "east", 3: "west"}
ASSETS = (
    AssetEntry("home", "homes", "load", 1, "east", {"residential": 1.0}),
    AssetEntry("shop", "shops", "load", 2, "east", {"commercial": 0.75, "industry": 0.25}),
    AssetEntry("farm", "farm", "load", 3, "west", {"agriculture": 1.0}),
    AssetEntry("pv", "roof", "renewable", 1, "east", {"energy_industries": 1.0}, "pv_rooftop"),
    AssetEntry("wind", "wind", "renewable", 3, "west", {"energy_industries": 1.0}, "wind_onshore"),
    AssetEntry("bat", "battery", "battery", 2, "east", {"energy_industries": 1.0}),
    AssetEntry("car1", "car 1", "ev", 2, "east", {"transport": 1.0}, "", "taxi"),
    AssetEntry("car2", "car 2", "ev", 3, "west", {"transport": 1.0}, "", "home"),
)
FIRST_DAYS = (date(2016, 1, 1), date(2016, 3, 26), date(2016, 6, 29), date(2016, 10, 29))
DONE = datetime(2020, 1, 1, tzinfo=UTC)
STORAGES = ("bat", "car1", "car2")


def table(period: Period, name: str) -> FloatArray:
    """A table of all days of a period, NaN in hours without one."""
    return period.hourly(lambda day: getattr(day, name), getattr(next(iter(period.by_day)), name).shape[1])


def with_tables(period: Period, **tables: FloatArray) -> Period:
    """`period` with other tables, shape (hours, columns)."""
    changed = (
        replace(day, **{name: values[day.hours] for name, values in tables.items()}) for day in period.by_day
    )
    return replace(period, by_day=tuple(with_ends_of(day) for day in changed))


LOW, HIGH = 0.8, 1.3
"""The ends of all factors, as shares of them: so those of all carbon are too."""


def at_end(carbon: TracedCarbon, share: float) -> TracedCarbon:
    """The carbon of a day with all factors at an end."""
    return TracedCarbon(**{item.name: share * getattr(carbon, item.name) for item in fields(TracedCarbon)})


def with_ends_of(day: AccountedDay) -> AccountedDay:
    """The day with both ends of its carbon."""
    return replace(day, read_ends=lambda: (at_end(day.carbon, LOW), at_end(day.carbon, HIGH)))


def with_ends(table: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """A table of an account with both ends of its carbon."""
    ends = zip(ENDS, (LOW, HIGH), strict=True)
    return table | {
        end_name(name, end): share * values
        for end, share in ends
        for name, values in table.items()
        if name.endswith(("_kg", "_g_per_kwh"))
    }


@dataclass(frozen=True)
class _Run:
    account: Account
    drawn: FloatArray
    drawn_kg: FloatArray
    injected: FloatArray
    injected_kg: FloatArray
    driven: FloatArray
    driven_kg: FloatArray
    distance: FloatArray
    tank: FloatArray
    tank_kg: FloatArray
    mix: FloatArray


@st.composite
def periods(draw: st.DrawFn, *, missing: bool | None = None) -> Period:
    """A period of one to four local days in Berlin, clock changes among them; with ``missing`` a day in
    the middle has not been stored."""
    seed = draw(st.integers(0, 2**31))
    first = draw(
        st.sampled_from([date(2016, 1, 1), date(2016, 3, 26), date(2016, 6, 29), date(2016, 10, 29)])
    )
    length = draw(st.integers(1, 4))
    gap = draw(st.booleans()) if missing is None else missing
    return build(seed, first, max(length, 3) if gap else length, gap=gap)


def build(seed: int, first: date, length: int, *, gap: bool = False, marginal: bool = True) -> Period:
    """The period of that seed; ``marginal``: whether a marginal intensity is known upstream."""
    random = np.random.default_rng(seed)
    zone = ZoneInfo("Europe/Berlin")
    names = [first + timedelta(days=k) for k in range(length)]
    grids = [TimeGrid.local_day(day, zone, timedelta(hours=1)) for day in names]
    time = TimeGrid(grids[0].start, timedelta(hours=1), sum(grid.steps for grid in grids))
    hours = time.steps
    use = random.uniform(0.0, 2.0, (hours, 3))
    generated = random.uniform(0.0, 1.5, (hours, 2)) * random.integers(0, 2, (hours, 2))
    upstream_g = random.uniform(100.0, 600.0, hours)
    energy = random.uniform(0.05, 0.3, 3)
    carbon = energy * random.uniform(0.0, 500.0, 3)
    price = random.uniform(-20.0, 120.0, hours)
    driving = random.uniform(0.0, 0.1, (hours, 3)) * [0.0, 1.0, 1.0]
    runs = [
        _run(random, use, generated, upstream_g, energy, carbon, driving, price, flexible)
        for flexible in (True, False)
    ]
    actual, idle = runs
    opened = np.concatenate(([0], np.cumsum([grid.steps for grid in grids])))[:-1]
    before, before_kg = np.vstack((energy, actual.tank)), np.vstack((carbon, actual.tank_kg))
    stored = [k for k in range(length) if not (gap and k == 1)]
    blank = np.zeros(hours, dtype=bool)
    if gap:
        blank[opened[1] : opened[1] + grids[1].steps] = True

    def known(values: FloatArray) -> FloatArray:
        kept: FloatArray = np.array(values)
        kept[blank] = np.nan
        return kept

    def account(run: _Run) -> Account:
        return Account(
            {name: known(values) for name, values in run.account.districts.items()},
            {name: known(values) for name, values in run.account.city.items()},
        )

    happened = account(actual)
    return Period(
        city="reference",
        label=f"{names[0]}/{names[-1]}",
        zone=zone,
        time=time,
        days=tuple(
            DayRun(str(names[k]), k, "perfect", "secure", f"sha256:{k}", "0", "1", DONE) for k in stored
        ),
        missing=tuple(str(names[k]) for k in range(length) if k not in stored),
        districts=DISTRICTS,
        actual=happened,
        planned=happened,
        uncontrolled=account(idle),
        assets=ASSETS,
        storages=STORAGES,
        buses=BUSES,
        by_day=tuple(
            with_ends_of(day)
            for day in (
                AccountedDay(
                    hours=rows,
                    drawn_mwh=actual.drawn[rows],
                    drawn_kg=actual.drawn_kg[rows],
                    injected_mwh=actual.injected[rows],
                    injected_kg=actual.injected_kg[rows],
                    driven_mwh=actual.driven[rows],
                    driven_kg=actual.driven_kg[rows],
                    distance_km=actual.distance[rows],
                    tank_mwh=actual.tank[rows],
                    tank_kg=actual.tank_kg[rows],
                    opening_mwh=before[rows.start],
                    opening_kg=before_kg[rows.start],
                    bus_carbon_g_per_kwh=np.repeat(actual.mix[rows, None], len(BUSES), axis=1),
                )
                for rows in (slice(opened[k], opened[k] + grids[k].steps) for k in stored)
            )
        ),
        upstream={
            **with_ends({"carbon_g_per_kwh": known(upstream_g)}),
            "marginal_g_per_kwh": known(upstream_g * 1.5 if marginal else np.full(hours, np.nan)),
            "renewable_share": known(random.uniform(0.0, 1.0, hours)),
            "estimated_share": known(np.ones(hours)),
        },
        import_price_per_mwh=known(price),
        export_price_per_mwh=known(price - 10.0),
        coupling="direct",
        losses="account",
    )


def _run(
    random: np.random.Generator,
    use: FloatArray,
    generated: FloatArray,
    upstream_g: FloatArray,
    energy: FloatArray,
    carbon: FloatArray,
    driving: FloatArray,
    price: FloatArray,
    flexible: bool,
) -> _Run:
    hours = len(use)
    charge = random.uniform(0.0, 0.3, (hours, 3)) * random.integers(0, 2, (hours, 3))
    want = random.uniform(0.0, 0.2, (hours, 3)) if flexible else np.zeros((hours, 3))
    discharge, driven, driven_kg, out_kg = (np.zeros((hours, 3)) for _ in range(4))
    tank, tank_kg = np.zeros((hours, 3)), np.zeros((hours, 3))
    e, m = energy.copy(), carbon.copy()
    mix, imported, exported, losses = (np.zeros(hours) for _ in range(4))
    for h in range(hours):
        discharge[h] = np.minimum(want[h], 0.9 * e * ETA) * (charge[h] == 0)
        # what leaves a tank carries its mix at the hour's start; what is charged comes after
        share = discharge[h] / ETA / e
        out_kg[h] = m * share
        e, m = e - discharge[h] / ETA, m - out_kg[h]
        demand = use[h].sum() + charge[h].sum()
        losses[h] = 0.03 * demand
        supply = generated[h].sum() + discharge[h].sum()
        imported[h] = max(0.0, demand + losses[h] - supply)
        exported[h] = max(0.0, supply - demand - losses[h])
        source_kg = imported[h] * upstream_g[h] + generated[h] @ [41.0, 11.0] + out_kg[h].sum()
        mix[h] = source_kg / (demand + losses[h] + exported[h])
        e, m = e + ETA * charge[h], m + mix[h] * charge[h]
        driven[h] = np.minimum(driving[h], 0.9 * e)
        driven_kg[h] = m * driven[h] / e
        e, m = e - driven[h], m - driven_kg[h]
        tank[h], tank_kg[h] = e, m
    drawn = np.column_stack((use, np.zeros((hours, 2)), charge))
    drawn_kg = drawn * mix[:, None]
    injected = np.column_stack((np.zeros((hours, 3)), generated, discharge))
    injected_kg = np.column_stack((np.zeros((hours, 3)), generated * [41.0, 11.0], out_kg))
    member = np.array(
        [[asset.district == district for district in DISTRICTS] for asset in ASSETS], dtype=float
    )

    def placed(values: FloatArray, kinds: set[str]) -> FloatArray:
        chosen = np.array([float(asset.kind in kinds) for asset in ASSETS])
        return np.asarray((values * chosen) @ member)

    stores, at_root = {"battery", "ev"}, np.array([1.0, 0.0, 0.0])
    end_use, end_use_kg = placed(drawn, {"load"}), placed(drawn_kg, {"load"})
    loss = losses[:, None] * [0.0, 0.6, 0.4]
    loss_kg = loss * mix[:, None]
    charged, charged_kg = placed(drawn, stores), placed(drawn_kg, stores)
    discharged, discharged_kg = placed(injected, stores), placed(injected_kg, stores)
    local, local_kg = placed(injected, {"renewable"}), placed(injected_kg, {"renewable"})
    import_kg, exports_kg = imported * upstream_g, exported * mix
    districts = {
        "energy_mwh": end_use,
        "emissions_kg": end_use_kg,
        "renewable_mwh": end_use * random.uniform(0.0, 1.0, (hours, 1)),
        "loss_mwh": loss,
        "loss_emissions_kg": loss_kg,
        "charged_mwh": charged,
        "charged_kg": charged_kg,
        "discharged_mwh": discharged,
        "discharged_kg": discharged_kg,
        "local_generation_mwh": local,
        "local_generation_kg": local_kg,
        "exchange_mwh": end_use
        + loss
        + charged
        - discharged
        - local
        + (exported - imported)[:, None] * at_root,
        "exchange_kg": end_use_kg
        + loss_kg
        + charged_kg
        - discharged_kg
        - local_kg
        + (exports_kg - import_kg)[:, None] * at_root,
    }
    city = {
        "sources_kg": import_kg + local_kg.sum(axis=1),
        "end_use_kg": end_use_kg.sum(axis=1),
        "losses_kg": loss_kg.sum(axis=1),
        "exports_kg": exports_kg,
        "ev_driven_kg": driven_kg.sum(axis=1),
        "storage_change_kg": np.diff(tank_kg.sum(axis=1), prepend=carbon.sum()),
        "storage_change_mwh": np.diff(tank.sum(axis=1), prepend=energy.sum()),
        "residual_kg": np.zeros(hours),
        "import_mwh": imported,
        "import_kg": import_kg,
        "export_mwh": exported,
        "losses_mwh": losses,
        "cost": imported * price - exported * (price - 10.0),
        "peak_import_mw": imported,
    }
    return _Run(
        Account(with_ends(districts), with_ends(city)),
        drawn,
        drawn_kg,
        injected,
        injected_kg,
        driven,
        driven_kg,
        driven * 1000 / 0.16,
        tank,
        tank_kg,
        mix,
    )
