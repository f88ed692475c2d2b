"""Builders of dispatch problems, and a checker that trusts nothing but the two documents."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from optimizer import DispatchProblem, dispatch
from tests.optimizer.calls import check_calls
from tests.optimizer.islands import check_islands
from tests.optimizer.markets import block_cost, check_offers, price_series
from tests.optimizer.places import depth, inherited, lineage
from tests.optimizer.stations import check_hydrogen, check_swaps
from tests.optimizer.units import check_chp, check_flexible, check_run, check_unit

Document = dict[str, Any]
START = datetime(2022, 8, 29, tzinfo=UTC)


def at(hours: float) -> str:
    """The instant so many hours after the start of the test horizon."""
    return (START + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def problem_of(
    assets: list[Document], *, steps: int = 4, resolution: str = "PT1H", connections: Any = None, **more: Any
) -> Document:
    """A problem with one connection ``poc`` (or several); `more` goes into the first connection."""
    root = {"id": "poc", "import_price_per_mwh": 100.0, "export_price_per_mwh": 50.0}
    document: Document = {
        "schema": "wattshed.dispatch/1",
        "name": "test",
        "time": {"start": at(0), "resolution": resolution, "steps": steps},
        "connections": connections or [root],
        "assets": assets,
    }
    for key in ("objective", "offers", "options", "network", "frontier", "scenarios", "first_stage"):
        if key in more:
            document[key] = more.pop(key)
    document["connections"] = [{**document["connections"][0], **more}, *document["connections"][1:]]
    return copy.deepcopy(document)


def load(p_kw: Any, name: str = "base", **more: Any) -> Document:
    return {"type": "load", "id": name, "connection": "poc", "p_kw": p_kw, **more}


def renewable(available_kw: Any, name: str = "pv", **more: Any) -> Document:
    return {"type": "renewable", "id": name, "connection": "poc", "available_kw": available_kw, **more}


def battery(name: str = "b1", **more: Any) -> Document:
    return {
        "type": "battery",
        "id": name,
        "connection": "poc",
        "charge_max_kw": 10.0,
        "discharge_max_kw": 10.0,
        "e_max_kwh": 20.0,
        "e_start_kwh": 0.0,
        **more,
    }


def ev(sessions: list[Document], name: str = "ev1", **more: Any) -> Document:
    return {
        "type": "ev",
        "id": name,
        "connection": "poc",
        "e_max_kwh": 60.0,
        "e_start_kwh": 10.0,
        "sessions": sessions,
        **more,
    }


def session(arrival: float, departure: float, **more: Any) -> Document:
    return {"arrival": at(arrival), "departure": at(departure), "charge_max_kw": 10.0, **more}


def trip(departure: float, arrival: float, energy_kwh: float) -> Document:
    return {"departure": at(departure), "arrival": at(arrival), "energy_kwh": energy_kwh}


def series(value: Any, steps: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(0.0 if value is None else value, float), (steps,))


def check_answer(document: Document, answer: Document, tolerance: float = 1e-5) -> None:
    """Recompute balances, limits, energies, needs and every objective part from problem and answer alone."""
    steps = document["time"]["steps"]
    hours = {"PT1H": 1.0, "PT15M": 0.25, "PT30M": 0.5}[document["time"]["resolution"]]
    objective = {
        "carbon_price_per_t": 0.0,
        "unserved_energy_price_per_kwh": 10.0,
        **document.get("objective", {}),
    }
    parts = dict.fromkeys(answer["objective"], 0.0)
    net = {connection["id"]: np.zeros(steps) for connection in document["connections"]}
    unserved = {(s.get("asset"), s["kind"], s["at"]): s["amount_kwh"] for s in answer["shortfalls"]}
    for asset in document["assets"]:
        found = answer["assets"][asset["id"]]
        p_kw = np.array(found["p_kw"])
        if asset["type"] == "load":
            demand = series(asset["p_kw"], steps)
            shed = demand - p_kw - series(found.get("unserved_kw"), steps)
            assert (shed >= -tolerance).all()
            most = (inherited(document, asset, "shed_limit_fraction") or 0.0) * np.clip(demand, 0, None)
            assert (shed <= most + tolerance).all()
            price = inherited(document, asset, "shed_price_per_mwh") or 0.0
            parts["shed"] += shed.sum() * hours / 1000 * price
            net[asset["connection"]] += p_kw
        elif asset["type"] == "renewable":
            available, curtailed = series(asset["available_kw"], steps), np.array(found["curtailed_kw"])
            assert np.allclose(p_kw + curtailed, available, atol=tolerance)
            assert (p_kw >= -tolerance).all()
            assert (curtailed >= -tolerance).all()
            assert asset.get("curtailable", True) or not curtailed.any()
            parts["curtailment"] += (
                curtailed.sum() * hours / 1000 * asset.get("curtailment_price_per_mwh", 0.0)
            )
            parts["fuel"] += p_kw.sum() * hours / 1000 * asset.get("marginal_cost_per_mwh", 0.0)
            net[asset["connection"]] -= p_kw
        elif asset["type"] in ("generator", "chp"):
            if asset["type"] == "chp":
                unit = check_chp(asset, found, answer["shortfalls"], steps, hours, tolerance)
            else:
                unit = check_unit(asset, found, steps, hours, tolerance)
            parts["fuel"] += unit["fuel"]
            parts["start"] += unit["start"]
            parts["carbon"] += unit["emissions_kg"] / 1000 * objective["carbon_price_per_t"]
            net[asset["connection"]] -= p_kw
        elif asset["type"] == "flexible_load":
            check_flexible(asset, found, answer["shortfalls"], document["time"], tolerance)
            net[asset["connection"]] += p_kw
        elif asset["type"] == "shiftable_load":
            check_run(asset, found, answer["shortfalls"], document["time"])
            net[asset["connection"]] += p_kw
        elif asset["type"] == "swap_station":
            parts["wear"] += check_swaps(asset, found, answer["shortfalls"], steps, hours, tolerance)
            net[asset["connection"]] += p_kw
        elif asset["type"] == "hydrogen_station":
            parts["start"] += check_hydrogen(asset, found, answer["shortfalls"], steps, hours, tolerance)
            net[asset["connection"]] += p_kw
        else:
            driven = check_store(asset, found, unserved, steps, hours, tolerance)
            parts["wear"] += -p_kw[p_kw < 0].sum() * hours / 1000 * asset.get("wear_cost_per_mwh", 0.0)
            parts["wear"] += wear_by_depth(asset, p_kw, driven, hours)
            net[asset["connection"]] += p_kw
    for connection in sorted(document["connections"], key=lambda c: -depth(document, c["id"])):
        if connection.get("parent"):
            net[connection["parent"]] += net[connection["id"]]
    check_phases(document, answer, steps, tolerance)
    check_signals(document, answer, steps, hours, tolerance)
    for connection in document["connections"]:
        flow = answer["connections"][connection["id"]]
        imported, exported = np.array(flow["import_kw"]), np.array(flow["export_kw"])
        assert np.allclose(imported - exported, net[connection["id"]], atol=tolerance)
        assert not ((imported > tolerance) & (exported > tolerance)).any()
        if connection.get("import_limit_kw") is not None:
            over = imported - series(connection["import_limit_kw"], steps)
            told = sum(
                s["amount_kwh"] for s in answer["shortfalls"] if s.get("connection") == connection["id"]
            )
            assert np.clip(over, 0, None).sum() * hours <= told + tolerance * steps
        if connection.get("export_limit_kw") is not None:
            assert (exported <= series(connection["export_limit_kw"], steps) + tolerance).all()
        if not connection.get("parent"):
            average = series(connection.get("carbon_g_per_kwh"), steps)
            signal = average
            if objective.get("carbon_signal") == "marginal":
                signal = series(connection["marginal_carbon_g_per_kwh"], steps)
            credit = average if objective.get("export_carbon_credit") == "average" else 0.0 * average
            price = objective["carbon_price_per_t"] * 1e-6
            parts["carbon"] += hours * price * float((signal * imported - credit * exported).sum())
            buy, sell = (price_series(document, connection, way) for way in ("import", "export"))
            parts["energy"] += hours / 1000 * float((buy * imported - sell * exported).sum())
            if connection.get("import_blocks"):
                parts["energy"] += block_cost(document, connection["import_blocks"], imported)
        if connection.get("peak_import_price_per_kw"):
            length = max(
                1,
                round(
                    {"PT15M": 0.25, "PT30M": 0.5, "PT1H": 1.0}[connection.get("peak_interval", "PT15M")]
                    / hours
                ),
            )
            means = [imported[k : k + length].mean() for k in range(0, steps, length)]
            above = max(0.0, max(means) - connection.get("peak_import_so_far_kw", 0.0))
            parts["peak"] += above * connection["peak_import_price_per_kw"]
        price = flow["price_per_mwh"]
        total = np.array(price["total"])
        assert np.allclose(np.sum([price[part] for part in price if part != "total"], axis=0), total)
    told = sum(s["amount_kwh"] for s in answer["shortfalls"])
    check_islands(document, answer, tolerance)
    parts["shortfall"] = objective["unserved_energy_price_per_kwh"] * told
    parts["flexibility"] = -check_offers(document, answer, tolerance)
    check_calls(document, answer, tolerance)
    parts["fairness"] = check_fairness(document, answer, tolerance)
    parts["total"] = sum(value for part, value in parts.items() if part != "total")
    for part, value in parts.items():
        assert answer["objective"][part] == pytest.approx(value, abs=1e-6, rel=1e-6), part


def check_store(
    asset: Document, found: Document, unserved: dict[Any, float], steps: int, hours: float, tolerance: float
) -> np.ndarray:
    """Power inside its bounds, energies that follow from it and stay inside theirs, needs met or reported.
    Returns what drives take in each step, kWh."""
    p_kw, e_kwh = np.array(found["p_kw"]), np.array(found["e_kwh"])
    charge_max, discharge_max = (np.zeros(steps) for _ in range(2))
    drives = np.zeros(steps)
    meanwhile: dict[str, np.ndarray] = {}
    if asset["type"] == "battery":
        charge_max += asset["charge_max_kw"]
        discharge_max += asset["discharge_max_kw"]
        check_least(p_kw, asset, 1.0, tolerance)
    for stay in asset.get("sessions", ()):
        begin, end = (
            (datetime.fromisoformat(stay[key]) - START) / timedelta(hours=hours)
            for key in ("arrival", "departure")
        )
        covered = np.clip(np.minimum(np.arange(steps) + 1, end) - np.maximum(np.arange(steps), begin), 0, 1)
        charge_max += covered * stay["charge_max_kw"]
        if asset.get("v2g_consent", True) and stay.get("v2g_consent", True):
            discharge_max += covered * stay.get("discharge_max_kw", 0.0)
        # of two sessions in a step, one may be all that charges
        meanwhile = min_of(meanwhile, stay, covered)
    check_least(p_kw, meanwhile, 1.0, tolerance)
    for drive in asset.get("trips", ()):
        step = int((datetime.fromisoformat(drive["arrival"]) - START) // timedelta(hours=hours))
        if 0 <= step < steps:
            drives[step] += drive["energy_kwh"] - unserved.get(
                (asset["id"], "trip_energy", drive["arrival"]), 0.0
            )
    assert (e_kwh[p_kw < -tolerance] >= asset.get("v2g_reserve_kwh", 0.0) - tolerance * steps).all()
    assert (p_kw <= charge_max + tolerance).all()
    assert (-p_kw <= discharge_max + tolerance).all()
    energy = asset["e_start_kwh"]
    into, out = asset.get("charge_efficiency", 1.0), asset.get("discharge_efficiency", 1.0)
    retained = (1 - asset.get("self_discharge_per_hour", 0.0)) ** hours
    for step in range(steps):
        power = p_kw[step]
        energy = energy * retained + hours * (power * into if power > 0 else power / out) - drives[step]
        assert e_kwh[step] == pytest.approx(energy, abs=tolerance * steps)
    assert (e_kwh >= asset.get("e_min_kwh", 0.0) - tolerance * steps).all()
    assert (e_kwh <= asset["e_max_kwh"] + tolerance * steps).all()
    if asset.get("e_end_min_kwh") is not None:
        assert e_kwh[-1] >= asset["e_end_min_kwh"] - tolerance * steps
    for stay in asset.get("sessions", ()):
        end = (datetime.fromisoformat(stay["departure"]) - START) / timedelta(hours=hours)
        if stay.get("e_departure_min_kwh") is None or not 0 < end <= steps:
            continue
        step = int(np.ceil(end)) - 1
        later = sum(
            drive["energy_kwh"] - unserved.get((asset["id"], "trip_energy", drive["arrival"]), 0.0)
            for drive in asset.get("trips", ())
            if drive["departure"] >= stay["departure"]
            and (datetime.fromisoformat(drive["arrival"]) - START) // timedelta(hours=hours) == step
        )
        short = unserved.get((asset["id"], "departure_energy", stay["departure"]), 0.0)
        assert e_kwh[step] + later + short >= stay["e_departure_min_kwh"] - tolerance * steps
    return drives


def check_fairness(document: Document, answer: Document, tolerance: float) -> float:
    """The shares of districts and what their spread costs; unmet charging over what is told only."""
    weights = document.get("objective", {}).get("fairness") or {}
    cost = 0.0
    for burden, found in answer.get("fairness", {}).items():
        shares = [share for share in found["shares"].values() if share is not None]
        assert found["spread"] == pytest.approx(max(shares, default=0.0) - min(shares, default=0.0))
        assert found.get("price", 0.0) >= 0.0
        cost += weights[burden] * found["spread"]
        for district, share in found["shares"].items() if burden == "curtailment" else ():
            own = [a for a in document["assets"] if a.get("district") == district]
            series_of = [answer["assets"][a["id"]] for a in own if a["type"] == "renewable"]
            curtailed = sum(sum(s["curtailed_kw"]) for s in series_of)
            available = sum(sum(s["p_kw"]) for s in series_of) + curtailed
            assert share is None or share * available == pytest.approx(curtailed, abs=tolerance)
    return cost


def wear_by_depth(asset: Document, p_kw: np.ndarray, driven: np.ndarray, hours: float) -> float:
    """Cheapest segment first, both ways, from powers and drives alone; 0 without a curve. A drive does not
    pay the price of the first segment, and of what is charged in its step it takes from that."""
    segments, left, above = [], asset["e_start_kwh"], 0.0
    for step in asset.get("wear_curve", ()):
        size = (step["depth"] - above) * asset["e_max_kwh"]
        segments.append([min(size, left), size, step["cost_per_mwh"]])
        above, left = step["depth"], left - segments[-1][0]
    into, out = asset.get("charge_efficiency", 1.0), asset.get("discharge_efficiency", 1.0)
    retained = (1 - asset.get("self_discharge_per_hour", 0.0)) ** hours
    cost = 0.0
    for power, drive in zip(p_kw, driven, strict=True):
        charged, drained = max(power, 0.0) * hours * into, max(-power, 0.0) * hours / out + drive
        through = min(charged, drained)
        charged, drained = charged - through, drained - through
        if segments:
            cost += (through - drive) * out * segments[0][2] / 1000
        for segment in segments:
            segment[0] *= retained
            taken, put = min(segment[0], drained), min(segment[1] - segment[0], charged)
            segment[0] += put - taken
            drained, charged = drained - taken, charged - put
            cost += taken * out * segment[2] / 1000
    return cost


def check_phases(document: Document, answer: Document, steps: int, tolerance: float) -> None:
    """The limits on phases, and the unbalance the answer tells, from the powers of the assets."""
    spread = {}
    for connection in document["connections"]:
        on = dict.fromkeys(("L1", "L2", "L3"), np.zeros(steps))
        for asset in document["assets"]:
            if connection["id"] in lineage(document, asset["connection"]):
                drawn = np.array(answer["assets"][asset["id"]]["p_kw"])
                drawn = -drawn if asset["type"] in ("renewable", "generator", "chp") else drawn
                phases = asset.get("phases", "L123")
                for phase in on if phases == "L123" else (phases,):
                    on[phase] = on[phase] + drawn / (3 if phases == "L123" else 1)
        powers = np.array(list(on.values()))
        spread[connection["id"]] = powers.max(axis=0) - powers.min(axis=0)
        for value, name in (
            (powers, "phase_import_limit_kw"),
            (spread[connection["id"]], "unbalance_limit_kw"),
        ):
            if connection.get(name) is not None:
                assert (value <= series(connection[name], steps) + tolerance).all(), name
    limited = [c["id"] for c in document["connections"] if c.get("unbalance_limit_kw") is not None]
    if "schema" not in answer:  # points of a frontier and scenarios do not tell it
        return
    told = answer["phase_unbalance"]
    assert told["checked"] == bool(limited)
    largest = max(spread[key].max() for key in limited or spread)
    assert told["largest_kw"] == pytest.approx(largest, abs=tolerance)


def check_signals(document: Document, answer: Document, steps: int, hours: float, tolerance: float) -> None:
    """Grid signals: the limit told is the higher of signal and statutory minima, and is kept."""

    def touched(start: str, end: str) -> np.ndarray:
        first, last = ((datetime.fromisoformat(t) - START) / timedelta(hours=hours) for t in (start, end))
        return (np.arange(steps) < last) & (np.arange(steps) + 1 > first)

    for connection in document["connections"]:
        drawn, least, limit = np.zeros(steps), np.zeros(steps), np.full(steps, np.inf)
        for asset in document["assets"]:
            under = connection["id"] in lineage(document, asset["connection"])
            if not under or asset["type"] not in ("battery", "ev", "flexible_load"):
                continue
            drawn += answer["assets"][asset["id"]]["p_kw"]
            can = series(asset.get("charge_max_kw", asset.get("p_max_kw")), steps) > 0
            for stay in asset.get("sessions", ()):
                if stay["charge_max_kw"] > 0 and stay["arrival"] < stay["departure"]:
                    can |= touched(stay["arrival"], stay["departure"])
            least += can * asset.get("statutory_min_kw", 0.0)
        for signal in connection.get("grid_signals", ()):
            applied = np.where(
                touched(signal["start"], signal["end"]), np.maximum(signal["limit_kw"], least), np.inf
            )
            limit = np.minimum(limit, applied)
        assert (drawn <= limit + tolerance).all()
        told = answer["connections"][connection["id"]].get("grid_signal_limit_kw")
        assert (told is None) == (not connection.get("grid_signals")) or "schema" not in answer
        if told is not None:
            assert [np.inf if value is None else value for value in told] == pytest.approx(limit.tolist())


def min_of(before: dict[str, np.ndarray], stay: Document, covered: np.ndarray) -> dict[str, np.ndarray]:
    """The least powers of several sessions: in each step the smallest of those that touch it."""
    least = {
        key: np.where(covered > 0, covered * stay.get(key, 0.0), np.inf)
        for key in ("charge_min_kw", "discharge_min_kw")
    }
    return {key: np.minimum(value, before.get(key, np.inf)) for key, value in least.items()}


def check_least(p_kw: np.ndarray, powers: Document, covered: Any, tolerance: float) -> None:
    """Each way nothing, or at least the minimum."""
    for way, power in (("charge", p_kw), ("discharge", -p_kw)):
        least = covered * np.broadcast_to(powers.get(f"{way}_min_kw", 0.0), len(p_kw))
        assert ((power <= tolerance) | (power >= least - tolerance)).all()


def weighted(document: Document, answer: Document) -> float:
    """Unserved kWh times the priority of whom, or of the departure, they are missing to."""
    hours = {"PT1H": 1.0, "PT30M": 0.5, "PT15M": 0.25}[document["time"]["resolution"]]
    end = at(document["time"]["steps"] * hours)
    of_asset: dict[Any, float] = {None: 1.0}
    of_departure: dict[Any, float] = {}
    for asset in document["assets"]:
        own = of_asset[asset["id"]] = asset.get("priority", 1.0)
        for stay in asset.get("sessions", ()):
            # what is due after the horizon is reported at its end
            if stay["arrival"] < end:
                of_departure[asset["id"], min(stay["departure"], end)] = stay.get("priority") or own

    def weight(short: Document) -> float:
        if short["kind"] == "departure_energy":
            return of_departure[short["asset"], short["at"]]
        # of sold reserve the needs of assets come before
        return 1e-3 if short["kind"] == "committed_reserve" else of_asset[short.get("asset")]

    return sum(short["amount_kwh"] * weight(short) for short in answer["shortfalls"])


def solve(document: Document) -> Document:
    """Dispatch a problem, check the answer against the problem, and give it back."""
    answer = dispatch(DispatchProblem.from_document(document)).document()
    if answer["status"] != "infeasible":
        check_answer(document, answer)
    return answer
