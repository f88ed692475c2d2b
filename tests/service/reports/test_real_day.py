"""Every report on a stored day of the reference city, with an officer's files, in every format."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from energy.carbon.gpc import REFERENCES
from energy.domain.errors import InputError
from energy.domain.report import Figure
from energy.feeds.reports import FORMATS, render
from energy.service.cities import open_city, reference_city_directory
from energy.service.reports.registry import reports
from energy.service.service import Service
from energy.store import Store
from tests.service.conftest import DAY_AHEAD

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
OFFICER = ("inventory.csv", "contracts.csv", "certificates.csv", "targets.toml")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The officer's files, as the documentation shows them."""
    folder = tmp_path_factory.mktemp("office")
    for name in OFFICER:
        shutil.copy(EXAMPLES / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def service(planned_home: Path, office: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = shutil.copytree(planned_home, tmp_path_factory.mktemp("reports"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(folder))
        store = Store.open(f"sqlite:///{folder / 'store.db'}")
        yield Service(store, [open_city(reference_city_directory())], {"reference": office})
        store.close()


def figures(service: Service, name: str, **choices: str) -> dict[str, Figure]:
    report, _ = service.reports.make(
        service.city("reference"), name, DAY_AHEAD, information="day-ahead", choices=choices
    )
    return report.figures


@pytest.mark.parametrize("name", sorted(reports()))
def test_every_report_is_made_of_a_real_day_and_drawn_in_every_format(service: Service, name: str) -> None:
    report, edition = service.reports.make(
        service.city("reference"), name, DAY_AHEAD, information="day-ahead"
    )
    assert report.tables
    for format_name in FORMATS:
        assert render(report, edition, format_name, "ja")


def test_ledgers_stand_on_the_same_energy(service: Service) -> None:
    """Traced and official use the same kWh; the difference is explained to the last gram."""
    found = figures(service, "city-inventory")
    terms = [found[f"difference/city/{term}_kg"].value for term in ("official", "level", "timing", "local")]
    traced = found["difference/city/traced_kg"].value
    assert traced is not None
    assert math.isclose(sum(term or 0.0 for term in terms), traced, rel_tol=1e-9)


def test_the_inventory_has_every_cell_of_the_gpc_once_and_in_its_order(service: Service) -> None:
    report, _ = service.reports.make(
        service.city("reference"), "city-inventory", DAY_AHEAD, information="day-ahead"
    )
    rows = report.tables[0].rows
    assert [row[0] for row in rows] == list(REFERENCES)
    assert [row[4] for row in rows] == [str(reference.scope) for reference in REFERENCES.values()]
    assert [row[5] for row in rows] == [reference.level for reference in REFERENCES.values()]
    cells = report.figures
    assert cells["gpc/II.2.1"].notation == "NO"
    assert cells["gpc/I.1.2"].ledger == "grid-average"
    basic = cells["total/BASIC/all"]
    assert "gpc/I.4.4" not in basic.parts
    assert "gpc/II.1.2" in basic.parts


def test_districts_hours_and_the_balance_agree(service: Service) -> None:
    report, _ = service.reports.make(
        service.city("reference"),
        "district-carbon",
        DAY_AHEAD,
        information="day-ahead",
        choices={"resolution": "hour"},
    )
    found = report.figures
    series = next(table for table in report.tables if table.id == "series")
    assert len(series.rows) == 25
    by_hour = sum(value for row in series.rows for value in row[2::2] if isinstance(value, float))
    total = found["city/emissions_kg"].value
    balance = found["balance/end_use_kg"].value
    assert total is not None
    assert balance is not None
    assert math.isclose(by_hour, total, rel_tol=1e-9)
    assert math.isclose(balance, total, rel_tol=1e-9)


def test_every_ledger_of_the_city_is_the_sum_of_its_assets_connections_and_districts(
    service: Service,
) -> None:
    """On the real grid, whose LV grid hangs below one station."""
    found = {by: figures(service, "ledgers", by=by) for by in ("asset", "connection", "district", "city")}
    names = ("energy_mwh", "traced_kg", "grid_average_kg", "covered_mwh", "market_based_kg", "marginal_kg")
    for name in names:
        city = found["city"][f"city/{name}"].value
        assert city
        for by, leaf in (("asset", "asset/"), ("connection", "bus/"), ("district", "district/")):
            assert math.isclose(found[by][f"city/{name}"].value or 0.0, city, rel_tol=1e-9)
            parts = [
                f.value or 0.0 for key, f in found[by].items() if re.fullmatch(f"{leaf}[^/]+/{name}", key)
            ]
            assert math.isclose(sum(parts), city, rel_tol=1e-9), (name, by)
        station = found["connection"][f"station/24/{name}"]
        assert len(station.parts) > 100
        parts = [found["connection"][part].value or 0.0 for part in station.parts]
        assert math.isclose(sum(parts), station.value or 0.0, rel_tol=1e-9, abs_tol=1e-9)
        assert f"station/24/{name}" in found["connection"][f"city/{name}"].parts
    traced = found["asset"]["city/traced_kg"]
    assert traced.low is not None
    assert traced.high is not None
    assert traced.low < (traced.value or 0.0) < traced.high


def test_contracts_cover_their_share_and_the_rest_is_flagged(service: Service) -> None:
    uses = figures(service, "market-based")
    assert uses["city/contract_mwh"].value
    assert uses["city/market_based_kg"].ledger == "market-based"
    assert uses["city/rest_kg"].estimated_share == 1.0, "no residual mix is known for the zone"


def test_faults_of_the_officers_files_come_all_at_once(service: Service, office: Path) -> None:
    path = office / "inventory.csv"
    kept = path.read_text("utf-8")
    try:
        path.write_text(
            kept + "I.1.2,more power,electricity,1,MWh,CO2e,1,,x,y,2016,H,H,,\nI.9.9,,,,,,,,,,,,,NO,\n"
        )
        with pytest.raises(InputError) as refused:
            figures(service, "city-inventory")
    finally:
        path.write_text(kept, "utf-8")
    text = str(refused.value)
    assert "would count it twice" in text
    assert "I.9.9" in text
    assert "needs an explanation" in text
    stored = [item for item in service.reports.list("reference") if item.key.name == "city-inventory"]
    assert len({item.edition.content for item in stored}) == len(stored), "nothing half-made was kept"
