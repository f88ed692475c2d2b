"""The consequential ledger: linear, signed, and not estimated where the margin is unknown."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from energy.carbon.ev import ev_ledger
from energy.carbon.marginal import Marginal, upstream_marginal
from tests.carbon.periods import build

HOURS = 4
changes = arrays(float, (HOURS, 2), elements=st.floats(-1e3, 1e3))
rates = arrays(float, (HOURS, 2), elements=st.floats(-500.0, 1500.0))


@given(changes, changes, rates)
def test_effects_of_changes_add_up(first: np.ndarray, second: np.ndarray, g_per_kwh: np.ndarray) -> None:
    marginal = Marginal((1, 2), g_per_kwh, np.ones(HOURS))
    apart = [marginal.of_change(change, (1, 2)) for change in (first, second)]
    for k, both in enumerate(marginal.of_change(first + second, (1, 2))):
        assert both.kg == pytest.approx(apart[0][k].kg + apart[1][k].kg, rel=1e-9, abs=1e-3)
        assert both.mwh == pytest.approx(apart[0][k].mwh + apart[1][k].mwh, rel=1e-9, abs=1e-6)


def test_an_unknown_margin_is_not_estimated_unless_nothing_changes_there() -> None:
    marginal = Marginal((1, 2), np.array([[100.0, np.nan], [200.0, 300.0]]), np.array([0.0, 1.0]))
    touched, untouched = marginal.of_change(np.array([[1.0, 0.0], [1.0, 1.0]]), (1, 2))
    assert (touched.kg, touched.estimated_share) == (300.0, 0.5)
    assert untouched.kg == 300.0
    (unknown,) = marginal.of_change(np.array([[1.0], [1.0]]), (2,))
    assert not unknown.known
    (elsewhere,) = marginal.of_change(np.array([[1.0], [1.0]]), (9,))
    assert not elsewhere.known


def test_without_an_upstream_margin_charging_has_no_marginal_figure() -> None:
    period = build(3, date(2016, 6, 29), 1, marginal=False)
    city = ev_ledger(period, upstream_marginal(period)).city()
    assert city.marginal is not None
    assert np.isnan(city.marginal.kg)
    assert np.isnan(city.marginal_g_per_kwh)
    assert ev_ledger(period).city().marginal is None
