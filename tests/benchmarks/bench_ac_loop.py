"""The AC loop on SimBench LV grids, a day of high PV with 40 EVs, against an AC OPF by IPOPT."""

from __future__ import annotations

from time import process_time

from energy.service.dispatch import dispatch_document
from tests.acopf import best_known, lv_day

GRIDS = (("1-LV-rural1--2-sw", 1.3), ("1-LV-urban6--2-sw", 3.0))
STEPS = 96
"""Quarter-hours of a day from noon."""
LIMIT = {"vm_pu": 1e-4, "loading_percent": 0.1}
"""A violation below this is none."""


def run() -> list[tuple[str, float, str]]:
    """The time of IPOPT over that of the loop; gap of the cost, rounds and violations in the remark."""
    found = []
    for code, pv in GRIDS:
        document = lv_day(code, pv=pv, steps=STEPS)
        began = process_time()
        schedule = dispatch_document(document)
        ours = process_time() - began
        began = process_time()
        best = best_known(document, schedule)
        theirs = process_time() - began
        ac = schedule["ac"]
        gap = (schedule["objective"]["total"] - best) / abs(best)
        beyond = sum(
            abs(violation["value"] - violation["limit"]) > LIMIT[violation["quantity"]]
            for violation in ac["violations"]
        )
        remark = (
            f"{ours:.1f} s against {theirs:.1f} s; cost {gap:+.2%} of the best known, goal at most 0.5 %; "
            f"{ac['rounds']} rounds, at most 5 wanted; {beyond} violations"
        )
        found.append((f"IPOPT against the AC loop on {code}", theirs / ours, remark))
    return found
