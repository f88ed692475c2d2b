"""The OpenAPI document: the real schemas of all documents, as `wattshed schema` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from energy.service.schemas import json_schema

DOCUMENTS = (
    "dispatch",
    "schedule",
    "flows",
    "trace",
    "plan",
    "inventory",
    "report",
    "report_version",
    "figure",
)
_COMPONENTS = "#/components/schemas/"

_FAULTS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "detail": {"type": "string"}},
        "required": ["path", "detail"],
    },
}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457, with every fault.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": _FAULTS,
    },
    "required": ["type", "title", "status", "detail", "errors"],
}
_JOB = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "kind": {"enum": ["dispatch", "plan", "report"]},
        "state": {"enum": ["queued", "running", "succeeded", "failed", "cancelled"]},
        "created": {"type": "string", "format": "date-time"},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "message": {"type": "string"},
        "result": {
            "anyOf": [{"$ref": _COMPONENTS + name} for name in ("schedule", "plan", "report_version")]
        },
        "error": {"type": "object", "properties": {"detail": {"type": "string"}, "errors": _FAULTS}},
    },
    "required": ["id", "kind", "state", "created", "progress", "message"],
}
_DISTRICTS = {
    "type": "object",
    "description": "A GeoJSON FeatureCollection (RFC 7946), one feature per district.",
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "features"],
}
_INVENTORY_REQUEST = {
    "type": "object",
    "properties": {"rows": {"type": "array", "items": {"$ref": _COMPONENTS + "inventory.InventoryEntry"}}},
    "required": ["rows"],
    "additionalProperties": False,
}


def body_of(schema: str) -> dict[str, Any]:
    """The request body of a call that takes the document `schema`."""
    reference = {"$ref": _COMPONENTS + schema}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def answer_of(schema: str, description: str, media_type: str = "application/json") -> dict[int | str, Any]:
    """The answer 200 of a call that gives the document `schema`."""
    content = {media_type: {"schema": {"$ref": _COMPONENTS + schema}}}
    return {200: {"description": description, "content": content}}


JOB_RESPONSES: dict[int | str, Any] = {
    **answer_of("job", "The job; finished where it was waited for."),
    202: {
        "description": "Accepted; ask `Location` again after `Retry-After` seconds.",
        "content": {"application/json": {"schema": {"$ref": _COMPONENTS + "job"}}},
    },
}


def install_openapi(app: FastAPI, requests: Mapping[str, type[BaseModel]]) -> None:
    """Serve the OpenAPI document of `app` with the document schemas and problems for every error.

    Args:
        requests: the bodies that calls take besides documents, by the names that `body_of` gives them.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schemas: dict[str, Any] = {
                "problem": _PROBLEM,
                "job": _JOB,
                "inventory_request": _INVENTORY_REQUEST,
                "districts": _DISTRICTS,
                **{name: model.model_json_schema() for name, model in requests.items()},
            }
            for name in DOCUMENTS:
                schema = json_schema(name)
                for part, definition in schema.pop("$defs", {}).items():
                    schemas[f"{name}.{part}"] = _relocated(definition, name)
                schemas[name] = _relocated(schema, name)
            schemas["dispatch_request"] = _with_previous(schemas["dispatch"])
            document["components"] = {"schemas": schemas}
            error = {"schema": {"$ref": _COMPONENTS + "problem"}}
            for path in document["paths"].values():
                for call in path.values():
                    call["responses"].pop("422", None)
                    call["responses"]["default"] = {
                        "description": "Any error, with all faults as field paths.",
                        "content": {"application/problem+json": error},
                    }
            app.openapi_schema = document
        return app.openapi_schema

    # the way that FastAPI documents for extending its schema
    app.openapi = openapi  # type: ignore[method-assign]


def _with_previous(dispatch: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dispatch problem that may carry the schedule it follows on."""
    previous = {
        "anyOf": [{"$ref": _COMPONENTS + "schedule"}, {"type": "null"}],
        "default": None,
        "description": "The schedule that this one follows on; only its status, input_hash, time and assets "
        "are read. See options.now, commit and change_threshold.",
    }
    return {**dispatch, "properties": {**dispatch["properties"], "previous": previous}}


def _relocated(schema: Any, name: str) -> Any:
    """`schema` with its references to ``#/$defs`` pointing at the components of the document."""
    if isinstance(schema, dict):
        return {key: _relocated(value, name) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_relocated(item, name) for item in schema]
    if isinstance(schema, str) and schema.startswith("#/$defs/"):
        return schema.replace("#/$defs/", f"{_COMPONENTS}{name}.")
    return schema
