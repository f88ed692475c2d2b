"""Where assets and connections of a problem document stand."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def inherited(document: Document, asset: Document, name: str) -> Any:
    """A term of a load's shedding: its own, else that of the nearest connection above that states one."""
    if asset.get(name) is not None:
        return asset[name]
    above = next(
        c for c in document["connections"] if c["id"] == (asset.get("connection") or asset["parent"])
    )
    return inherited(document, above, name) if above.get("parent") else above.get(name)


def lineage(document: Document, connection: str) -> list[str]:
    """A connection and all above it."""
    parent = next(c.get("parent") for c in document["connections"] if c["id"] == connection)
    return [connection, *(lineage(document, parent) if parent else [])]


def depth(document: Document, connection: str) -> int:
    parents = {c["id"]: c.get("parent") for c in document["connections"]}
    return 0 if parents[connection] is None else 1 + depth(document, parents[connection])
