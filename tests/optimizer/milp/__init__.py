"""A second formulation of the dispatch problem, for SciPy's `milp`: documents in, optimum out.

It is written from `docs/dispatch.md` and shares no code with `optimizer`: full of binaries, one row at a
time, slow. One module per asset type, named as the type, holds two functions:

    formulate(f: Formulation, asset: Document) -> None   # its columns, rows, draws and costs
    draw(random: Random, name: str, place: Place) -> Document   # a random asset of the type

A new asset type is a file here; `test_random_problems` fails while a type has none. What holds over all
assets is in `rules`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

ASSETS: dict[str, Any] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}")
    for module in pkgutil.iter_modules(__path__)
    if module.name not in ("formulation", "heat", "program", "random_problem", "rules")
}
"""The module of each asset type."""
