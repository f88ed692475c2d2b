"""``ledgers``: every ledger side by side, by any cut and resolution; never added together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np

from energy.carbon.breakdown import (
    BY,
    RESOLUTIONS,
    By,
    Cut,
    Intervals,
    Place,
    Resolution,
    cut,
    intervals,
    sums,
)
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray
from energy.domain.report import Cell, Column, Plot, Report, Table, Words
from energy.service.reports.at_margin import KINDS
from energy.service.reports.figures import TIME, figure, words
from energy.service.reports.ledger_columns import LEDGER, Chosen, Quantity, choose
from energy.service.reports.matched import MATCHING
from energy.service.reports.official import FIRST_MONTH, GAPS
from energy.service.reports.registry import Choice, Context, report

FIGURES_MOST = 30_000
"""A table of more numbers holds them bare, all but those of places that contain others."""
CELLS_MOST = 1_100_000
"""More than a workbook, a browser and 0.6 GB of memory hold."""
_NAMING = 4
"""Columns of a table over time beside its numbers."""
BARS_MOST = 24
CUT = Choice("by", ("district", "connection", "kind", "asset", "city"), "district")
RESOLUTION = Choice("resolution", RESOLUTIONS, "total")


@report(
    "ledgers",
    words("Ledgers side by side", "算定方式の比較"),
    words(
        "What does each district, connection or asset emit by each rule, over any time?",
        "各地区・接続点・設備は、各算定方式で、いつ、どれだけ排出するか。",
    ),
    (CUT, RESOLUTION, LEDGER, MATCHING, GAPS, FIRST_MONTH),
)
def ledgers(context: Context) -> Report:
    """Traced, official, market-based and marginal carbon and the 24/7 score of every place of a cut: over
    the period, and in each interval where a resolution is chosen."""
    period, by = context.period, _by(context)
    of = cut(period, by, station_of_bus=context.city.station_of_bus, doubt=context.doubt)
    spans = intervals(period, _resolution(context))
    chosen = choose(context)
    _check_size(of, spans, len(chosen.quantities))
    counts = {name: (ledger, of) for name, ledger in chosen.ledgers.items()}
    found = sums(period, counts, spans.first)
    whole = Intervals(("",), spans.starts[:1], spans.first[:1])
    totals = {name: tallied.sum(axis=1, keepdims=True) for name, tallied in found.items()}
    places = _Rows(context, of, whole, chosen, totals)
    tables = [places.table("places", words("Ledgers", "算定方式別の数値"))]
    if spans.names != ("",):
        series = _Rows(context, of, spans, chosen, found)
        tables.insert(0, series.table("series", words("Ledgers over time", "算定方式別の時系列")))
    return context.report(
        "ledgers",
        *tables,
        plots=_plots(of, chosen, timed=len(tables) > 1),
        methods=tuple(chosen.methods),
        factors=tuple(chosen.factors.values()),
        inputs=context.officer.files if "market-based" in chosen.ledgers else (),
        notices=(
            words(
                "Ledgers are different answers about the same electricity: never added to each other.",
                "各算定方式は同じ電力に対する別々の答えであり、互いに合算しない。",
            ),
            *chosen.notices,
        ),
    )


def _by(context: Context) -> By:
    return next(by for by in BY if by == context.choices[CUT.name])


def _resolution(context: Context) -> Resolution:
    return next(name for name in RESOLUTIONS if name == context.choices[RESOLUTION.name])


def _check_size(of: Cut, spans: Intervals, quantities: int) -> None:
    columns = _NAMING + quantities
    cells = len(of.places) * len(spans.names) * columns
    if cells > CELLS_MOST:
        raise InputError(
            Fault(
                f"settings.{RESOLUTION.name}",
                f"{len(of.places):,} places × {len(spans.names):,} intervals × {columns} columns are "
                f"{cells:,} cells; a report holds {CELLS_MOST:,}. Choose a shorter period, a coarser "
                f"resolution, one ledger ({LEDGER.name}=traced) or fewer places ({CUT.name}=connection)",
            )
        )


class _Rows:
    """The rows of one table: every place in every interval."""

    def __init__(
        self, context: Context, of: Cut, spans: Intervals, chosen: Chosen, found: Mapping[str, FloatArray]
    ) -> None:
        self.context, self.of, self.spans, self.chosen = context, of, spans, chosen
        self.known = spans.known_hours(context.period)
        known = self.known[:, None] > 0
        self.read = [
            [np.where(known, values, np.nan) for values in quantity.read(found[quantity.of])]
            for quantity in chosen.quantities
        ]
        self.days = [self._days(*named) for named in zip(spans.names, spans.starts, strict=True)]
        self.below: dict[str, list[Place]] = {}
        for place in of.places:
            self.below.setdefault(place.above, []).append(place)
        self.timed = spans.names != ("",)
        numbers = len(of.places) * len(spans.names) * len(chosen.quantities)
        self.bare = numbers > FIGURES_MOST
        # what stands once in the table of places is not repeated in every interval
        self.names = _Names(context, of, brief=self.timed)

    def table(self, key: str, title: Words) -> Table:
        """All rows, the times in order."""
        time = (TIME,) if self.timed else ()
        hours = (Column("known_hours", words("Known hours", "既知の時間数"), "h"),) if self.timed else ()
        quantities = (Column(q.id, q.title, q.unit) for q in self.chosen.quantities)
        return Table(
            key,
            title,
            (*time, *self.names.columns, *hours, *quantities),
            tuple(self._rows()),
            self._note(),
        )

    def _rows(self) -> Iterator[tuple[Cell, ...]]:
        named = [self.names.cells(place) for place in self.of.places]
        for at, start in enumerate(self.spans.starts):
            moment: tuple[datetime, ...] = (start,) if self.timed else ()
            hours = (float(self.known[at]),) if self.timed else ()
            for column, place in enumerate(self.of.places):
                yield (*moment, *named[column], *hours, *self._numbers(at, column, place))

    def _numbers(self, at: int, column: int, place: Place) -> Iterator[Cell]:
        plain = self.bare and (self.timed or place.id not in self.below)
        for quantity, (values, low, high, share) in zip(self.chosen.quantities, self.read, strict=True):
            if plain:
                yield float(values[at, column])
                continue
            below = self.below.get(place.id, ()) if quantity.additive and not self.bare else ()
            yield figure(
                self._key(quantity, at, place),
                float(values[at, column]),
                quantity.unit,
                explanation=(self.known[at] and quantity.unknown) or "not known for any hour of the interval",
                low=float(low[at, column]),
                high=float(high[at, column]),
                ledger=quantity.rule,
                method=quantity.method,
                estimated_share=float(np.nan_to_num(share[at, column])),
                factors=quantity.factors,
                inputs=quantity.inputs,
                parts=[self._key(quantity, at, part) for part in below],
                rule="sum" if below else "",
                days=self.days[at],
            )

    def _key(self, quantity: Quantity, at: int, place: Place) -> str:
        name = self.spans.names[at]
        return "/".join((place.id, *((name,) if name else ()), quantity.id))

    def _days(self, interval: str, start: datetime) -> tuple[str, str]:
        """The first and last stored day of an interval; where it has none its own first day, which has no
        run."""
        period = self.context.period
        days = [day.day for day in period.days if day.day.startswith(interval[:10])]
        days = days or [start.astimezone(period.zone).date().isoformat()]
        return min(days), max(days)

    def _note(self) -> Words:
        said = _NOTES[self.of.by]
        if not self.bare:
            return said
        return {
            "en": f"{said['en']} A table of so many numbers holds them without id, share and interval; a "
            "shorter period, a coarser resolution or one ledger gives each its own.",
            "ja": f"{said['ja']}数値が多いため、個々のID・推計割合・区間は付かない。期間を短く、間隔を粗く、"
            "または算定方式を一つにすると付く。",
        }


_NOTES: Mapping[By, Words] = {
    "city": words(
        "Net use: end use, charging less what is fed back, and what batteries lose.",
        "正味使用量：最終消費、充電量から放電量を引いたもの、蓄電池の損失。",
    ),
    "district": words(
        "The districts add up to the city; the 24/7 score does not add up.",
        "各地区の合計は都市に等しい。24/7カーボンフリー率は合算できない。",
    ),
    "connection": words(
        "Connections are nested: a station contains its own bus and those of the grid that it feeds. The "
        "rows that contain no other add up to the city, as do the stations and buses right below it; a "
        "station is not added to what it contains.",
        "接続点は入れ子である。ステーションは自身の母線と、そこから給電される母線を含む。他を含まない行の合計、"
        "および都市直下の行の合計は都市に等しい。ステーションと、それに含まれる行は合算しない。",
    ),
    "kind": words(
        "The kinds of assets add up to the city; the 24/7 score does not add up.",
        "設備の種類の合計は都市に等しい。24/7カーボンフリー率は合算できない。",
    ),
    "asset": words(
        "The assets add up to the city; the 24/7 score does not add up.",
        "各設備の合計は都市に等しい。24/7カーボンフリー率は合算できない。",
    ),
}


class _Names:
    """What the places of a cut are called."""

    def __init__(self, context: Context, of: Cut, *, brief: bool) -> None:
        self.context, self.by = context, "" if brief else of.by
        self.assets = {asset.id: asset for asset in context.period.assets}
        headings = {
            "connection": (Column("within", words("Within", "上位")),),
            "asset": (
                Column("kind", words("Kind", "種類")),
                Column("district", words("District", "地区")),
                Column("connection", words("Connection", "接続点")),
            ),
        }
        self.columns = (
            Column("place", words("Id", "ID")),
            Column("name", words("Name", "名称")),
            *headings.get(self.by, ()),
        )

    def cells(self, place: Place) -> tuple[Cell, ...]:
        """The cells that name a place."""
        more: tuple[Cell, ...] = ()
        if self.by == "connection":
            more = (place.above,)
        elif self.by == "asset":
            asset = self.assets.get(place.name) if place.above else None
            more = ("",) * 3
            if asset is not None:
                district = self.context.place[asset.district]
                more = (KINDS.get(asset.kind, asset.kind), district, f"bus/{asset.bus}")
        return (place.id, self._name(place), *more)

    def _name(self, place: Place) -> str | Words:
        context = self.context
        kind, _, name = place.id.partition("/")
        if kind == "district":
            return context.place[name]
        if kind == "kind":
            return KINDS.get(name, words(name, name))
        if kind == "asset":
            return self.assets[name].name
        if kind in ("bus", "station"):
            bus = context.city.bus_names.get(int(name), name)
            return bus if kind == "bus" else words(f"{bus}, with all it feeds", f"{bus}（給電先を含む）")
        return context.city.name


def _plots(of: Cut, chosen: Chosen, *, timed: bool) -> tuple[Plot, ...]:
    """Ledgers of carbon beside each other: over time for the city, by place where they are few."""
    carbon = tuple(q.id for q in chosen.quantities if q.unit == "kg" and q.id != "losses_kg")
    if not carbon:
        return ()
    if timed and of.by == "city":
        return (
            Plot(
                "series",
                "lines",
                words("Ledgers over time", "算定方式別の推移"),
                "time",
                carbon,
                words(
                    "A line per ledger: kilograms of CO2 in each interval.",
                    "算定方式ごとの折れ線：各区間のCO2排出量（kg）。",
                ),
            ),
        )
    if not 2 <= len(of.places) <= BARS_MOST:
        return ()
    return (
        Plot(
            "places",
            "bars",
            words("Ledgers by place", "場所別・算定方式別の排出量"),
            "name",
            carbon,
            words(
                "For every place a bar per ledger: kilograms of CO2 over the period. Bars of one place are "
                "not added.",
                "場所ごと・算定方式ごとの棒：期間中のCO2排出量（kg）。同じ場所の棒は合算しない。",
            ),
            rows=len(of.places) - 1,
        ),
    )
