"""What batteries and EVs hold and drive, by the entries of a period's assets."""

from __future__ import annotations

import numpy as np

from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.period import AccountedDay, Period


class Stores:
    """The storages of a period among its assets.

    An asset whose entry changed (its bus, its fleet) stands once per entry: each local day belongs to the
    entry that had most to do on it, the first of them on an idle day.
    """

    def __init__(self, period: Period) -> None:
        column = {name: k for k, name in enumerate(period.storages)}
        self._column = np.array([column.get(asset.id, -1) for asset in period.assets], dtype=np.int64)
        self._all = np.flatnonzero(self._column >= 0)
        self._batteries = np.array([k for k in self._all if period.assets[k].kind != "ev"], dtype=np.int64)
        same: dict[str, list[int]] = {}
        for k in self._all.tolist():
            same.setdefault(period.assets[k].id, []).append(k)
        self._changed = [np.array(entries) for entries in same.values() if len(entries) > 1]

    def by_entry(self, day: AccountedDay, values: FloatArray, entries: IntArray) -> FloatArray:
        """A table of storages, shape (hours, storages), by some of the period's asset entries, shape (hours,
        len(entries)); entries without a storage get 0."""
        columns = np.where(self._others(day), -1, self._column)[entries]
        found = np.zeros((len(values), len(entries)))
        found[:, columns >= 0] = values[:, columns[columns >= 0]]
        return found

    def net_use(
        self, day: AccountedDay, drawn: FloatArray, injected: FloatArray, change: FloatArray
    ) -> FloatArray:
        """What each asset has used up, of energy or of its carbon, shape (hours, assets): what storages fed
        back is taken out, and what batteries hold more (`change`, shape (hours, storages))."""
        net = drawn.copy()
        net[:, self._all] -= injected[:, self._all]
        net[:, self._batteries] -= self.by_entry(day, change, self._batteries)
        return net

    def _others(self, day: AccountedDay) -> BoolArray:
        """The entries of storages that belong to another entry on `day`, shape (assets,)."""
        others = np.zeros(len(self._column), dtype=np.bool_)
        for entries in self._changed:
            busy = np.abs(day.drawn_mwh[:, entries]) + np.abs(day.injected_mwh[:, entries])
            others[entries] = True
            others[entries[np.nan_to_num(busy).sum(axis=0).argmax()]] = False
        return others
