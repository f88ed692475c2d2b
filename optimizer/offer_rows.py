"""Flexibility offers as rows: what is held is in the power, the energy and the connections of providers.

Columns: offer_kw[offer], committed_short_kw[offer], reserve_kw[source, offer, step] and, for stores that
must keep to their plan after a call, margin_kwh[store, step]: the least energy to spare from there on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, OfferSchedule, Shortfall
from optimizer.assets.base import AssetRows, Flexibility, SparseBlock, Store
from optimizer.offers import Offer
from optimizer.problem import DispatchProblem

if TYPE_CHECKING:
    from optimizer.connections import ConnectionRows

AFTER_NEEDS = 1e-3
"""What a kWh of sold reserve weighs as shortfall: needs of assets are served first, or a car would go short
so that what it might have to give up were held."""
HELD_KW = 1e-6
"""Less than this is the solver's tolerance."""


class OfferRows(AssetRows):
    """All offers of a problem, and what each provider holds for them."""

    def __init__(
        self, problem: DispatchProblem, connections: ConnectionRows, assets: Sequence[AssetRows]
    ) -> None:
        self._problem, self._connections, self._assets = problem, connections, assets
        self._time, self._hours = problem.time, problem.time.hours
        self._offers = [offer for offer in problem.offers if offer.steps(problem.time)]

    def place(self, first_column: int) -> None:
        self._first = first_column
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._cost: list[float] = []
        self._names: list[str] = []
        self._row_names: list[str] = []
        self._bounds: list[tuple[float, float]] = []
        self._terms: list[tuple[int, int, float]] = []
        self._held = {offer.id: self._column("offer_kw", offer.id, offer.max_kw) for offer in self._offers}
        for offer in self._offers:
            self._cost[self._held[offer.id] - first_column] = -offer.price_per_mw_h * len(
                offer.steps(self._time)
            )
        # (offer, asset, step) → the columns that are held there; (flexibility, offer, step) by source
        self._by_asset: dict[tuple[str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        through: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        for rows in self._assets:
            for flexibility in rows.flexibility():
                self._provide(flexibility, through)
        for offer in self._offers:
            for step in offer.steps(self._time):
                held = [
                    (column, 1.0)
                    for (key, _), by_step in self._by_asset.items()
                    if key == offer.id
                    for column in by_step.get(step, ())
                ]
                self._row(f"offer_held({offer.id},{step})", [*held, (self._held[offer.id], -1.0)], 0.0, 0.0)
        self._connection_limits(through)
        self._commitments()
        least = np.array([offer.min_kw for offer in self._offers])
        self.semicontinuous = np.array([self._held[o.id] for o in self._offers], np.int64)[least > 0]
        self.semicontinuous_min = least[least > 0]

    def _column(self, name: str, label: str, upper: float = np.inf, lower: float = 0.0) -> int:
        self._names.append(f"{name}({label})")
        self._lower.append(lower)
        self._upper.append(upper)
        self._cost.append(0.0)
        return self._first + len(self._names) - 1

    def _row(self, name: str, terms: Sequence[tuple[int, float]], lower: float, upper: float) -> None:
        self._terms += [(len(self._row_names), int(column), value) for column, value in terms]
        self._row_names.append(name)
        self._bounds.append((lower, upper))

    def _provide(self, flexibility: Flexibility, through: dict[tuple[str, str, int], list[int]]) -> None:
        """What one asset holds for the offers of one direction that it may serve."""
        path = self._problem.above(flexibility.connection)
        asset, direction = flexibility.asset, flexibility.direction
        served = [
            offer
            for offer in self._offers
            if offer.direction == direction
            and offer.connection in path
            and (offer.providers is None or asset in offer.providers)
        ]
        drained: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
        for number, source in enumerate(flexibility.sources):
            label = f"{asset},{direction},{number}"
            for step in sorted({step for offer in served for step in offer.steps(self._time)}):
                open_terms = [(c[step], -a) for a, c in source.terms if c[step] >= 0]
                if source.room_kw[step] <= 0 and not any(value < 0 for _, value in open_terms):
                    continue  # nothing can be called: what it draws or feeds is as free as without an offer
                columns = []
                for offer in served:
                    if step in offer.steps(self._time):
                        column = self._column("reserve_kw", f"{label},{offer.id},{step}")
                        columns.append(column)
                        self._by_asset[offer.id, asset][step].append(column)
                        drained[offer.id, step].append((column, source.kwh_per_kwh))
                        for connection in path:
                            through[connection, direction, step].append(column)
                terms = [*((column, 1.0) for column in columns), *open_terms]
                self._row(f"reserve_room({label},{step})", terms, -np.inf, float(source.room_kw[step]))
                for order, cap in enumerate(cap for cap in source.caps if cap.step == step):
                    given = [(column, -value) for value, column in cap.terms]
                    held = [(column, 1.0) for column in columns]
                    self._row(f"reserve_cap({label},{step},{order})", [*held, *given], -np.inf, cap.room_kw)
        if flexibility.store is not None:
            self._energies(f"{asset},{direction}", flexibility.store, served, drained)

    def _energies(
        self,
        label: str,
        store: Store,
        served: Sequence[Offer],
        drained: dict[tuple[str, int], list[tuple[int, float]]],
    ) -> None:
        """A call from any step leaves the store's energies inside its bounds, step by step."""
        sign, hours = store.sign, self._hours
        margins = self._margins(label, store) if served else {}
        for begin in sorted({step for offer in served for step in offer.steps(self._time)}):
            called: list[tuple[int, float]] = []
            last = None
            for step in range(begin, self._time.steps):
                shares = {
                    offer.id: min(offer.duration / self._time.resolution - (step - begin), 1.0)
                    for offer in served
                    if begin in offer.steps(self._time) and step in offer.steps(self._time)
                }
                if max(shares.values(), default=0.0) <= 0:
                    break
                for key, share in shares.items():
                    weight = max(share, 0.0) * hours
                    called += [(column, weight * kwh) for column, kwh in drained.get((key, step), ())]
                if store.also is not None and store.also[1][step] >= 0:
                    called.append((int(store.also[1][step]), hours * store.also[0]))
                if store.energy[step] >= 0 and called:
                    last = step
                    terms = [(int(store.energy[step]), float(sign)), *((c, -kwh) for c, kwh in called)]
                    bound = sign * float(store.bound_kwh[step])
                    self._row(f"reserve_energy({label},{begin},{step})", terms, bound, np.inf)
            if last in margins:
                terms = [(margins[last], 1.0), *((c, -kwh) for c, kwh in called)]
                self._row(f"reserve_plan({label},{begin})", terms, 0.0, np.inf)

    def _margins(self, label: str, store: Store) -> dict[int, int]:
        """The least energy to spare from each step to the end of its plan: columns by step."""
        columns: dict[int, int] = {}
        for plan in store.plans:
            later = None
            for step in reversed(plan.steps.tolist()):
                column = self._column("margin_kwh", f"{label},{step}", lower=-np.inf)
                spare = [(int(store.energy[step]), 1.0), (column, -1.0)]
                self._row(f"reserve_spare({label},{step})", spare, float(store.bound_kwh[step]), np.inf)
                if plan.need is not None and plan.need[0] == step:
                    _, short, need_kwh = plan.need
                    self._row(f"reserve_need({label},{step})", [*spare, (short, 1.0)], need_kwh, np.inf)
                if later is not None:
                    self._row(f"reserve_later({label},{step})", [(later, 1.0), (column, -1.0)], 0.0, np.inf)
                columns[step] = later = column
        return columns

    def _connection_limits(self, through: dict[tuple[str, str, int], list[int]]) -> None:
        """Every connection between a provider and the root stays within its limits when all is called, and
        within what an island lets through: nothing in it can be called.

        Where what nothing can change breaks a limit by itself, there is no room to sell.
        """
        keys = list(self._problem.connections)
        for (key, direction, step), columns in through.items():
            up = direction == "up"
            name = "export_limit_kw" if up else "import_limit_kw"
            stated = self._problem.connections[key].limit(name, self._time.steps)[step]
            limit = float(min(stated, self._problem.islands.exchange_kw[key][step]))
            if not np.isfinite(limit):
                continue
            sign, number = (-1.0 if up else 1.0), keys.index(key)
            stuck = (-1.0 if up else 1.0) * float(self._connections.inflexible_kw[number, step])
            if stuck > limit:
                name = f"reserve_limit({key},{direction},{step})"
                self._row(name, [(column, 1.0) for column in columns], -np.inf, 0.0)
                continue
            imports, exports = (
                int(flow[number, step]) for flow in (self._connections.imports, self._connections.exports)
            )
            terms = [(imports, sign), (exports, -sign), *((column, 1.0) for column in columns)]
            self._row(f"reserve_limit({key},{direction},{step})", terms, -np.inf, limit)

    def _commitments(self) -> None:
        """What was sold is held, or counts as shortfall."""
        self._short: list[tuple[Offer, int]] = []
        for offer in self._offers:
            sold = offer.committed_kw or 0.0
            if sold > 0:
                short = self._column("committed_short_kw", offer.id, sold)
                self._short.append((offer, short))
                terms = [(self._held[offer.id], 1.0), (short, 1.0)]
                self._row(f"offer_committed({offer.id})", terms, sold, np.inf)
        self.needs = np.array([column for _, column in self._short], np.int64)
        self.need_weights = np.array([AFTER_NEEDS * offer.hours(self._time) for offer, _ in self._short])

    def block(self) -> SparseBlock:
        row, column, value = (np.array([term[k] for term in self._terms]) for k in range(3))
        names, row_names = self._names, self._row_names
        return SparseBlock(
            entries=[(row.astype(np.int64), column.astype(np.int64), value.astype(float))],
            lower=[np.array(self._lower)],
            upper=[np.array(self._upper)],
            cost=[np.array(self._cost)],
            row_lower=[np.array([low for low, _ in self._bounds])],
            row_upper=[np.array([high for _, high in self._bounds])],
            column_names=lambda: names,
            row_names=lambda: row_names,
        )

    def controls(self, steps: int) -> IntArray:
        """What is offered, whatever steps it is held in: it is sold before it is known what happens."""
        del steps
        return np.array(list(self._held.values()), np.int64)

    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        del x
        yield from ()

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        for offer, column in self._short:
            if x[column] > HELD_KW:
                yield offer.short(float(x[column]), self._time)

    def held(self, x: FloatArray) -> dict[str, OfferSchedule]:
        """What each offer holds, and by which assets."""
        found = {offer.id: OfferSchedule(0.0, 0.0, {}) for offer in self._problem.offers}
        for offer in self._offers:
            kw = float(x[self._held[offer.id]])
            by_asset: dict[str, FloatArray] = {}
            for (key, asset), by_step in self._by_asset.items():
                if key == offer.id:
                    by_asset[asset] = np.zeros(self._time.steps)
                    for step, columns in by_step.items():
                        by_asset[asset][step] = x[columns].sum()
            some = {asset: held for asset, held in sorted(by_asset.items()) if held.max() > HELD_KW}
            found[offer.id] = OfferSchedule(kw, offer.revenue(kw, self._time), some)
        return found
