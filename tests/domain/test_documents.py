import json
from pathlib import Path

import pytest

from energy.domain.documents import (
    Document,
    Duration,
    Identifier,
    Instant,
    Items,
    Series,
    expand,
    parse,
    series_fault,
)
from energy.domain.errors import InputError
from energy.feeds.documents import json_bytes, parse_json, read_json, replacing, write_json


class Meter(Document):
    id: Identifier
    start: Instant
    p_kw: Series


class Feeder(Document):
    meters: Items[Meter] = ()
    resolution: Duration


def faults(document: object) -> list[str]:
    with pytest.raises(InputError) as refused:
        parse(Feeder, document)
    return [str(fault) for fault in refused.value.faults]


def test_every_fault_is_named_at_once_with_its_path() -> None:
    found = faults(
        {
            "resolution": "15min",
            "meters": [{"id": " ", "start": "2016-01-01T00:00", "p_kw": [1, float("nan")], "p_mw": 3}],
        }
    )
    assert found == [
        "meters[0].id: an id must not be empty",
        (
            "meters[0].start: '2016-01-01T00:00' has no time zone; add an offset, as in "
            "2016-01-01T00:00Z or 2016-01-01T00:00+01:00"
        ),
        "meters[0].p_kw: value 1 is nan; a finite number is needed",
        "meters[0].p_mw: unknown key; did you mean 'p_kw'?",
        "resolution: '15min' is not an ISO 8601 duration; write it like PT15M, PT1H or P1D",
    ]


def test_missing_and_mistyped_fields_are_named() -> None:
    assert faults({"meters": 3}) == [
        "meters: 3: input should be a valid tuple",
        "resolution: is missing; add it",
    ]


def test_a_series_is_a_number_or_one_value_per_step() -> None:
    assert expand(2.0, 3).tolist() == [2.0, 2.0, 2.0]
    assert list(series_fault("p_kw", (1.0, 2.0), 2)) == []
    assert [fault.message for fault in series_fault("p_kw", (1.0, 2.0), 3)] == [
        "has 2 values, but time.steps is 3; give 3 values, or one number for a constant"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ('{"a": 1', "is not JSON at line 1"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1e999}', "does not fit a 64-bit float"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_json(text, "problem.json")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    with pytest.raises(InputError, match="is not UTF-8 at byte 1"):
        read_json(str(tmp_path / "latin.json"))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_json(str(tmp_path / "absent.json"))


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    write_json({"b": 1, "a": "ü"}, str(target))
    assert target.read_bytes() == json_bytes({"a": "ü", "b": 1})

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert json.loads(target.read_text(encoding="utf-8")) == {"a": "ü", "b": 1}
    assert list(tmp_path.iterdir()) == [target]
