"""The factor registry: every value with its source, and never a silent zero."""

from __future__ import annotations

import pytest

from energy.domain.errors import InputError
from energy.feeds.factors import load_factors

IPCC_AR5_MEDIANS = {
    "coal": (820, 740, 910),
    "gas": (490, 410, 650),
    "biomass": (230, 130, 420),
    "pv_utility": (48, 18, 180),
    "csp": (27, 8.8, 63),
    "wind": (11, 7, 56),
    "wind_offshore": (12, 8, 35),
    "hydro": (24, 1, 2200),
    "nuclear": (12, 3.7, 110),
    "geothermal": (38, 6, 79),
}


def test_life_cycle_medians_and_ranges() -> None:
    registry = load_factors()
    for technology, figures in IPCC_AR5_MEDIANS.items():
        factor = registry.generation(technology)
        assert (factor.g_per_kwh, factor.low, factor.high) == figures
        assert "Annex III" in factor.source
    assert registry.generation("pv").g_per_kwh == 41
    assert registry.generation("pv").renewable
    assert not registry.generation("nuclear").renewable


def test_every_factor_names_its_source_and_lies_in_its_range() -> None:
    for factor in load_factors().factors:
        assert factor.source
        assert factor.gas_basis
        assert factor.low is None or factor.low <= factor.value
        assert factor.high is None or factor.value <= factor.high
        assert factor.note or not factor.estimated, f"{factor.id}: an estimate says how it came about"


def test_what_is_missing_is_named_and_never_zero() -> None:
    registry = load_factors()
    with pytest.raises(InputError, match="'fusion': has no life-cycle emission factor"):
        registry.generation("fusion")
    with pytest.raises(InputError) as refused:
        registry.intensities(("fusion", "wind", "magic"))
    assert len(refused.value.faults) == 2
    with pytest.raises(InputError, match="per fuel"):
        _ = registry.generation("lignite_fuel", "direct").g_per_kwh
    with pytest.raises(InputError, match="no factor has version 0"):
        load_factors(version=0)


def test_the_version_names_the_table() -> None:
    assert load_factors().version == load_factors(version=1).version
    assert load_factors().version.startswith("1+")
