"""The market-based ledger: nothing claimed twice, nothing outside its zone, year or hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.breakdown import cut, sums
from energy.carbon.cfe import CarbonFree, score
from energy.carbon.grid_average import grid_average
from energy.carbon.instruments import Certificates, Contracts
from energy.carbon.market_based import MarketBased, Unit, market_based
from energy.domain.documents import parse
from energy.domain.errors import InputError
from energy.domain.period import Period
from tests.carbon.periods import build, periods
from tests.carbon.test_grid_average import flat

DAY = date(2016, 6, 29)


def contract(**changes: object) -> dict:
    return {
        "id": "green",
        "supplier": "works",
        "zone": "DE",
        "start": "2016-01-01",
        "end": "2016-12-31",
        "share": 0.5,
        "g_per_kwh": 50.0,
        "technology": "hydro",
        "source": "label 2016",
        "exclusive": True,
        **changes,
    }


def certificate(number: int, start: datetime, hours: float, mwh: float, **changes: object) -> dict:
    return {
        "id": f"GO-{number}",
        "issuer": "UBA",
        "device": "wind farm",
        "technology": "wind_onshore",
        "zone": "DE",
        "start": start.isoformat(),
        "end": (start + timedelta(hours=hours)).isoformat(),
        "mwh": mwh,
        "g_per_kwh": 0.0,
        **changes,
    }


def ledger(
    period: Period, contracts: list[dict] = (), certificates: list[dict] = (), **options: object
) -> MarketBased:
    return market_based(
        period,
        grid_average(period, flat(period, 500.0)),
        flat(period, 700.0),
        "DE",
        parse(Contracts, {"rows": list(contracts)}),
        parse(Certificates, {"rows": list(certificates)}),
        **options,
    )


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def used_by_unit(period: Period, found: MarketBased) -> np.ndarray:
    """What there is to cover, asset by asset: what one feeds back covers nothing of another's use."""
    energy = grid_average(period, flat(period, 500.0)).energy_mwh
    named = {unit.asset for unit in found.units}
    used = np.zeros((period.time.steps, len(found.units)))
    for k, asset in enumerate(period.assets):
        for user, share in asset.classes.items():
            unit = Unit(asset.district, user, asset.id if asset.id in named else "")
            used[:, found.units.index(unit)] += np.maximum(np.nan_to_num(energy[:, k]), 0.0) * share
    return used


@st.composite
def portfolios(draw: st.DrawFn, period: Period, hourly: bool) -> tuple[list[dict], list[dict]]:
    consumer = st.sampled_from(["city", "district:east", "class:industry", "asset:farm", "class:transport"])
    contracts = [
        contract(
            id=f"c{k}",
            consumer=draw(consumer),
            share=None if volume else draw(st.floats(0.01, 0.3)),
            volume_mwh=draw(st.floats(0.1, 5000.0)) if volume else None,
            g_per_kwh=draw(st.floats(0.0, 300.0)),
        )
        for k, volume in enumerate(draw(st.lists(st.booleans(), max_size=3)))
    ]
    certificates = []
    for k in range(draw(st.integers(0, 6))):
        start = period.time.instant(draw(st.integers(0, period.time.steps - 1)))
        length = 1 if hourly else draw(st.integers(1, 200))
        certificates.append(
            certificate(k, start, length, draw(st.floats(0.01, 30.0)), consumer=draw(consumer))
        )
    return contracts, certificates


