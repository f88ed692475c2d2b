"""How documents and series are packed into the store: JSON and float64, compressed, bit for bit."""

from __future__ import annotations

import functools
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from energy.domain.network import FloatArray
from energy.domain.period import AssetEntry, DataSource, DayRun
from energy.domain.records import DayAccounts, StoredAccounts
from energy.domain.time import TimeGrid, parse_duration, parse_instant

_LEVEL = 1
"""Of zlib: a plan is packed in a third of the time of the default level, and is hardly larger."""
_ASSETS = TypeAdapter(tuple[AssetEntry, ...])
_SOURCES = TypeAdapter(tuple[DataSource, ...])


def packed_document(document: Mapping[str, Any]) -> bytes:
    """A JSON document."""
    text = json.dumps(dict(document), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return zlib.compress(text.encode(), _LEVEL)


def float64(values: FloatArray) -> bytes:
    """Any number of values, NaN included."""
    return zlib.compress(np.ascontiguousarray(values, dtype="<f8").tobytes(), _LEVEL)


def packed_accounts(accounts: DayAccounts) -> dict[str, bytes]:
    """The columns of a row of ``day_accounts``: every table is compressed for itself, so that who wants some
    of them reads no others."""
    packed = {name: float64(accounts.tables[name].values) for name in sorted(accounts.tables)}
    document = {
        "time": accounts.time.document(),
        "start_hash": accounts.start_hash,
        "coupling": accounts.coupling,
        "losses": accounts.losses,
        "factors_version": accounts.factors_version,
        "assets": _ASSETS.dump_python(accounts.assets, mode="json"),
        "tables": {name: list(table.columns) for name, table in accounts.tables.items()},
        "bytes": {name: len(values) for name, values in packed.items()},
        "opening_mwh": dict(accounts.opening_mwh),
        "opening_kg": dict(accounts.opening_kg),
        "opening_range_kg": None
        if accounts.opening_range_kg is None
        else [dict(end) for end in accounts.opening_range_kg],
        "sources": _SOURCES.dump_json(accounts.sources).decode(),
    }
    return {"document": packed_document(document), "float64": b"".join(packed.values())}


def stored_accounts(
    run: DayRun,
    document: Mapping[str, Any],
    packed: bytes,
    decompress: Callable[[bytes], bytes],
    before: StoredAccounts | None,
) -> StoredAccounts:
    """The accounts that `packed_accounts` packed: its document, its numbers, and how these are decompressed.

    What is the same as on the day `before` is the same object: thousands of names are kept once.
    """
    time = TimeGrid(
        parse_instant(document["time"]["start"]),
        parse_duration(document["time"]["resolution"]),
        document["time"]["steps"],
    )
    columns: Mapping[str, tuple[str, ...]] = {
        name: tuple(of) for name, of in sorted(document["tables"].items())
    }
    assets = _ASSETS.validate_python(document["assets"])
    if before is not None:
        columns = before.columns if columns == before.columns else columns
        assets = before.assets if assets == before.assets else assets

    def tables() -> Mapping[str, FloatArray]:
        if lengths is not None:
            return _Tables(columns, time.steps, packed, lengths, decompress)
        # a day of before they were compressed one by one
        numbers, first, found = np.frombuffer(decompress(packed), dtype="<f8"), 0, {}
        for name, of in columns.items():
            last = first + time.steps * len(of)
            found[name] = numbers[first:last].reshape(time.steps, len(of))
            first = last
        return found

    def opening(held: Mapping[str, float]) -> FloatArray:
        return np.array([held.get(key, 0.0) for key in columns["tank_mwh"]], dtype=np.float64)

    ends, lengths = document.get("opening_range_kg"), document.get("bytes")
    return StoredAccounts(
        run=run,
        time=time,
        # a day that was stored without it matches none: it is planned again
        start_hash=document.get("start_hash", ""),
        coupling=document["coupling"],
        losses=document["losses"],
        assets=assets,
        columns=columns,
        opening_mwh=opening(document["opening_mwh"]),
        opening_kg=opening(document["opening_kg"]),
        unpack=tables,
        opening_range_kg=None if ends is None else (opening(ends[0]), opening(ends[1])),
    )


class _Tables(Mapping[str, FloatArray]):
    """The tables of a day, shape (steps, columns): each is decompressed when it is asked for."""

    def __init__(
        self,
        columns: Mapping[str, tuple[str, ...]],
        steps: int,
        packed: bytes,
        lengths: Mapping[str, int],
        decompress: Callable[[bytes], bytes],
    ) -> None:
        self._columns, self._steps, self._packed, self._decompress = columns, steps, packed, decompress
        ends = itertools.accumulate(lengths[name] for name in columns)
        self._window = {
            name: slice(end - lengths[name], end) for name, end in zip(columns, ends, strict=True)
        }

    def __getitem__(self, name: str) -> FloatArray:
        numbers = np.frombuffer(self._decompress(self._packed[self._window[name]]), dtype="<f8")
        return numbers.reshape(self._steps, len(self._columns[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


@functools.lru_cache(maxsize=16)
def unpacked_sources(text: str) -> tuple[DataSource, ...]:
    """What a document holds as ``sources``. Nearly always those of the day before: read once, held once."""
    return _SOURCES.validate_json(text)
