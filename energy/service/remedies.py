"""What would clear a violation: the least change of power at one bus, from the twin's sensitivities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from energy.domain.network import ElementId, FloatArray, GridState, IntArray, NodalPower, Terminal, Violation

if TYPE_CHECKING:
    from grid_models.twin import Twin

NEGLIGIBLE_MW = 1e-6


def remedies(twin: Twin, state: GridState, power: NodalPower) -> list[str]:
    """One sentence per violation of `state`, which was solved for `power`."""
    if not state.violations:
        return []
    buses: IntArray = np.unique(power.buses[(power.p_mw != 0).any(axis=0)])
    if not len(buses):
        return ["nothing is drawn that could be changed"] * len(state.violations)
    at_bus = (power.buses[:, None] == buses[None, :]).astype(float)
    drawn, injected = np.maximum(power.p_mw, 0.0) @ at_bus, np.maximum(-power.p_mw, 0.0) @ at_bus
    net = NodalPower(state.time, buses, drawn - injected, np.zeros_like(drawn))
    rows = twin.linearise(state, net, [Terminal(bus) for bus in buses.tolist()], steps=state.violated_steps)
    row_of = {
        (step, element, quantity): k
        for k, (step, element, quantity) in enumerate(
            zip(rows.step.tolist(), rows.element, rows.quantity, strict=True)
        )
    }
    found: dict[Violation, str] = {}
    # the twin gives elements that move together one row, that of the worst: its remedy clears them all
    worst: dict[tuple[int, str], tuple[ElementId, str]] = {}
    for violation in sorted(state.violations, key=lambda v: -abs(v.value - v.limit)):
        step = state.time.step_at(violation.time)
        group = (step, violation.quantity)
        row = row_of.get((step, violation.element, violation.quantity))
        if row is not None:
            found[violation] = _sentence(
                violation, rows.coefficients[row], buses, drawn[step], injected[step], rows.lower[row] < 0
            )
            worst.setdefault(group, (violation.element, found[violation]))
        elif group in worst:
            element, remedy = worst[group]
            found[violation] = f"moves with {element.table} {element.index}: {remedy}"
        else:
            found[violation] = "no power drawn here changes it"
    return [found[violation] for violation in state.violations]


def _sentence(
    violation: Violation,
    sensitivity: FloatArray,
    buses: IntArray,
    drawn_mw: FloatArray,
    injected_mw: FloatArray,
    signed: bool,
) -> str:
    """``0.31 MW less at bus 8 would clear it``. `sensitivity` is per MW drawn at each bus."""
    needed = violation.limit - violation.value
    net = drawn_mw - injected_mw
    if signed and sensitivity @ net < 0:
        needed = -needed  # the row holds the loading with the sign of its flow
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(np.abs(sensitivity) > 0, needed / sensitivity, np.inf)
    room = np.where(change < 0, drawn_mw, injected_mw)
    feasible = np.abs(change) <= room
    candidates = feasible if feasible.any() else np.isfinite(change)
    if not candidates.any():
        return "no power drawn here changes it"
    best = int(np.argmin(np.where(candidates, np.abs(change), np.inf)))
    amount, bus = f"{abs(change[best]):.2g} MW", int(buses[best])
    if change[best] < 0:
        return f"{amount} less at bus {bus} would clear it"
    if injected_mw[best] > NEGLIGIBLE_MW:
        return f"{amount} less generation at bus {bus} would clear it"
    return f"{amount} more drawn at bus {bus} would clear it"