@settings(max_examples=25)
@given(st.data(), st.sampled_from(["annual", "hourly"]))
def test_every_kwh_is_covered_once_and_no_certificate_beyond_its_volume(
    data: st.DataObject, matching: str
) -> None:
    period = data.draw(periods())
    contracts, certificates = data.draw(portfolios(period, matching == "hourly"))
    before = {row["id"]: row["mwh"] * data.draw(st.sampled_from([0.0, 0.5, 1.0])) for row in certificates}
    found = ledger(period, contracts, certificates, matching=matching, cancelled_mwh=before)
    city = found.city()
    use = grid_average(period, flat(period, 500.0)).city().scope2
    assert close(city.total.mwh, use.mwh)
    assert close(city.total.kg, city.contracts.kg + city.certificates.kg + city.rest.mwh * 700.0)
    for groups in (found.by_district(), found.by_class(), found.by_asset(period)):
        assert close(sum(group.total.kg for group in groups.values()), city.total.kg)
        assert close(sum(group.total.mwh for group in groups.values()), city.total.mwh)
    # no hour is covered beyond what its assets use
    covered = found.contract_mwh + found.certificate_mwh
    assert (covered <= used_by_unit(period, found) * (1 + 1e-9) + 1e-12).all()
    assert min(covered.min(initial=0.0), found.certificate_mwh.min(initial=0.0)) >= -1e-12
    new = {item.certificate: item.mwh for item in found.cancellations}
    assert len(new) == len(found.cancellations)
    assert close(sum(new.values()), city.certificates.mwh)
    for row in certificates:
        assert before[row["id"]] + new.get(row["id"], 0.0) <= row["mwh"] * (1 + 1e-9)
    assert close(sum(table.sum() for table in found.matched_mwh.values()), covered.sum())
    # what was cancelled now can never be used again
    spent = {row["id"]: before[row["id"]] + new.get(row["id"], 0.0) for row in certificates}
    again = ledger(period, contracts, certificates, matching=matching, cancelled_mwh=spent)
    used_up = {row["id"] for row in certificates if spent[row["id"]] >= row["mwh"] * (1 - 1e-12)}
    assert not used_up & {item.certificate for item in again.cancellations if item.mwh > 1e-9}


def test_a_granular_certificate_serves_its_own_hour_only() -> None:
    period = build(4, DAY, 1)
    hours = [period.time.instant(k) for k in (3, 17)]
    rows = [certificate(k, hour, 1, 1000.0) for k, hour in enumerate(hours)]
    found = ledger(period, (), rows, matching="hourly")
    used = found.certificate_mwh.sum(axis=1)
    assert np.flatnonzero(used).tolist() == [3, 17]
    assert close(used[3], used_by_unit(period, found)[3].sum())
    elsewhere = certificate(9, hours[0] - timedelta(days=30), 1, 5.0)
    assert ledger(period, (), [elsewhere], matching="hourly").outside == ("GO-9",)
    by_year = ledger(period, (), [elsewhere])
    assert close(by_year.city().certificates.mwh, 5.0)
    assert by_year.cancellations[0].mwh == pytest.approx(5.0)
    last_year = certificate(9, datetime(2015, 12, 31, tzinfo=UTC), 1, 5.0)
    assert ledger(period, (), [last_year]).outside == ("GO-9",)
    fiscal = certificate(9, datetime(2017, 2, 1, tzinfo=UTC), 1, 5.0)
    assert ledger(period, (), [fiscal]).outside == ("GO-9",)
    assert ledger(period, (), [fiscal], first_month=4).outside == ()


def test_shares_volumes_and_the_rest_of_one_day() -> None:
    period = build(4, DAY, 1)
    use = grid_average(period, flat(period, 500.0)).by_class()
    rows = [contract(consumer="class:residential", share=0.5)]
    found = ledger(period, rows).by_class()["residential"]
    assert close(found.contracts.mwh, 0.5 * use["residential"].scope2.mwh)
    assert close(found.total.g_per_kwh, 0.5 * 50.0 + 0.5 * 700.0)
    assert found.contracts.low_kg == found.contracts.high_kg == found.contracts.kg
    volume = [contract(share=None, volume_mwh=366.0, start="2016-01-01", end="2016-12-31")]
    for matching in ("annual", "hourly"):
        assert close(ledger(period, volume, matching=matching).city().contracts.mwh, 1.0)
    assert ledger(period, [contract(end="2016-06-28")]).city().contracts.mwh == 0.0


def test_a_declared_fallback_is_an_estimate() -> None:
    period = build(4, DAY, 1)
    assert ledger(period).city().rest.estimated_share == 0.0
    found = ledger(period, fallback="grid average")
    assert (found.fallback, found.city().rest.estimated_share) == ("grid average", pytest.approx(1.0))


