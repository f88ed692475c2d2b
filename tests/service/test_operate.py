"""Re-planning a day that is under way, across a restart of the service."""

from __future__ import annotations

import numpy as np
import pytest

from energy.domain.errors import UnknownError
from energy.domain.plan import Plan
from energy.domain.time import parse_instant
from energy.service.documents import PlanDocument
from energy.service.service import Service
from tests.service.conftest import DAY_AHEAD

NOW = parse_instant(f"{DAY_AHEAD}T10:15:00+01:00")
PAST = 45
"""Quarter-hours of the day that began before then: the hour from two to three came twice."""


@pytest.fixture(scope="module")
def before(service: Service) -> Plan:
    with pytest.raises(UnknownError, match="no stored plan"):
        service.operate("reference", NOW)
    plan = service.stored_plan("reference", DAY_AHEAD, "day-ahead")
    assert plan is not None
    return plan


@pytest.fixture(scope="module")
def after(service: Service, before: Plan) -> Plan:
    return service.operate("reference", NOW, information="day-ahead", change_threshold=5.0)


def test_what_was_done_stays_and_the_rest_is_planned_again(before: Plan, after: Plan) -> None:
    PlanDocument.model_validate(after.document)
    revision = after.document["schedule"]["revision"]
    assert revision["previous_hash"] == before.document["schedule"]["input_hash"]
    assert revision["past_steps"] == PAST
    assert revision["threshold"] == 5.0
    assert revision["kept_steps"] in (0, 100 - PAST)
    table = "planned.asset_p_kw"
    columns = before.tables[table].columns
    assert after.tables[table].columns == columns
    stores = [k for k, name in enumerate(columns) if name in before.tables["planned.asset_e_kwh"].columns]
    np.testing.assert_allclose(
        after.tables[table].values[:PAST, stores], before.tables[table].values[:PAST, stores], atol=1e-4
    )
    for change in revision["changed"]:
        assert change["why"]


def test_until_now_the_series_are_as_metered(before: Plan, after: Plan) -> None:
    for case, steps, same in (("planned", slice(PAST), True), ("planned", slice(PAST, None), False)):
        load = after.tables[f"{case}.use_mw"].column("load")[steps]
        real = before.tables["actual.use_mw"].column("load")[steps]
        assert np.allclose(load, real) == same


def test_the_new_plan_is_stored_and_goes_on_from_there(service: Service, after: Plan) -> None:
    stored = service.stored_plan("reference", DAY_AHEAD, "day-ahead")
    assert stored is not None
    assert stored.document == after.document
