"""What the two documents must say about islands; recomputed from them alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

Document = dict[str, Any]
LENGTHS = {"PT15M": 0.25, "PT30M": 0.5, **{f"PT{hours}H": float(hours) for hours in range(1, 49)}}


def exchange_kw(document: Document, connection: Document) -> np.ndarray:
    """What may flow through a connection because it is, or was, an island; infinite where it may."""
    time = document["time"]
    steps, hours = time["steps"], LENGTHS[time["resolution"]]
    limit = np.full(steps, np.inf)
    if not connection.get("island"):
        return limit
    begin, end = 0.0, float(steps)
    if connection.get("island_from") is not None:
        since = datetime.fromisoformat(connection["island_from"]) - datetime.fromisoformat(time["start"])
        begin = since / timedelta(hours=hours)
    if connection.get("island_duration") is not None:
        end = begin + LENGTHS[connection["island_duration"]] / hours
    for step in range(steps):
        if step + 1 > begin and step < end:
            limit[step] = 0.0
        elif step >= end and connection.get("island_return_ramp_kw_per_h") is not None:
            limit[step] = connection["island_return_ramp_kw_per_h"] * hours * (step + 1 - np.ceil(end))
    return limit


def check_islands(document: Document, answer: Document, tolerance: float) -> None:
    """No flow in an island, a slow return, and load unserved only there, all of it told."""
    steps, hours = document["time"]["steps"], LENGTHS[document["time"]["resolution"]]
    above = {c["id"]: c.get("parent") for c in document["connections"]}
    cut = {c["id"]: exchange_kw(document, c) for c in document["connections"]}
    for key, limit in cut.items():
        flow = answer["connections"][key]
        for way in ("import_kw", "export_kw"):
            assert (np.array(flow[way]) <= limit + tolerance).all()
    end = datetime.fromisoformat(document["time"]["start"]) + steps * timedelta(hours=hours)
    for asset in document["assets"]:
        if asset["type"] != "load":
            continue
        unserved = np.array(answer["assets"][asset["id"]].get("unserved_kw", np.zeros(steps)))
        demand = np.broadcast_to(np.asarray(asset["p_kw"], float), (steps,))
        assert (unserved >= 0).all()
        assert (unserved <= np.clip(demand, 0, None) + tolerance).all()
        key, islanded = asset["connection"], np.zeros(steps, bool)
        while key is not None:
            islanded |= np.isfinite(cut[key])
            key = above[key]
        assert not unserved[~islanded].any()
        told = {
            datetime.fromisoformat(s["at"]): s["amount_kwh"]
            for s in answer["shortfalls"]
            if s.get("asset") == asset["id"] and s["kind"] == "unserved_load"
        }
        inside = sum(kwh for at, kwh in told.items() if at < end)
        assert np.isclose(inside, unserved.sum() * hours, atol=tolerance * steps)
