"""The examples of the officer's files are read as the documentation says."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import pytest

from energy.carbon.grid_average import grid_average
from energy.carbon.instruments import Certificates, Contracts
from energy.carbon.inventory import Quality, inventory, metered_references
from energy.carbon.inventory_entries import read_entries
from energy.carbon.market_based import market_based
from energy.carbon.targets import read_targets
from tests.carbon.periods import build
from tests.carbon.test_grid_average import flat

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def text(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def test_examples_hold() -> None:
    period = build(1, date(2016, 6, 21), 2)
    ledger = grid_average(period, flat(period, 500.0))
    entries = read_entries(text("inventory.csv"), metered_references(period))
    found = inventory(ledger, period, entries, quality=Quality("H", "M"))
    part = 2 / 366  # two days of the year that was entered
    assert found.cells["I.1.1"].co2e_kg == pytest.approx(part * 182_000 * (201.96 + 0.018 * 28))
    assert found.cells["II.2.1"].notation == "NO"
    assert found.cells["V.2"].co2e_kg == pytest.approx(part * -950_000.0)
    instruments = Contracts.from_csv(text("contracts.csv")), Certificates.from_csv(text("certificates.csv"))
    market = market_based(period, ledger, flat(period, 700.0), "DE", *instruments)
    assert {item.certificate for item in market.cancellations} == {"DE-GO-000017", "DE-GC-000018"}
    assert market.city().contracts.mwh > 0
    document = tomllib.loads(text("targets.toml"))
    city, charging, renewable = read_targets(document, period.districts)
    assert city.path(2030) == pytest.approx(0.45 * 410_000_000)
    assert (charging.sector, charging.path(2025)) == ("transport", pytest.approx(0.67 * 5_200_000))
    assert renewable.path(2023) == pytest.approx(0.555)
