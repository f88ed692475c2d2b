"""A day whose charging at full power no voltage can carry: reported step by step, never refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dashboard.app import render
from energy.domain.plan import Plan
from energy.service.cities import init_city, open_city
from energy.service.documents import PlanDocument
from energy.service.service import Service
from energy.store import Store

DAY = "2016-01-02"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A feeder of a few houses with overhead lines, and many chargers of 150 kW in them."""
    folder: Path = tmp_path_factory.mktemp("unsolved")
    directory = folder / "weak"
    init_city(directory, "pandapower:create_kerber_landnetz_freileitung_1")
    text = (directory / "city.toml").read_text(encoding="utf-8")
    for old, new in (
        ("last_day = 2016-12-31", "last_day = 2016-01-03"),
        ("charge_max_kw = 11\n", "charge_max_kw = 150\n"),
        ("vehicles = 6\n", "vehicles = 100\n"),
        ("sessions_per_day = 0.4", "sessions_per_day = 1.0"),
    ):
        assert old in text
        text = text.replace(old, new)
    (directory / "city.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(folder))
        store = Store.open(f"sqlite:///{folder / 'store.db'}")
        yield Service(store, [open_city(directory)])
        store.close()


@pytest.fixture(scope="module")
def plan(service: Service) -> Plan:
    return service.plan("weak", DAY)


def unsolved(plan: Plan, case: str) -> np.ndarray:
    return np.isnan(plan.tables[f"{case}.vm_pu"].values).all(axis=1)


def test_the_counterfactual_is_reported_with_its_unsolved_steps(plan: Plan) -> None:
    document = plan.document
    PlanDocument.model_validate(document)
    missing = unsolved(plan, "uncontrolled")
    free = document["comparison"]["uncontrolled"]
    assert 0 < missing.sum() == free["unsolved_steps"] <= free["violated_steps"]
    assert any(f"({missing.sum()} steps)" in notice for notice in document["notices"])
    assert document["status"] == "secure"
    assert document["comparison"]["planned"]["unsolved_steps"] == 0
    for name in ("emissions_kg", "losses_mw", "import_mw", "cost_eur"):
        series = plan.tables["uncontrolled.totals"].column(name)
        np.testing.assert_array_equal(np.isnan(series), missing)
    emissions = plan.tables["uncontrolled.totals"].column("emissions_kg")
    assert free["emissions_kg"] == pytest.approx(np.nansum(emissions))
    assert free["cost"] == pytest.approx(np.nansum(plan.tables["uncontrolled.totals"].column("cost_eur")))


def test_carbon_closes_in_the_solved_steps(plan: Plan) -> None:
    tables = plan.tables
    missing = unsolved(plan, "uncontrolled")
    used = tables["uncontrolled.district.energy_mwh"].values.sum(axis=1)
    load = tables["uncontrolled.use_mw"].column("load") * plan.time.hours
    np.testing.assert_allclose(used[~missing], load[~missing], rtol=1e-9)
    supply, use = (tables[f"uncontrolled.{side}_mw"].values.sum(axis=1) for side in ("supply", "use"))
    np.testing.assert_allclose(supply[~missing], use[~missing], atol=1e-6)
    assert np.isnan(supply[missing]).all()


def test_it_is_stored_and_shown(service: Service, plan: Plan) -> None:
    stored = service.stored_plan("weak", DAY)
    assert stored is not None
    assert json.dumps(stored.document, sort_keys=True) == json.dumps(plan.document, sort_keys=True)
    step = int(np.flatnonzero(unsolved(plan, "uncontrolled"))[0])
    grid = service.grid("weak", plan.time.instant(step))
    assert set(grid["cases"]["uncontrolled"]["vm_pu"].values()) == {None}
    assert None not in grid["cases"]["planned"]["vm_pu"].values()
    for page in ("/", "/plan", "/grid", "/carbon"):
        _, state = render(service, page, f"?city=weak&day={DAY}")
        assert state
