"""The same problem gives the same bytes: whatever the order of its parts, the process, the deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import DispatchProblem, dispatch
from optimizer.fallback import fallback
from tests.optimizer.builders import Document
from tests.optimizer.test_fallback import sites

TIMINGS = {"build_seconds", "solve_seconds"}
FOLDER = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLES = [
    path
    for path in sorted(FOLDER.glob("*.json"))
    if "wattshed.dispatch/1" in path.read_text() and "simbench" not in path.read_text()
]


def timeless(answer: Document) -> str:
    return json.dumps({key: value for key, value in answer.items() if key not in TIMINGS})


def permuted(value: Any, random: Any) -> Any:
    """Keys in another order everywhere, assets and connections too."""
    if isinstance(value, list):
        return [permuted(item, random) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: permuted(item, random) for key, item in random.sample(list(value.items()), len(value))}
    for key in {"assets", "connections"} & set(found):
        found[key] = random.sample(found[key], len(found[key]))
    return found


@settings(max_examples=20)
@given(document=sites(), random=st.randoms(use_true_random=False))
def test_no_order_in_the_document_changes_a_byte(document: Document, random: Any) -> None:
    one, other = (DispatchProblem.from_document(d) for d in (document, permuted(document, random)))
    assert one.input_hash == other.input_hash
    assert timeless(dispatch(one).document()) == timeless(dispatch(other).document())
    assert timeless(fallback(one).document()) == timeless(fallback(other).document())


def test_no_seed_of_hashes_and_no_distant_deadline_changes_a_byte() -> None:
    program = (
        "import json, sys\n"
        "from optimizer import Dispatcher, DispatchProblem\n"
        "limit = float(sys.argv[1]) if sys.argv[1] else None\n"
        "for path in sys.argv[2:]:\n"
        "    problem = DispatchProblem.from_document(json.load(open(path)))\n"
        "    print(json.dumps(Dispatcher(problem).solve(deadline_seconds=limit).document()))\n"
    )
    answers = set()
    for seed, limit in (("0", ""), ("4711", "500")):
        result = subprocess.run(
            [sys.executable, "-c", program, limit, *map(str, EXAMPLES)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.add(tuple(timeless(json.loads(line)) for line in result.stdout.splitlines()))
    assert len(answers) == 1
    assert len(answers.pop()) == len(EXAMPLES) > 3
