"""No asset type without a golden program, a case by hand, an executed example, a line in the documentation,
a second formulation and a property test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from energy.service.schemas import json_schema
from optimizer.assets import ASSET_TYPES
from tests.optimizer.builders import Document
from tests.optimizer.milp import ASSETS
from tests.optimizer.test_golden import PROBLEMS

ROOT = Path(__file__).parents[2]


def types_in(documents: Iterable[Document]) -> set[str]:
    return {asset["type"] for document in documents for asset in document.get("assets", ())}


def read(paths: Iterable[Path]) -> list[Document]:
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [document for document in documents if document.get("schema") == "wattshed.dispatch/1"]


def has_properties(kind: str) -> bool:
    """Whether a test file draws problems with `hypothesis` and builds assets of the type by name."""
    builder = "ev(" if kind == "ev" else f"{kind}("
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    return any("@given" in source and builder in source for source in sources)


@pytest.mark.parametrize("kind", sorted(ASSET_TYPES))
def test_nothing_of_it_is_missing(kind: str) -> None:
    documentation = (ROOT / "docs" / "dispatch.md").read_text(encoding="utf-8")
    there = {
        "a golden program": kind in types_in(PROBLEMS.values()),
        "a case in tests/cases": kind in types_in(read((ROOT / "tests" / "cases").glob("*/problem.json"))),
        "an example in docs/examples": kind in types_in(read((ROOT / "docs" / "examples").glob("*.json"))),
        "a line in docs/dispatch.md": f"| `{kind}` |" in documentation,
        "a formulation in tests/optimizer/milp": kind in ASSETS,
        "a property test": has_properties(kind),
    }
    assert [what for what, present in there.items() if not present] == []


def fields(node: Any) -> set[str]:
    """Every property that a JSON schema names, however deep."""
    if isinstance(node, list):
        return {name for item in node for name in fields(item)}
    if not isinstance(node, dict):
        return set()
    own = node.get("properties")
    found = set(own) if isinstance(own, dict) else set()
    return found.union(*(fields(value) for value in node.values()))


@pytest.mark.parametrize("name", ["dispatch", "schedule"])
def test_every_field_of_the_schemas_is_documented(name: str) -> None:
    documentation = (ROOT / "docs" / "dispatch.md").read_text(encoding="utf-8")
    inline = re.findall(r"`[^`]+`", re.sub(r"```.*?```", "", documentation, flags=re.DOTALL))
    words = set(re.findall(r"\w+", " ".join(inline)))
    assert sorted(fields(json_schema(name)) - words) == []
