"""The JSON schemas of all documents, generated from the models that read or describe them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from energy.domain.errors import Fault, InputError
from energy.service.documents import PlanDocument, ScheduleDocument, schema_of
from energy.service.inventory import InventoryDocument
from energy.service.report_documents import FigureExplained, ReportDocument, ReportVersion


def _dispatch() -> type[BaseModel]:
    from optimizer.problem import ProblemDocument

    return ProblemDocument


def _flows() -> type[BaseModel]:
    from energy.carbon.documents import FlowsDocument

    return FlowsDocument


def _trace() -> type[BaseModel]:
    from energy.carbon.documents import TraceDocument

    return TraceDocument


def _tank() -> type[BaseModel]:
    from energy.carbon.documents import TankLedger

    return TankLedger


def _city() -> type[BaseModel]:
    from energy.feeds.city import CityDocument

    return CityDocument


def _series() -> type[BaseModel]:
    from energy.feeds.series_store import ImportDocument

    return ImportDocument


MODELS: Mapping[str, Callable[[], type[BaseModel]]] = {
    "city": _city,
    "dispatch": _dispatch,
    "figure": lambda: FigureExplained,
    "flows": _flows,
    "inventory": lambda: InventoryDocument,
    "plan": lambda: PlanDocument,
    "report": lambda: ReportDocument,
    "report_version": lambda: ReportVersion,
    "schedule": lambda: ScheduleDocument,
    "series": _series,
    "tank": _tank,
    "trace": _trace,
}
"""By name; imported when asked for, since the dispatcher's models bring Pyomo along."""


def json_schema(name: str) -> dict[str, Any]:
    """The JSON schema of a document; `InputError` with the names there are for an unknown one."""
    if name not in MODELS:
        raise InputError(Fault("schema", f"{name!r} is not a document; known here: {', '.join(MODELS)}"))
    return schema_of(MODELS[name]())
