"""Needs out of an asset's own reach, in closed form: full power whenever it may charge, and what is missing.

The energy that a store can have at most at the end of a step follows from the step before it. What lies
above that is out of reach however much its connections could carry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from energy.domain.schedule import Conflict
from energy.domain.time import TimeGrid, format_instant

if TYPE_CHECKING:
    from optimizer.assets.battery import Battery
    from optimizer.assets.ev import ElectricVehicle, Stay

REACHED_KWH = 1e-6
"""Energy missing by no more than this is in reach."""
DAY = timedelta(days=1)


def when(instant: datetime, time: TimeGrid) -> str:
    """An instant as a sentence names it: the time of day, with its date where the horizon is longer."""
    text = format_instant(instant)
    text = text.replace(":00Z", "Z")
    return text.split("T")[1] if time.end - time.start <= DAY else text.replace("T", " ")


def window(start: datetime, end: datetime, time: TimeGrid) -> tuple[datetime, datetime]:
    """What of it is in the horizon; an instant counts as the step that contains it."""
    start, end = max(start, time.start), min(end, time.end)
    if start < end:
        return start, end
    step = time.step_at(start)
    return time.instant(step), time.instant(step + 1)


def kwh(need: float, most: float) -> tuple[str, str]:
    """Two energies in words, with as many decimals as it takes to tell them apart."""
    decimals = next((d for d in range(1, 6) if round(need, d) != round(most, d)), 6)
    return f"{need:.{decimals}f} kWh", f"{most:.{decimals}f} kWh"


def battery_out_of_reach(battery: Battery, time: TimeGrid) -> Iterator[Conflict]:
    """Least energies of a battery above what full charging gives."""
    gain = battery.charge_efficiency * battery.charge_max_kw * time.hours
    retained, energy, missing, last = battery.retained(time.hours), battery.e_start_kwh, 0.0, 0
    end_min = battery.e_end_min_kwh or 0.0
    for step in range(time.steps):
        energy = min(battery.e_max_kwh, energy * retained + gain)
        if step < time.steps - 1 or end_min <= battery.e_min_kwh:
            short = battery.e_min_kwh - energy
            missing, last = max(missing, short), step if short > REACHED_KWH else last
    hours = time.steps * time.hours
    by_hand = f"{battery.charge_max_kw:g} kW × {hours:g} h"
    if battery.charge_efficiency < 1:
        by_hand += f" × {battery.charge_efficiency:g}"
    at_end = end_min - energy if end_min > battery.e_min_kwh else 0.0
    for limit, need, amount, end in (
        ("e_min_kwh", battery.e_min_kwh, missing, time.instant(last + 1)),
        ("e_end_min_kwh", end_min, at_end, time.end),
    ):
        if amount > REACHED_KWH:
            at = "at the end" if limit == "e_end_min_kwh" else "at all times"
            needs, most = kwh(need, need - amount)
            yield Conflict(
                (battery.id,),
                battery.connection,
                time.start,
                end,
                limit,
                amount,
                "kWh",
                f"asset {battery.id!r}: needs {needs} {at} but can hold at most {most} "
                f"(from {battery.e_start_kwh:g} kWh, {by_hand}). Lower {limit}, start fuller, or raise "
                "charge_max_kw.",
            )


def relaxed_battery(battery: Battery, conflicts: Sequence[Conflict]) -> Battery:
    """The battery with its least energies lowered."""
    lowered = {
        conflict.limit: max(0.0, getattr(battery, conflict.limit) - conflict.relaxation)
        for conflict in conflicts
    }
    return battery.model_copy(update=lowered)


def ev_out_of_reach(ev: ElectricVehicle, time: TimeGrid) -> Iterator[Conflict]:
    """Drives and departure needs beyond what full charging gives; each after those before it were eased."""
    gain, energy = ev.charge_efficiency * time.hours, ev.e_start_kwh
    drives, stays = defaultdict(list), defaultdict(list)
    for step, drive in ev.drives(time):
        drives[step].append(drive)
    for stay in ev.stays(time):
        for step in range(stay.first, stay.last + 1):
            stays[step].append(stay)
    for step in sorted({*drives, *stays}):
        driven = {number: drive.energy_kwh for number, drive in enumerate(drives[step])}
        charged = gain * sum(stay.power_max(step) for stay in stays[step])
        energy = min(ev.e_max_kwh, energy + charged - sum(driven.values()))
        missing = ev.e_min_kwh - energy
        for number in sorted(driven, reverse=True):
            if missing > REACHED_KWH and driven[number] > 0:
                short = min(missing, driven[number])
                drive = drives[step][number]
                needs, most = kwh(drive.energy_kwh, drive.energy_kwh - short)
                yield Conflict(
                    (ev.id,),
                    ev.connection,
                    *window(drive.departure, drive.arrival, time),
                    "energy_kwh",
                    short,
                    "kWh",
                    f"asset {ev.id!r}: the drive from {when(drive.departure, time)} to "
                    f"{when(drive.arrival, time)} needs {needs} but has at most {most}. Shorten the drive, "
                    "charge on the way, or allow a shortfall.",
                )
                driven[number] -= short
                missing -= short
        energy = max(energy, ev.e_min_kwh)
        for stay in stays[step]:
            if stay.last != step:
                continue
            later = sum(
                driven[number]
                for number, drive in enumerate(drives[step])
                if drive.departure >= stay.session.departure
            )
            short = stay.need_kwh - later - energy
            if short > REACHED_KWH:
                yield _departure(ev, stay, short, time)
                energy = min(ev.e_max_kwh, energy + short)


def _departure(ev: ElectricVehicle, stay: Stay, short_kwh: float, time: TimeGrid) -> Conflict:
    """A departure need, and the charging power that would meet it; raised power counts after the horizon
    too, where a session goes on beyond it."""
    session = stay.session
    stays_hours = (time.position(session.departure) - stay.begin) * time.hours
    take = ev.charge_efficiency * session.charge_max_kw * stays_hours
    needs, most = kwh(take + short_kwh, take)
    by_hand = f"{session.charge_max_kw:g} kW × {stays_hours:.4g} h"
    if ev.charge_efficiency < 1:
        by_hand += f" × {ev.charge_efficiency:g}"
    return Conflict(
        (ev.id,),
        ev.connection,
        *window(session.arrival, session.departure, time),
        "charge_max_kw",
        short_kwh / (ev.charge_efficiency * stays_hours),
        "kW",
        f"asset {ev.id!r}: needs {needs} by {when(session.departure, time)} but can take at most {most} "
        f"({by_hand}). Move the departure, lower the target, or allow a shortfall.",
    )


def relaxed_ev(ev: ElectricVehicle, conflicts: Sequence[Conflict], time: TimeGrid) -> ElectricVehicle:
    """The EV with stronger chargers and shorter drives."""
    left: dict[tuple[object, ...], float] = defaultdict(float)
    for one in conflicts:
        left[one.limit, one.start, one.end] += one.relaxation
    sessions, trips = list(ev.sessions), list(ev.trips)
    for number, session in enumerate(ev.sessions):
        if time.start < session.departure and session.arrival < time.end:
            more = left["charge_max_kw", *window(session.arrival, session.departure, time)]
            sessions[number] = session.model_copy(update={"charge_max_kw": session.charge_max_kw + more})
    for number, trip in enumerate(ev.trips):
        if time.start <= trip.arrival < time.end:
            named = ("energy_kwh", *window(trip.departure, trip.arrival, time))
            less = min(left[named], trip.energy_kwh)
            left[named] -= less
            trips[number] = trip.model_copy(update={"energy_kwh": trip.energy_kwh - less})
    return ev.model_copy(update={"sessions": tuple(sessions), "trips": tuple(trips)})
