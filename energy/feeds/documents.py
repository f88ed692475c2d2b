"""JSON documents and whole output files: strict in, stable and all-or-nothing out."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from energy.domain.errors import Fault, InputError


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON; every number must be finite")


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} does not fit a 64-bit float")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} occurs twice in one object")
        result[key] = value
    return result


def parse_json(text: str, name: str) -> Any:
    """`text` as JSON; `InputError` for what JSON does not allow (NaN, repeated keys, truncation)."""
    if not text.strip():
        raise InputError(Fault(name, "is empty; a JSON document is needed"))
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_unique_keys,
        )
    except json.JSONDecodeError as error:
        truncated = error.pos >= len(text.rstrip()) - 1
        hint = "; the file looks truncated" if truncated else ""
        raise InputError(
            Fault(name, f"is not JSON at line {error.lineno}, column {error.colno}: {error.msg}{hint}")
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(Fault(name, str(error))) from None


def read_json(source: str) -> Any:
    """The JSON document in the file `source`, or on standard input where `source` is ``-``."""
    return parse_json(read_text(source), _named(source))


def read_text(source: str) -> str:
    """The text of the file `source`, or of standard input where it is ``-``; `InputError` unless UTF-8."""
    read = sys.stdin.buffer.read if source == "-" else Path(source).read_bytes
    return _text(lambda: read().decode("utf-8-sig"), _named(source))


def file_text(path: Path, name: str) -> str:
    """The text of a file, its lines ended by a newline alone; `InputError` that calls it `name` where it
    cannot be read or is not UTF-8."""
    return _text(lambda: path.read_text(encoding="utf-8-sig"), name)


def _text(read: Callable[[], str], name: str) -> str:
    try:
        return read()
    except OSError as error:
        raise InputError(Fault(name, f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError as error:
        raise InputError(Fault(name, f"is not UTF-8 at byte {error.start}; save it as UTF-8")) from None


def _named(source: str) -> str:
    return "standard input" if source == "-" else source


def json_bytes(document: Any) -> bytes:
    """Stable JSON: sorted keys, UTF-8, shortest float form, a newline at the end."""
    return (_indented(document, "\n") + "\n").encode()


_PLAIN = frozenset((float, int, bool, str, type(None)))


def _indented(value: Any, line: str) -> str:
    """What `json.dumps` gives with ``indent=1``, ten times as fast for long series.

    The standard encoder is slow as soon as it indents; here it writes a whole series at a time. `line` is
    the line break with the indentation of `value`.
    """
    deeper = line + " "
    if isinstance(value, dict) and value:
        items = (
            f"{_encoded(key if isinstance(key, str) else json.dumps(key))}: {_indented(item, deeper)}"
            for key, item in sorted(value.items())
        )
        return f"{{{deeper}{f',{deeper}'.join(items)}{line}}}"
    if isinstance(value, list | tuple) and value:
        if _PLAIN.issuperset(map(type, value)):
            return f"[{deeper}{_encoded(value, f',{deeper}')[1:-1]}{line}]"
        return f"[{deeper}{f',{deeper}'.join(_indented(item, deeper) for item in value)}{line}]"
    return _encoded(value)


def _encoded(value: Any, separator: str = ", ") -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(separator, ": "))


@contextmanager
def replacing(path: Path, *, new: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the new one, never half of one; a killed process leaves the old. With
    `new` there must be none yet: `FileExistsError` where another process was first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        if new:
            path.hardlink_to(temporary)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(document: Any, target: str | None) -> None:
    """Write `document` to the file `target`, or to standard output where it is None or ``-``."""
    write_bytes(json_bytes(document), target)


def write_bytes(data: bytes, target: str | None) -> None:
    """Write a whole file, or to standard output where `target` is None or ``-``."""
    if target in (None, "-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with replacing(Path(target)) as temporary:
        temporary.write_bytes(data)
