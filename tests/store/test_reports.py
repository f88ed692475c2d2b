"""Versions of reports: counted, never changed, found by their figures; on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from energy.domain.errors import InputError
from energy.domain.report import Change, ReportKey
from energy.store import Store

KEY = ReportKey("toy", "kpi", "2016-06")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
CHANGE = Change("peak_mw", "1", "2", "MW")


def test_versions_are_counted_and_the_same_content_makes_none(store: Store) -> None:
    shelf = store.reports
    first = shelf.add(KEY, {"v": 1}, "sha256:1", {"fig-1": "peak_mw"}, (), NOW)
    again = shelf.add(KEY, {"v": 1}, "sha256:1", {"fig-1": "peak_mw"}, (), NOW)
    second = shelf.add(KEY, {"v": 2}, "sha256:2", {"fig-2": "peak_mw"}, (CHANGE,), NOW)
    assert (first, second.number, second.changes, second.state) == (again, 2, (CHANGE,), "draft")
    assert shelf.get(KEY) == ({"v": 2}, second)
    assert shelf.get(KEY, 1) == ({"v": 1}, first)
    assert shelf.get(KEY, 3) is None
    assert [stored.edition.number for stored in shelf.list("toy")] == [1, 2]
    assert shelf.list("other") == ()
    assert shelf.of_figure("fig-1") == (KEY, {"v": 1}, first, "peak_mw")
    assert shelf.of_figure("fig-3") is None


def test_a_document_that_comes_back_is_a_version_of_its_own_with_the_ids_it_had(store: Store) -> None:
    shelf = store.reports
    shelf.add(KEY, {"v": 1}, "sha256:1", {"fig-1": "peak_mw"}, (), NOW)
    shelf.add(KEY, {"v": 2}, "sha256:2", {"fig-2": "peak_mw"}, (CHANGE,), NOW)
    third = shelf.add(KEY, {"v": 1}, "sha256:1", {"fig-1": "peak_mw"}, (CHANGE,), NOW)
    assert (third.number, third.changes) == (3, (CHANGE,))
    assert shelf.of_figure("fig-1") == (KEY, {"v": 1}, third, "peak_mw")
    first = shelf.approve(KEY, 1, "N. Officer", NOW)
    assert shelf.of_figure("fig-1") == (KEY, {"v": 1}, first, "peak_mw")  # the version one stands for
    shelf.approve(KEY, 3, "N. Officer", NOW)
    third = shelf.publish(KEY, 3, NOW)
    assert shelf.of_figure("fig-1") == (KEY, {"v": 1}, third, "peak_mw")


def test_a_draft_is_approved_then_published_and_never_changes_again(store: Store) -> None:
    shelf = store.reports
    shelf.add(KEY, {"v": 1}, "sha256:1", {}, (), NOW)
    with pytest.raises(InputError, match="is draft and cannot become published; approve it first"):
        shelf.publish(KEY, 1, NOW)
    approved = shelf.approve(KEY, 1, "N. Officer", NOW)
    assert (approved.state, approved.approved_by, approved.approved) == ("approved", "N. Officer", NOW)
    published = shelf.publish(KEY, 1, NOW)
    assert (published.state, published.published) == ("published", NOW)
    for promote in (lambda: shelf.approve(KEY, 1, "X", NOW), lambda: shelf.publish(KEY, 1, NOW)):
        with pytest.raises(InputError, match=r"is published .*make a new version instead"):
            promote()
    with pytest.raises(InputError, match="has no version 2; the newest is 1"):
        shelf.approve(KEY, 2, "X", NOW)
    assert shelf.get(KEY, 1) == ({"v": 1}, published)
