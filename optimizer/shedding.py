"""What shedding a load costs where the load does not say it: its connection does, or one above."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from energy.domain.errors import Fault
from optimizer.assets import Asset
from optimizer.assets.load import Load
from optimizer.documents import Connection

TERMS = ("shed_limit_fraction", "shed_price_per_mwh")


def with_terms(asset: Asset, connections: Mapping[str, Connection]) -> Asset:
    """`asset`; a load with both terms of its shedding filled in.

    Each term is the load's own, else that of the nearest connection above it that states one; without
    any, nothing is shed.
    """
    if not isinstance(asset, Load):
        return asset
    fraction, price = (_inherited(asset, name, connections) for name in TERMS)
    return asset.model_copy(update={TERMS[0]: fraction or 0.0, TERMS[1]: price})


def shedding_faults(
    assets: Sequence[Asset | None], connections: Sequence[Connection | None]
) -> Iterator[Fault]:
    """Loads of which a part may be shed at no stated price."""
    known = {connection.id: connection for connection in connections if connection is not None}
    for number, asset in enumerate(assets):
        if not isinstance(asset, Load) or asset.connection not in known:
            continue
        fraction, price = (_inherited(asset, name, known) for name in TERMS)
        if fraction and price is None:
            whose = "" if asset.shed_limit_fraction is not None else " at its connection"
            yield Fault(
                f"assets[{number}].shed_price_per_mwh",
                f"is missing, but shed_limit_fraction is {fraction:g}{whose}; "
                "say what shedding costs, here or at the connection",
            )


def _inherited(load: Load, name: str, connections: Mapping[str, Connection]) -> Any:
    value, seen = getattr(load, name), set[str]()
    key: str | None = load.connection
    # a circle of parents is refused elsewhere
    while value is None and key is not None and key in connections and key not in seen:
        seen.add(key)
        value, key = getattr(connections[key], name), connections[key].parent
    return value
