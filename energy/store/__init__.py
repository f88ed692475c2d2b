"""The store: the only SQL of the house."""

from energy.store.store import Store

__all__ = ["Store"]
