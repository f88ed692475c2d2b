"""What is out of an asset's own reach, as its messages name it: when, over which window, by how much."""

from __future__ import annotations

from datetime import datetime, timedelta

from energy.domain.time import TimeGrid, format_instant

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
