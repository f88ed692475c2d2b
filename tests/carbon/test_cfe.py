"""The 24/7 score: the published formula's worked case, and what must always hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from energy.carbon.cfe import carbon_free_score

CASE = Path(__file__).parents[1] / "cases" / "cfe_24x7" / "original.json"
STEPS = 6
energies = arrays(float, STEPS, elements=st.floats(0.0, 1e6))
shares = arrays(float, STEPS, elements=st.floats(0.0, 1.0))


def test_worked_case() -> None:
    case = json.loads(CASE.read_text(encoding="utf-8"))
    inputs = {name: np.array(values) for name, values in case["inputs"].items()}
    found = carbon_free_score(inputs["load"], inputs["contracted_cfe"], inputs["grid_cfe"])
    assert found.steps.tolist() == pytest.approx(case["expected"]["hourly"], abs=case["tolerance"])
    assert found.score == pytest.approx(case["expected"]["score"], abs=case["tolerance"])
    assert found.annual_match == pytest.approx(
        case["expected"]["annual_volumetric_match"], abs=case["tolerance"]
    )


@given(energies, energies, energies, shares)
def test_score_is_a_share_and_never_falls_with_more_contracted(
    load: np.ndarray, contracted: np.ndarray, more: np.ndarray, grid: np.ndarray
) -> None:
    load = load + 1.0
    less, enough = carbon_free_score(load, contracted, grid), carbon_free_score(load, contracted + more, grid)
    assert 0.0 <= less.score <= 1.0 + 1e-12
    assert enough.score >= less.score - 1e-12


@pytest.mark.parametrize(
    ("load", "contracted", "grid", "message"),
    [
        ([1.0, 2.0], [1.0], [0.5, 0.5], "must be alike"),
        ([1.0, -2.0], [1.0, 1.0], [0.5, 0.5], r"load_mwh\[1\] is -2.0"),
        ([1.0, 2.0], [1.0, np.nan], [0.5, 0.5], r"contracted_mwh\[1\] is nan"),
        ([1.0, 2.0], [1.0, 1.0], [0.5, 50.0], r"grid_share\[1\] is 50.0; 0 to 1"),
        ([0.0, 0.0], [1.0, 1.0], [0.5, 0.5], "nothing is used"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    load: list[float], contracted: list[float], grid: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        carbon_free_score(np.array(load), np.array(contracted), np.array(grid))
