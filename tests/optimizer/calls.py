"""What becomes of a plan when the reserve it holds is called; recomputed from problem and answer alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tests.optimizer.places import inherited
from tests.optimizer.units import commits

Document = dict[str, Any]
LENGTHS = {
    "PT7M30S": 0.125,
    "PT15M": 0.25,
    "PT30M": 0.5,
    "PT90M": 1.5,
    **{f"PT{h}H": float(h) for h in range(1, 25)},
}


def check_calls(document: Document, answer: Document, tolerance: float) -> None:
    """All offers of a direction, called together in any step, leave every asset and connection within its
    limits to the end of the call, and every car with what its plan needs until it is plugged in again."""
    time = document["time"]
    hours = LENGTHS[time["resolution"]]
    start = datetime.fromisoformat(time["start"])
    held = {a["id"]: {} for a in document["assets"]}
    offers = {offer["id"]: offer for offer in document.get("offers", ())}
    for key in offers:
        for asset, kw in answer["offers"][key]["by_asset"].items():
            held[asset][key] = np.array(kw)
    for begin in range(time["steps"]):
        for way, sign in (("up", -1.0), ("down", 1.0)):
            shares: dict[str, np.ndarray] = {}
            for key, offer in offers.items():
                first, last = (
                    (datetime.fromisoformat(offer[end]) - start) / timedelta(hours=hours)
                    for end in ("start", "end")
                )
                if offer["direction"] == way and first <= begin < last:
                    steps = np.arange(time["steps"])
                    length = LENGTHS[offer.get("duration", "PT1H")] / hours
                    share = np.clip(length - (steps - begin), 0, 1) * (steps >= begin) * (steps < last)
                    shares[key] = share
            if shares:
                _check_call(document, answer, held, shares, begin, sign, tolerance)


def _check_call(
    document: Document,
    answer: Document,
    held: dict[str, dict[str, np.ndarray]],
    shares: dict[str, np.ndarray],
    begin: int,
    sign: float,
    tolerance: float,
) -> None:
    steps = document["time"]["steps"]
    more = {c["id"]: np.zeros(steps) for c in document["connections"]}
    above = {c["id"]: c.get("parent") for c in document["connections"]}
    for asset in document["assets"]:
        own = {key: kw for key, kw in held[asset["id"]].items() if key in shares}
        if not own:
            continue
        change = sum((kw * (shares[key] > 0) for key, kw in own.items()), np.zeros(steps))
        connection = asset["connection"]
        while connection is not None:
            more[connection] = more[connection] + sign * change
            connection = above[connection]
        found, p_kw = answer["assets"][asset["id"]], np.array(answer["assets"][asset["id"]]["p_kw"])
        if asset["type"] == "load":
            demand = np.broadcast_to(np.asarray(asset["p_kw"], float), (steps,))
            shed = demand - (p_kw - change) - np.array(found.get("unserved_kw", np.zeros(steps)))
            fraction = inherited(document, asset, "shed_limit_fraction") or 0.0
            most = fraction * np.clip(demand, 0, None)
            assert sign < 0
            assert (shed <= most + tolerance).all()
        elif asset["type"] == "generator":
            _check_unit(document, asset, p_kw, np.array(found["on"]), -sign * change, tolerance)
        elif asset["type"] == "renewable":
            assert sign > 0
            assert (p_kw - change >= -tolerance).all()
        else:
            _check_store(document, asset, found, own, shares, begin, sign, tolerance)
    for connection in document["connections"]:
        flow = answer["connections"][connection["id"]]
        net = np.array(flow["import_kw"]) - np.array(flow["export_kw"])
        called = np.abs(more[connection["id"]]) > tolerance
        after = net + more[connection["id"]]
        for name, way in (("import_limit_kw", 1.0), ("export_limit_kw", -1.0)):
            if connection.get(name) is not None and way == sign:
                limit = np.broadcast_to(np.asarray(connection[name], float), (steps,))
                assert (way * after <= limit + tolerance)[called].all(), (connection["id"], name)


def _check_unit(
    document: Document, asset: Document, p_kw: np.ndarray, on: np.ndarray, more: np.ndarray, tolerance: float
) -> None:
    """A generator that is on gives `more` within its limits, and changes as fast as it may."""
    hours = LENGTHS[document["time"]["resolution"]]
    called, after = np.abs(more) > tolerance, p_kw + more
    least, most = (
        np.broadcast_to(np.asarray(asset.get(name) or 0.0, float), len(p_kw))
        for name in ("p_min_kw", "p_max_kw")
    )
    up = asset.get("ramp_kw_per_h")
    down = up if asset.get("ramp_down_kw_per_h") is None else asset["ramp_down_kw_per_h"]
    assert (after <= most + tolerance)[called].all()
    assert (after >= least - tolerance)[called].all()
    # one that needs no on-state is always on
    running = (on > 0.5) | (not commits(asset))
    assert running[called].all()
    between, change = running[1:] & running[:-1], np.diff(after)
    for ramp, way in ((up, change), (down, -change)):
        assert ramp is None or (way <= ramp * hours + tolerance)[between].all()


def _check_store(
    document: Document,
    asset: Document,
    found: Document,
    own: dict[str, np.ndarray],
    shares: dict[str, np.ndarray],
    begin: int,
    sign: float,
    tolerance: float,
) -> None:
    """A battery or an EV: its power, and its energy from the step of the call on."""
    steps, hours = document["time"]["steps"], LENGTHS[document["time"]["resolution"]]
    p_kw, e_kwh = np.array(found["p_kw"]), np.array(found["e_kwh"])
    kept = (1 - asset.get("self_discharge_per_hour", 0.0)) ** hours
    into, out = asset.get("charge_efficiency", 1.0), asset.get("discharge_efficiency", 1.0)

    def stored(power: float) -> float:
        return hours * (power * into if power > 0 else power / out)

    called = sum((kw * (shares[key] > 0) for key, kw in own.items()), np.zeros(steps))
    whole = np.zeros(steps, bool)
    most = np.zeros((2, steps))
    if asset["type"] == "battery":
        whole[:], most[0], most[1] = True, asset["charge_max_kw"], asset["discharge_max_kw"]
    start = datetime.fromisoformat(document["time"]["start"])
    stays = []
    for stay in asset.get("sessions", ()):
        first, last = (
            (datetime.fromisoformat(stay[end]) - start) / timedelta(hours=hours)
            for end in ("arrival", "departure")
        )
        inside = (np.arange(steps) >= first) & (np.arange(steps) + 1 <= last)
        consent = asset.get("v2g_consent", True) and stay.get("v2g_consent", True)
        whole |= inside
        most[0, inside] = stay["charge_max_kw"]
        most[1, inside] = stay.get("discharge_max_kw", 0.0) if consent else 0.0
        stays.append((first, last, stay))
    assert not called[~whole].any()
    assert (p_kw + sign * called <= most[0] + tolerance)[called > tolerance].all()
    assert (-p_kw - sign * called <= most[1] + tolerance)[called > tolerance].all()
    before = np.concatenate([[asset["e_start_kwh"]], e_kwh[:-1]])
    driven = before * kept + np.array([stored(p) for p in p_kw]) - e_kwh
    energy = float(before[begin])
    last_called = max(t for t in range(steps) if any(shares[key][t] > 0 for key in own))
    plugged = [first for first, _, _ in stays if first > last_called]
    until = min([steps, *(int(first) for first in plugged)])
    if asset["type"] == "battery":
        until = last_called + 1
    for t in range(begin, until):
        gained, edge = 0.0, 1.0
        for share in (*sorted({shares[key][t] for key in own if shares[key][t] > 0}, reverse=True), 0.0):
            # until `edge` of the step those are called whose call is not over by then
            running = sum(kw[t] for key, kw in own.items() if shares[key][t] >= edge)
            gained += (edge - share) * stored(p_kw[t] + sign * running)
            edge = share
        energy = energy * kept + gained - driven[t]
        assert energy <= asset["e_max_kwh"] + tolerance * steps or t > last_called or sign < 0
        lowest = asset.get("e_min_kwh", 0.0)
        if t == steps - 1 and t <= last_called:
            lowest = max(lowest, asset.get("e_end_min_kwh") or 0.0)
        assert energy >= lowest - tolerance * steps or sign > 0, (asset["id"], begin, t)
        for _, last, stay in stays if sign < 0 else ():
            need = stay.get("e_departure_min_kwh")
            if need is not None and int(np.ceil(last)) - 1 == t and last <= steps and t > last_called:
                # what the plan is short of it is short of anyway; a drive of that step leaves after the need
                assert energy >= min(need - driven[t], float(e_kwh[t])) - tolerance * steps
