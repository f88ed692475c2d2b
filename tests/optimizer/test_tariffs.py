"""Tariffs by time of use and by block; trees of connections with limits and peaks of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem
from tests.optimizer.builders import Document, battery, ev, load, problem_of, renewable, session, solve
from tests.optimizer.markets import price_series

EVENING = {
    "days": ["mon", "tue", "wed", "thu", "fri"],
    "from": "17:00",
    "to": "21:00",
    "price_per_mwh": 300.0,
}


def tariff(periods: list[Document], zone: str = "Europe/Berlin") -> Document:
    return {"time_zone": zone, "default_per_mwh": 100.0, "periods": periods}


def priced(periods: list[Document], *, steps: int, zone: str = "Europe/Berlin", **time: str) -> Document:
    document = problem_of(
        [load(1.0)], steps=steps, import_price_per_mwh=None, import_tariff=tariff(periods, zone)
    )
    document["time"].update(time)
    return document


def series_of(document: Document) -> np.ndarray:
    connection = DispatchProblem.from_document(document).connections["poc"]
    return np.array(connection.import_price_per_mwh)


def faults_of(document: Document) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(document)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_local_hours_on_the_days_the_clocks_change() -> None:
    """17:00 in Berlin is 16:00Z in winter, 15:00Z in summer; 02:30 comes twice, or not at all."""
    night = {"from": "02:30", "to": "04:00", "price_per_mwh": 50.0}
    spring = series_of(priced([night], steps=24, start="2022-03-27T00:00:00+01:00"))
    assert spring.tolist()[:4] == [100.0, 100.0, 50.0, 100.0]
    autumn = series_of(priced([night], steps=25, start="2022-10-30T00:00:00+02:00"))
    assert autumn.tolist()[:6] == [100.0, 100.0, 75.0, 75.0, 50.0, 100.0]


@settings(max_examples=40)
@given(
    zone=st.sampled_from(["Europe/Berlin", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    start=st.sampled_from(
        ["2022-03-26T20:10:00Z", "2022-10-30T00:45:00Z", "2022-11-06T03:00:00Z", "2022-12-31T21:30:00Z"]
    ),
    resolution=st.sampled_from(["PT15M", "PT1H"]),
    cuts=st.lists(st.integers(0, 96), min_size=2, max_size=6, unique=True),
    months=st.sampled_from([None, [1, 3, 11], [10, 12]]),
)
def test_as_read_from_a_clock_every_minute(
    zone: str, start: str, resolution: str, cuts: list[int], months: Any
) -> None:
    clock = [f"{cut // 4:02d}:{cut % 4 * 15:02d}" for cut in sorted(cuts)]
    periods = [
        {"from": a, "to": b, "months": months, "price_per_mwh": 10.0 * k, "days": ["sun", "mon", "tue"]}
        for k, (a, b) in enumerate(zip(clock[::2], clock[1::2], strict=False))
    ]
    document = priced(periods, steps=30, zone=zone, start=start, resolution=resolution)
    assert series_of(document) == pytest.approx(price_series(document, document["connections"][0], "import"))


def test_a_tariff_is_its_series() -> None:
    document = priced([EVENING], steps=24)
    stated = problem_of([load(1.0)], steps=24, import_price_per_mwh=series_of(document).tolist())
    one, other = (DispatchProblem.from_document(d) for d in (document, stated))
    assert one.input_hash == other.input_hash
    assert solve(document)["objective"] == solve(stated)["objective"]


def test_what_a_tariff_has_wrong() -> None:
    late = {**EVENING, "from": "20:30", "to": "24:00", "days": ["fri", "sat"]}
    document = problem_of([load(1.0)], import_tariff=tariff([EVENING, late]))
    found = faults_of(document)
    assert set(found) == {"connections[0].import_tariff", "connections[0].import_tariff.periods[1]"}
    for field, value in (
        ("time_zone", "Mars/Base"),
        ("periods", [{**EVENING, "from": "7:00"}]),
        ("periods", [{**EVENING, "to": "16:00"}]),
        ("periods", [{**EVENING, "months": [13]}]),
        ("periods", [{**EVENING, "days": []}]),
        ("default_per_mwh", float("nan")),
    ):
        wrong = priced([EVENING], steps=4)
        wrong["connections"][0]["import_tariff"][field] = value
        assert all(path.startswith(f"connections[0].import_tariff.{field}") for path in faults_of(wrong))


def blocks(*edges: Any, prices: Any, **more: Any) -> Document:
    return {
        "period": "horizon",
        "blocks": [{"up_to_kwh": e, "price_per_mwh": p} for e, p in zip(edges, prices, strict=True)],
        **more,
    }


def test_what_blocks_have_wrong() -> None:
    path = "connections[0].import_blocks.blocks"
    for edges, field in (((10.0, 5.0, None), 1), ((10.0, 20.0, 30.0), 2), ((None, 5.0, None), 0)):
        document = problem_of([load(1.0)], import_blocks=blocks(*edges, prices=(1.0, 2.0, 3.0)))
        assert f"{path}[{field}].up_to_kwh" in faults_of(document)
    child = {"id": "hub", "parent": "poc", "import_blocks": blocks(None, prices=(1.0,))}
    document = problem_of([load(1.0)], connections=[{"id": "poc"}, child])
    assert "connections[1].import_blocks" in faults_of(document)


def test_the_energy_price_holds_the_marginal_block() -> None:
    document = problem_of(
        [load([5.0, 6.0]), ev([session(0, 2, e_departure_min_kwh=14.0)])],
        steps=2,
        import_blocks=blocks(8.0, None, prices=(0.0, 40.0)),
    )
    answer = solve(document)
    assert answer["connections"]["poc"]["price_per_mwh"]["energy"] == pytest.approx([140.0, 140.0])
    assert answer["objective"]["energy"] == pytest.approx(1.5 + 7 * 0.04)


def test_falling_blocks_fill_in_order() -> None:
    """Buying 11 kWh costs 8 of the dear ones first; three separate blocks, the middle one the cheapest."""
    document = problem_of(
        [load([5.0, 6.0])], steps=2, import_blocks=blocks(4.0, 8.0, None, prices=(90.0, 10.0, 50.0))
    )
    answer = solve(document)
    assert answer["objective"]["energy"] == pytest.approx(1.1 + (4 * 90 + 4 * 10 + 3 * 50) / 1000)
    assert answer["connections"]["poc"]["price_per_mwh"]["energy"] == pytest.approx([150.0, 150.0])


def test_a_cheap_block_pays_for_buying_on() -> None:
    """Charging 10 kWh now opens the cheap block and is sold again: 10 × (60 − 50) beats the dear 2 kWh."""
    document = problem_of(
        [load([2.0, 0.0]), battery(charge_max_kw=10.0, e_max_kwh=10.0)],
        steps=2,
        import_price_per_mwh=50.0,
        export_price_per_mwh=[0.0, 60.0],
        import_blocks=blocks(2.0, None, prices=(100.0, 0.0)),
    )
    assert solve(document)["objective"]["energy"] == pytest.approx(0.3 - 0.1)


@settings(max_examples=40)
@given(
    demand=st.lists(st.integers(0, 12).map(float), min_size=6, max_size=6),
    prices=st.lists(st.integers(-80, 150).map(float), min_size=6, max_size=6),
    surcharges=st.lists(st.integers(-50, 80).map(float), min_size=3, max_size=3),
    so_far=st.sampled_from([0.0, 7.0, 30.0]),
    period=st.sampled_from(["horizon", "day", "month"]),
    zone=st.sampled_from(["UTC", "Etc/GMT+3", "Asia/Kolkata"]),
)
def test_no_series_of_loads_and_stores_beats_the_blocks(
    demand: list[float], prices: list[float], surcharges: list[float], so_far: float, period: str, zone: str
) -> None:
    """`solve` checks the bill minute by minute; idle storage is never cheaper."""
    terms = blocks(10.0, 20.0, None, prices=surcharges, so_far_kwh=so_far, period=period, time_zone=zone)
    market = {"import_price_per_mwh": prices, "export_price_per_mwh": prices, "import_blocks": terms}
    assets = [load(demand), renewable([0.0, 9.0, 0.0, 0.0, 9.0, 0.0])]
    idle = solve(problem_of(assets, steps=6, options={"mip_gap": 0.0}, **market))
    stored = solve(problem_of([*assets, battery()], steps=6, options={"mip_gap": 0.0}, **market))
    assert stored["objective"]["total"] <= idle["objective"]["total"] + 1e-6


def tree(limit: float, **more: Any) -> list[Document]:
    return [
        {"id": "poc", "import_price_per_mwh": [100.0, 50.0, 100.0], "export_price_per_mwh": 10.0, **more},
        {"id": "feeder", "parent": "poc", "import_limit_kw": limit, "peak_import_price_per_kw": 0.2},
        {"id": "hub", "parent": "feeder", "import_limit_kw": 8.0, "export_limit_kw": 2.0},
    ]


def test_limits_and_peaks_at_each_level_of_a_tree() -> None:
    """15 kWh in three steps beside a load of 5 kW: a kWh moved to the cheap step saves 0.05 and raises the
    feeder's peak by 0.2, so the EV charges flat. A limit of 9 kW leaves it 12 kWh."""
    assets = [
        load(5.0, connection="feeder"),
        ev([session(0, 3, e_departure_min_kwh=25.0)], connection="hub"),
        load(3.0, "office"),
    ]
    answer = solve(problem_of(assets, steps=3, connections=tree(12.0)))
    assert answer["shortfalls"] == []
    assert answer["objective"]["peak"] == pytest.approx(0.2 * 10.0)
    assert answer["assets"]["ev1"]["p_kw"] == pytest.approx([5.0, 5.0, 5.0])
    tight = solve(problem_of(assets, steps=3, connections=tree(9.0)))
    assert tight["shortfalls"][0]["amount_kwh"] == pytest.approx(3.0)
    hub = solve(
        problem_of(
            [*assets[1:], battery("b", connection="hub", e_start_kwh=20.0)], steps=3, connections=tree(30.0)
        )
    )
    assert max(hub["connections"]["hub"]["import_kw"]) <= 8.0 + 1e-9
    assert max(hub["connections"]["hub"]["export_kw"]) <= 2.0 + 1e-9


def test_a_peak_at_a_child_stands_in_its_price_only() -> None:
    answer = solve(
        problem_of([load(5.0, connection="hub"), load(1.0, "office")], steps=3, connections=tree(30.0))
    )
    prices = {key: c["price_per_mwh"] for key, c in answer["connections"].items()}
    assert sum(prices["feeder"]["peak"]) == pytest.approx(200.0)
    assert prices["hub"]["peak"] == pytest.approx(prices["feeder"]["peak"])
    assert not any(prices["poc"]["peak"])
