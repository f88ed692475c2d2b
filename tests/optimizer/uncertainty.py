"""What scenarios must come to: each a schedule of its own, with common controls; from documents alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.optimizer.builders import Document, check_answer

NEAR = 1e-5


def of_scenario(document: Document, name: str) -> Document:
    """The problem as one scenario has it, written out."""
    (found,) = [each for each in document["scenarios"] if each["id"] == name]
    plain = {key: value for key, value in document.items() if key not in {"scenarios", "first_stage"}}
    plain["connections"] = [dict(item) for item in document["connections"]]
    plain["assets"] = [dict(item) for item in document["assets"]]
    for path, values in found["series"].items():
        kind, item, field = path.split(".")
        next(each for each in plain[kind] if each["id"] == item)[field] = values
    return plain


def check_scenarios(document: Document, answer: Document) -> None:
    """Each scenario is a schedule of its own, controls are common, and the objective is expected."""
    breached = answer.get("breach", {})
    steps = answer["first_stage_steps"]
    for name, found in answer["scenarios"].items():
        plain = of_scenario(document, name)
        for connection in plain["connections"]:
            if name in breached.get(connection["id"], {}).get("scenarios", ()):
                connection.pop("import_limit_kw", None)
                connection.pop("export_limit_kw", None)
        check_answer(plain, found)
        for asset in document["assets"]:
            if asset["type"] in {"battery", "ev"}:
                common = answer["assets"][asset["id"]]["p_kw"][:steps]
                assert found["assets"][asset["id"]]["p_kw"][:steps] == pytest.approx(common, abs=NEAR)
    for part, value in answer["objective"].items():
        expected = sum(s["probability"] * s["objective"][part] for s in answer["scenarios"].values())
        assert value == pytest.approx(expected, abs=1e-9)
    reference = answer["scenarios"][answer["reference_scenario"]]
    assert answer["assets"] == reference["assets"]
    for connection, breach in breached.items():
        chances = [answer["scenarios"][name]["probability"] for name in breach["scenarios"]]
        assert breach["planned"] == pytest.approx(sum(chances))
        (allowed,) = [c["breach_probability"] for c in document["connections"] if c["id"] == connection]
        assert breach["planned"] <= allowed + 1e-9


def check(document: Document, answer: Document) -> None:
    """Recompute everything from the two documents alone."""
    if document.get("scenarios"):
        check_scenarios(document, answer)
    else:
        check_answer(document, answer)


def expected(document: Document, answer: Document, figure: Callable[[Document, Document], float]) -> float:
    """A figure of an answer: with scenarios its mean."""
    if not document.get("scenarios"):
        return figure(document, answer)
    return sum(
        found["probability"] * figure(of_scenario(document, name), found)
        for name, found in answer["scenarios"].items()
    )
