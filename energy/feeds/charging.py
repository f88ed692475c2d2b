"""Distributions of charging sessions, as ElaadNL publishes them: arrival, connection time, energy."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray

QUARTERS = 96
_KINDS = {
    "private": "home",
    "home": "home",
    "public": "public",
    "workplace": "workplace",
    "work": "workplace",
}


@dataclass(frozen=True)
class ChargingDistributions:
    """By kind of site (``home``, ``public``, ``workplace``).

    Attributes:
        weekday, weekend: probability of an arrival in each local quarter-hour, shape (96,). A kind that
            is missing from `weekend` has no arrivals then.
        stay_hours, energy_kwh: quantiles (connection time; energy at the plug) at the probabilities
            0, 0.01, …, 1, ascending, shape (101,).
        stay_factor: mean connection time by arrival quarter-hour over the mean of all, shape (96,).
    """

    weekday: Mapping[str, FloatArray]
    weekend: Mapping[str, FloatArray]
    stay_hours: Mapping[str, FloatArray]
    energy_kwh: Mapping[str, FloatArray]
    stay_factor: Mapping[str, FloatArray]


def read_distributions(folder: Path, name: str) -> ChargingDistributions:
    """The five files of `folder`; `InputError` with every fault."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    faults: list[Fault] = []
    for file in (
        "distribution-of-arrival.csv",
        "distribution-of-arrival-weekend.csv",
        "distribution-of-connection-time.csv",
        "distribution-of-energy-demand.csv",
        "mean-session-length-per.csv",
    ):
        try:
            tables[file] = _read_table(folder / file, f"{name}/{file}")
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    arrival, weekend, stay, energy, length = tables.values()
    weekday = {kind: _by_quarter(values, fill=0.0) for kind, values in arrival.items()}
    return ChargingDistributions(
        weekday={kind: values / values.sum() for kind, values in weekday.items()},
        weekend={
            kind: quarters / quarters.sum()
            for kind, values in weekend.items()
            for quarters in [_by_quarter(values, fill=0.0)]
        },
        stay_hours={kind: _quantiles(values) for kind, values in stay.items()},
        energy_kwh={kind: _quantiles(values) for kind, values in energy.items()},
        stay_factor={
            kind: means / np.average(means, weights=weekday[kind])
            for kind, values in length.items()
            for means in [_by_quarter(values, fill=None)]
        },
    )


def _read_table(path: Path, name: str) -> dict[str, dict[str, float]]:
    """Kind → first column → value. Rows may be short: a kind without a value there is left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except OSError as error:
        raise InputError(Fault(name, f"cannot be read: {error.strerror}")) from None
    if len(rows) < 2:
        raise InputError(Fault(name, "has no rows"))
    table: dict[str, dict[str, float]] = {}
    faults = []
    for number, row in enumerate(rows[1:], start=2):
        for column, text in zip(rows[0][1:], row[1:], strict=False):
            try:
                value = float(text)
            except ValueError:
                value = np.nan
            if column not in _KINDS:
                faults.append(
                    Fault(name, f"column {column!r} is not a kind of site; known: {', '.join(_KINDS)}")
                )
            elif not value >= 0 or value > 1e4:
                faults.append(
                    Fault(f"{name} row {number}", f"{column} is {text!r}; a number from 0 is needed")
                )
            else:
                table.setdefault(_KINDS[column], {})[row[0]] = value
    if faults:
        raise InputError(dict.fromkeys(faults))
    return table


def _by_quarter(values: Mapping[str, float], fill: float | None) -> FloatArray:
    """Values by local time ``HH:MM``, rows in any order, on 96 quarter-hours; gaps take `fill`, or where it
    is None, what lies before and after (interpolated over the day)."""
    minutes = np.array([int(text[:2]) * 60 + int(text[3:5]) for text in values], dtype=float)
    order = np.argsort(minutes)
    numbers = np.array(list(values.values()))[order]
    at = 15.0 * np.arange(QUARTERS)
    if fill is None:
        return np.interp(at, minutes[order], numbers, period=24 * 60)
    result = np.full(QUARTERS, fill)
    result[(minutes[order] // 15).astype(int)] = numbers
    return result


def _quantiles(values: Mapping[str, float]) -> FloatArray:
    """An exceedance curve (per cent of events that have more) as ascending quantiles at 0, 0.01, …, 1."""
    exceeded = np.array([float(percent) for percent in values]) / 100
    numbers = np.array(list(values.values()))
    order = np.argsort(1 - exceeded)
    return np.maximum.accumulate(np.interp(np.linspace(0, 1, 101), (1 - exceeded)[order], numbers[order]))
