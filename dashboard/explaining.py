"""What a plan says of itself, in the reader's words and local clock: why assets do what they do, what could
not be met, and what a re-plan changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dashboard.language import Language
from dashboard.visit import Visit
from energy.domain.city import City
from energy.domain.plan import Plan
from energy.domain.time import parse_instant

INSTANT = re.compile(r"(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d)(?::00)?Z")
CHANGES_SHOWN = 8
EARLIER = ":earlier"
OF_STEPS = ("import_limit", "unserved_load", "heat_demand", "hydrogen_demand", "unmet_swap", "comfort")
"""Needs of every step; the others are due at an instant."""
RAISED = (
    "import_limit_kw",
    "export_limit_kw",
    "phase_import_limit_kw",
    "unbalance_limit_kw",
    "grid_signals",
    "charge_max_kw",
    "heat_dump",
)
"""Limits of conflicts that more of would help; of the others less is asked."""
UNITS = {"kelvin_hours": "K·h", "kw": "kW"}
"""Units of the engine that have another name on the page; swaps are counted."""


def clock(instant: datetime, day: date, zone: ZoneInfo) -> str:
    """The local clock; with the date on another day than `day`."""
    local = instant.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == day else f"{local:%m-%d %H:%M}"


def localised(text: str, day: date, zone: ZoneInfo) -> str:
    """A sentence of an engine with its UTC times as local ones."""

    def local(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]  # without a date it could be of either day
        return clock(parse_instant(f"{found[1]}T{found[2]}:00Z"), day, zone)

    return INSTANT.sub(local, text)


def reasons_of(seen: Visit, plan: Plan, asset: str) -> list[tuple[str, str, range]]:
    """Span, sentence and the intervals it holds in, of one asset over the day."""
    say, zone = seen.language, seen.city.zone
    told = plan.document["schedule"].get("reasons", {})
    found = []
    for reason in (*told.get(asset + EARLIER, ()), *told.get(asset, ())):
        start, end = (parse_instant(reason[name]) for name in ("from", "to"))
        start, end = max(start, plan.time.start), min(end, plan.time.end)
        span = f"{clock(start, seen.day, zone)}–{clock(end, seen.day, zone)[-5:]}"
        text = localised(reason[say.code], seen.day, zone)
        steps = range(*((at - plan.time.start) // plan.time.resolution for at in (start, end)))
        found.append((span, text[:1].upper() + text[1:], steps))
    return found


def unmet_words(seen: Visit, plan: Plan) -> Iterator[str]:
    """What the plan could not meet, and what would."""
    say, city = seen.language, seen.city
    schedule = plan.document["schedule"]
    for run in _runs(schedule.get("shortfalls", ()), plan.time.resolution):
        first, kind = run[0], run[0]["kind"]
        start = parse_instant(first["at"])
        end = parse_instant(run[-1]["at"]) + plan.time.resolution
        due = kind not in OF_STEPS or start >= plan.time.end
        yield say(
            "unmet.due" if due else "unmet.shortfall",
            asset=asset_name(city, first.get("asset") or first.get("connection") or ""),
            need=say.known(f"need.{kind}", kind),
            amount=_amount(say, sum(_lacking(item)[0] for item in run), _lacking(first)[1]),
            start=clock(start, seen.day, city.zone),
            end=clock(end, seen.day, city.zone),
        )
    for item in schedule.get("conflicts", ()):
        start, end = (parse_instant(item[name]) for name in ("start", "end"))
        names = [asset_name(city, asset) for asset in item["assets"]] or [item["connection"] or ""]
        limit = item["limit"]
        words = say(
            "unmet.conflict" if limit in RAISED else "unmet.need",
            assets=say("list.separator").join(names),
            limit=say.known(f"limit.{limit}", say.known(f"need.{limit}", limit)),
            amount=_amount(say, item["relaxation"], item["unit"]),
            start=clock(start, seen.day, city.zone),
            end=clock(end, seen.day, city.zone),
        )
        if limits := item.get("network_limits"):
            # rounded further, they might not be enough
            values = [
                say(f"unmet.grid.{name}", value=say.number(value, 2 if name == "loading_max_percent" else 5))
                for name, value in limits.items()
            ]
            words = say("unmet.grid", words=words, limits=say("list.separator").join(values))
        yield words if item.get("ac_secure", True) else say("unmet.unproven", words=words)


def revision_words(seen: Visit, revision: Mapping[str, Any], time_start: datetime) -> tuple[str, list[str]]:
    """What a re-plan kept and gained in one sentence, and what it changed, the largest first."""
    say, city = seen.language, seen.city
    resolution = city.profiles.time.resolution
    now = clock(time_start + revision["past_steps"] * resolution, seen.day, city.zone)
    kept = revision["kept_steps"] > 0
    head = say("revision.kept" if kept else "revision.changed", time=now)
    if revision["gain"] is not None:
        gain = say.number(revision["gain"], 2)
        head += say("revision.gain", gain=gain, currency=city.market.currency)
    changes = sorted(revision["changed"], key=_size, reverse=True)
    told = [
        say(
            "revision.change",
            asset=asset_name(city, change["asset"]),
            start=clock(parse_instant(change["start"]), seen.day, city.zone),
            end=clock(parse_instant(change["end"]), seen.day, city.zone),
            before=say.figures(change["from_kw"]),
            after=say.figures(change["to_kw"]),
            why=say.engine(change["why"]),
        )
        for change in changes[:CHANGES_SHOWN]
    ]
    if len(changes) > CHANGES_SHOWN:
        told.append(say("revision.more", count=say.number(len(changes) - CHANGES_SHOWN)))
    return head, told


def fault_words(say: Language, path: str, message: str, day: date, zone: ZoneInfo) -> str:
    """A fault of planning a day, as the page says it."""
    text = localised(say.engine(message), day, zone)
    return f"{path}: {text}" if path else text


def asset_name(city: City, asset: str) -> str:
    """The name of an asset; all loads at a bus are one."""
    key = asset.removesuffix(EARLIER)
    names = {f"load:{item.bus}": item.name for item in city.loads}
    names |= {item.id: item.name for item in city.renewables}
    names |= {item.id: item.name for item in city.batteries}
    names |= {item.id: item.name for item in city.units}
    return names.get(key, key)


def _runs(items: Iterable[Mapping[str, Any]], resolution: timedelta) -> Iterator[list[Mapping[str, Any]]]:
    """Shortfalls of the same need in consecutive steps together, in the order of their first."""
    runs: list[list[Mapping[str, Any]]] = []
    latest: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for item in items:
        whose = tuple(item.get(name) for name in ("asset", "connection", "offer", "kind"))
        run = latest.get(whose)
        follows = run is not None and parse_instant(run[-1]["at"]) + resolution == parse_instant(item["at"])
        if run is not None and follows and item["kind"] in OF_STEPS:
            run.append(item)
        else:
            latest[whose] = [item]
            runs.append(latest[whose])
    yield from runs


def _lacking(item: Mapping[str, Any]) -> tuple[float, str]:
    """The amount of a shortfall, and its own unit."""
    for unit in ("kg", "swaps", "kw", "kelvin_hours"):
        if item.get(f"amount_{unit}") is not None:
            return float(item[f"amount_{unit}"]), unit
    return float(item["amount_kwh"]), "kWh"


def _amount(say: Language, amount: float, unit: str) -> str:
    if unit == "swaps":
        return say("unit.swaps", count=say.number(amount))
    return f"{say.figures(amount)} {UNITS.get(unit, unit)}"


def _size(change: Mapping[str, Any]) -> float:
    hours = (parse_instant(change["end"]) - parse_instant(change["start"])).total_seconds() / 3600
    return abs(change["to_kw"] - change["from_kw"]) * hours