def test_matched_energy_feeds_the_hourly_score() -> None:
    period = build(4, DAY, 1)
    rows = [certificate(k, period.time.instant(k), 1, 1000.0) for k in range(24)]
    matched = ledger(period, (), rows, matching="hourly")
    city = cut(period, "city")
    none, all_, other = (
        score(sums(period, {"": (rule, city)}, np.zeros(1, dtype=np.int64))[""][:, 0, 0]).score
        for rule in (
            CarbonFree(period, ()),
            CarbonFree(period, ("wind_onshore",), matched),
            CarbonFree(period, ("hydro",), matched),
        )
    )
    assert none == other < all_ <= 1.0


def test_files_are_read_with_their_lines() -> None:
    contracts = Contracts.from_csv(
        "id,supplier,zone,start,end,share,g_per_kwh,source,exclusive\n\n"
        "green,works,FR,2016-01-01,2016-12-31,0.5,50,label,true\n"
    )
    certificates = Certificates.from_csv(
        "id,issuer,device,technology,zone,start,end,mwh,g_per_kwh\n"
        "GO-1,UBA,farm,wind_onshore,DE,2016-06-29T12:00:00+02:00,2016-06-29T13:00:00+02:00,5,0\n"
    )
    period = build(4, DAY, 1)
    average, residual = grid_average(period, flat(period, 500.0)), flat(period, 700.0)
    with pytest.raises(InputError, match=r"contracts\.csv: line 3: is of zone 'FR'"):
        market_based(period, average, residual, "DE", contracts, certificates)
    found = market_based(period, average, residual, "DE", Contracts(), certificates, matching="hourly")
    assert np.flatnonzero(found.certificate_mwh.sum(axis=1)).tolist() == [12]
    with pytest.raises(InputError, match=r"contracts\.csv: line 2: exclusive: 'perhaps'"):
        Contracts.from_csv(
            "id,supplier,zone,start,end,share,g_per_kwh,source,exclusive\n"
            "green,works,FR,2016-01-01,2016-12-31,0.5,50,label,perhaps\n"
        )


def test_every_fault_of_every_row_at_once() -> None:
    period = build(4, DAY, 1)
    start = period.time.start
    with pytest.raises(InputError) as refused:
        ledger(
            period,
            [
                contract(zone="FR"),
                contract(exclusive=False, consumer="district:moon"),
                contract(id="b", share=None, end="2015-01-01", consumer="moon"),
            ],
            [
                certificate(1, start, 1, 5.0, zone="NO"),
                certificate(1, start, 1, 5.0),
                certificate(2, start, 720, 5.0),
                certificate(3, start, 1, 5.0),
                certificate(4, start, -1, 5.0),
            ],
            matching="hourly",
            cancelled_mwh={"GO-3": 6.0},
        )
    text = str(refused.value)
    for part in (
        "contracts.csv: line 2: is of zone 'FR', the city's grid is 'DE'",
        "contracts.csv: line 3: consumer 'district:moon': known here",
        "contracts.csv: line 3: contract 'green' is listed twice",
        "contracts.csv: line 3: is not exclusive",
        "contracts.csv: line 4: ends on 2015-01-01, before it starts",
        "contracts.csv: line 4: give either share or volume_mwh",
        "contracts.csv: line 4: consumer 'moon' is not one of",
        "certificates.csv: line 2: is of zone 'NO'",
        "certificates.csv: line 3: certificate 'GO-1' is listed twice",
        "certificates.csv: line 4: spans 2016-06-28T22:00:00Z to 2016-07-28T22:00:00Z: matching by the hour",
        "certificates.csv: line 5: 6 MWh of 'GO-3' are cancelled already, but it holds 5 MWh",
        "certificates.csv: line 6: ends at",
    ):
        assert part in text
    with pytest.raises(InputError, match=r"the contracts cover 1\.2 of a consumer's use"):
        ledger(period, [contract(share=0.6), contract(id="b", share=0.6, consumer="district:east")])
    with pytest.raises(InputError, match=r"rows\[0\]\.mwh: -5\.0"):
        ledger(period, (), [certificate(1, start, 1, -5.0)])
    with pytest.raises(InputError, match="is not a date"):
        ledger(period, [contract(start="June")])
    with pytest.raises(InputError, match=r"rows\[0\]\.g_per_kwh: 470000"):
        ledger(period, [contract(g_per_kwh=470000.0)])
