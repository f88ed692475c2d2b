"""How many scenarios may exceed a limit, where a chance is to be kept beyond the scenarios themselves.

Scenarios are a sample. Among N of them a plan that breaches with probability p is seen to breach k times or
fewer with the binomial probability B(k; N, p). With a confidence c at most the largest k with
B(k; N, p) ≤ 1 − c may breach: then p is exceeded with confidence c by no plan that was fixed beforehand
(Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404). A plan that is fitted to the scenarios has seen
them: Luedtke and Ahmed 2008, doi:10.1137/070702928, plan with a smaller chance than is declared for that
reason. How far this carries is measured in `tests/benchmarks/bench_breach.py`.
"""

from __future__ import annotations

from math import ceil, log, log1p

import numpy as np
from scipy.special import bdtr, betaincinv


def budget(probability: float, confidence: float | None, count: int) -> float:
    """The share of `count` equally likely scenarios that may breach; without a confidence the probability
    itself. Zero where they are too few to tell."""
    if confidence is None or probability >= 1.0:
        return probability
    kept = np.flatnonzero(bdtr(np.arange(count), count, probability) <= 1.0 - confidence)
    return float(kept[-1]) / count if len(kept) else 0.0


def level(breaches: int, count: int, confidence: float) -> float:
    """The probability that is not exceeded, with that confidence, where so many of so many breach."""
    return 1.0 if breaches >= count else float(betaincinv(breaches + 1, count - breaches, confidence))


def needed(probability: float, confidence: float) -> int:
    """From so many scenarios on, none of which breaches, the probability is kept with that confidence."""
    if probability >= 1.0:
        return 1
    return ceil(log1p(-confidence) / log(1.0 - probability) - 1e-9)
