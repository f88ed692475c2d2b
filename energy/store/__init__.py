"""The store: the only SQL of the house."""

from energy.store.reports import ReportShelf
from energy.store.store import Store

__all__ = ["ReportShelf", "Store"]
