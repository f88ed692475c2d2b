"""How documents and series are packed into the store: JSON and float64, compressed, bit for bit."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from energy.domain.network import FloatArray
from energy.domain.period import AssetEntry, DataSource
from energy.domain.plan import SeriesTable
from energy.domain.records import DayAccounts
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
    """The columns of a row of ``day_accounts``."""
    document = {
        "time": accounts.time.document(),
        "start_hash": accounts.start_hash,
        "coupling": accounts.coupling,
        "losses": accounts.losses,
        "factors_version": accounts.factors_version,
        "assets": _ASSETS.dump_python(accounts.assets, mode="json"),
        "tables": {name: list(table.columns) for name, table in accounts.tables.items()},
        "opening_mwh": dict(accounts.opening_mwh),
        "opening_kg": dict(accounts.opening_kg),
        "sources": _SOURCES.dump_json(accounts.sources).decode(),
    }
    values = [accounts.tables[name].values.ravel() for name in sorted(accounts.tables)]
    return {"document": packed_document(document), "float64": float64(np.concatenate(values))}


def unpacked_accounts(document: bytes, values: bytes) -> DayAccounts:
    """The accounts that `packed_accounts` packed, from its decompressed columns."""
    of = json.loads(document)
    time = TimeGrid(
        parse_instant(of["time"]["start"]), parse_duration(of["time"]["resolution"]), of["time"]["steps"]
    )
    numbers, first, tables = np.frombuffer(values, dtype="<f8"), 0, {}
    for name, columns in sorted(of["tables"].items()):
        last = first + time.steps * len(columns)
        tables[name] = SeriesTable(tuple(columns), numbers[first:last].reshape(time.steps, len(columns)))
        first = last
    return DayAccounts(
        time=time,
        # a day that was stored without it matches none: it is planned again
        start_hash=of.get("start_hash", ""),
        coupling=of["coupling"],
        losses=of["losses"],
        factors_version=of["factors_version"],
        assets=_ASSETS.validate_python(of["assets"]),
        tables=tables,
        opening_mwh=of["opening_mwh"],
        opening_kg=of["opening_kg"],
        sources=_sources(of.get("sources", "[]")),
    )


@functools.lru_cache(maxsize=16)
def _sources(text: str) -> tuple[DataSource, ...]:
    """Nearly always those of the day before: read once, held once."""
    return _SOURCES.validate_json(text)
