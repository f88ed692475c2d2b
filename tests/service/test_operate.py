"""Re-planning a day that is under way, across a restart of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from energy.domain.errors import UnknownError
from energy.domain.plan import Plan
from energy.domain.time import parse_instant
from energy.service.cities import open_city, reference_city_directory
from energy.service.documents import PlanDocument
from energy.service.service import Service
from energy.store import Store

DAY = "2016-03-29"
NOW = parse_instant("2016-03-29T10:15:00+02:00")
PAST = 41
"""Quarter-hours of the day that began before then."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("operate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(path))
        yield path


def service_of(folder: Path) -> Service:
    return Service(Store.open(f"sqlite:///{folder / 'store.db'}"), [open_city(reference_city_directory())])


@pytest.fixture(scope="module")
def before(folder: Path) -> Plan:
    service = service_of(folder)
    with pytest.raises(UnknownError, match="no stored plan"):
        service.operate("reference", NOW, information="day-ahead")
    plan = service.plan("reference", DAY, information="day-ahead")
    service.close()
    return plan


@pytest.fixture(scope="module")
def after(folder: Path, before: Plan) -> Iterator[tuple[Service, Plan]]:
    """Another service: all it knows is in the store."""
    service = service_of(folder)
    yield service, service.operate("reference", NOW, information="day-ahead", change_threshold=5.0)
    service.close()


def test_what_was_done_stays_and_the_rest_is_planned_again(before: Plan, after: tuple[Service, Plan]) -> None:
    _, plan = after
    PlanDocument.model_validate(plan.document)
    revision = plan.document["schedule"]["revision"]
    assert revision["previous_hash"] == before.document["schedule"]["input_hash"]
    assert revision["past_steps"] == PAST
    assert revision["threshold"] == 5.0
    assert revision["kept_steps"] in (0, 96 - PAST)
    table = "planned.asset_p_kw"
    columns = before.tables[table].columns
    assert plan.tables[table].columns == columns
    stores = [k for k, name in enumerate(columns) if name in before.tables["planned.asset_e_kwh"].columns]
    np.testing.assert_allclose(
        plan.tables[table].values[:PAST, stores], before.tables[table].values[:PAST, stores], atol=1e-4
    )
    for change in revision["changed"]:
        assert change["why"]


def test_until_now_the_series_are_as_metered(before: Plan, after: tuple[Service, Plan]) -> None:
    _, plan = after
    for case, steps, same in (("planned", slice(PAST), True), ("planned", slice(PAST, None), False)):
        load = plan.tables[f"{case}.use_mw"].column("load")[steps]
        real = before.tables["actual.use_mw"].column("load")[steps]
        assert np.allclose(load, real) == same


def test_the_new_plan_is_stored_and_goes_on_from_there(after: tuple[Service, Plan]) -> None:
    service, plan = after
    stored = service.stored_plan("reference", DAY, "day-ahead")
    assert stored is not None
    assert stored.document == plan.document
