"""Load shedding with terms of the connection: the nearest statement wins, term by term."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from tests.optimizer.builders import Document, load, problem_of, solve


def nested(of_city: Document, of_feeder: Document, *loads: Document) -> Document:
    """A feeder under a city; one step at a price of 500 per MWh."""
    connections = [
        {"id": "city", "import_price_per_mwh": 500.0, "export_price_per_mwh": 0.0, **of_city},
        {"id": "poc", "parent": "city", **of_feeder},
    ]
    return problem_of(list(loads), steps=1, connections=connections)


def shed_kw(document: Document, name: str = "base") -> float:
    (shed,) = solve(document)["assets"][name].get("shed_kw", [0.0])
    return float(shed)


def terms(fraction: float | None, price: float | None) -> Document:
    return {"shed_limit_fraction": fraction, "shed_price_per_mwh": price}


def test_a_load_without_terms_has_those_of_its_connection() -> None:
    document = nested({}, terms(0.25, 300.0), load(8.0))
    assert shed_kw(document) == 2.0
    assert solve(document)["objective"]["shed"] == pytest.approx(2 * 0.3)


def test_the_nearest_connection_that_states_a_term_wins() -> None:
    assert shed_kw(nested(terms(0.5, 300.0), {}, load(8.0))) == 4.0
    assert shed_kw(nested(terms(0.5, 300.0), terms(0.25, None), load(8.0))) == 2.0
    # shedding at 600 is dearer than buying at 500
    assert shed_kw(nested(terms(0.5, 300.0), terms(None, 600.0), load(8.0))) == 0.0


def test_terms_of_a_load_win_zero_included() -> None:
    assert shed_kw(nested({}, terms(0.5, 300.0), load(8.0, shed_limit_fraction=0.0))) == 0.0
    assert shed_kw(nested({}, terms(0.5, 300.0), load(8.0, shed_price_per_mwh=900.0))) == 0.0
    assert shed_kw(nested({}, terms(0.5, 900.0), load(8.0, shed_price_per_mwh=300.0))) == 4.0


def test_a_share_without_any_price_is_refused() -> None:
    for document in (
        nested(terms(0.5, None), {}, load(8.0)),
        nested({}, {}, load(8.0, shed_limit_fraction=0.5)),
    ):
        with pytest.raises(InputError) as refused:
            DispatchProblem.from_document(document)
        (fault,) = refused.value.faults
        assert fault.path == "assets[0].shed_price_per_mwh"
        assert "shed_limit_fraction is 0.5" in fault.message


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"shed_limit_fraction": 1.5}, "connections[0].shed_limit_fraction"),
        ({"shed_limit_fraction": -0.1}, "connections[0].shed_limit_fraction"),
        ({"shed_price_per_mwh": 1e308}, "connections[0].shed_price_per_mwh"),
        ({"shed_price_per_mwh": "dear"}, "connections[0].shed_price_per_mwh"),
    ],
)
def test_terms_of_a_connection_are_checked(change: Document, path: str) -> None:
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(nested(change, {}, load(8.0)))
    assert [fault.path for fault in refused.value.faults] == [path]


@settings(max_examples=40)
@given(data=st.data())
def test_inherited_terms_are_as_good_as_written_out(data: Any) -> None:
    """The normalised problem states the terms at each load, and has the same answer."""
    some = st.one_of(st.none(), st.sampled_from([0.0, 0.3, 1.0]))
    price = st.one_of(st.none(), st.sampled_from([100.0, 700.0]))
    drawn = [terms(data.draw(some), data.draw(price)) for _ in range(3)]
    document = nested({**drawn[0], "shed_price_per_mwh": 300.0}, drawn[1], load(8.0, **drawn[2]))
    problem = DispatchProblem.from_document(document)
    own = problem.document()["assets"][0]
    assert (own["shed_limit_fraction"], own["shed_price_per_mwh"]) == (
        next((t["shed_limit_fraction"] for t in drawn[::-1] if t["shed_limit_fraction"] is not None), 0.0),
        next((t["shed_price_per_mwh"] for t in drawn[:0:-1] if t["shed_price_per_mwh"] is not None), 300.0),
    )
    written = DispatchProblem.from_document(problem.document())
    assert written.input_hash == problem.input_hash
    assert dispatch(written).objective == dispatch(problem).objective
