"""EV coefficients: the carbon of the charging network in its places, for every grouping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from energy.carbon.ev import ev_ledger
from energy.carbon.marginal import of_assets, upstream_marginal
from energy.domain.period import Period
from tests.carbon.periods import periods


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=15)
@given(periods())
def test_what_is_charged_is_driven_exported_or_still_there(period: Period) -> None:
    ledger = ev_ledger(period, upstream_marginal(period))
    groupings = (
        ledger.by_vehicle(),
        ledger.by_hub(),
        ledger.by_district(),
        ledger.by_fleet(),
        ledger.by_hour_of_day(),
        ledger.by_month(),
    )
    city = ledger.city()
    for groups in groupings:
        for group in groups.values():
            assert group.residual_kg == pytest.approx(0.0, abs=1e-9 * max(1.0, group.charged_kg))
        for name in ("charged_kg", "charged_mwh", "driven_kg", "distance_km", "exported_kg", "change_kg"):
            assert close(sum(getattr(group, name) for group in groups.values()), getattr(city, name))
        assert close(sum(g.marginal.kg for g in groups.values() if g.marginal), city.marginal.kg)
    assert close(city.driven_kg, float(np.nansum(period.actual.city["ev_driven_kg"])))
    assert city.charged_mwh == 0.0 or city.estimated_share == pytest.approx(1.0)


@settings(max_examples=15)
@given(periods())
def test_charging_at_the_margin_is_what_the_ledger_of_changes_says(period: Period) -> None:
    marginal = upstream_marginal(period)
    evs = [asset for asset in period.assets if asset.kind == "ev"]
    found = of_assets(period, marginal, {"evs": evs, "none": []})
    assert close(found["evs"].kg, ev_ledger(period, marginal).city().marginal.kg)
    assert found["none"].kg == 0.0
