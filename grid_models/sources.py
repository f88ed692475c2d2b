"""Grid sources: what stands behind ``simbench:CODE``, ``pandapower:NAME`` and a path, as a checked `Grid`.

A new source is one function registered with `grid_source` (a scheme) or `grid_file` (a file suffix).
"""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from grid_models.diagnosis import diagnose


@dataclass(frozen=True)
class Grid:
    """A grid that passed every check.

    Attributes:
        source: how it was asked for.
        net: the pandapower net; belongs to this object, nobody changes it.
        profiles: SimBench's profile tables (relative, local stamps), None where the source has none.
        notices: what was done to read it.
    """

    source: str
    net: Any = field(repr=False)
    profiles: dict[str, Any] | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()


Loader = Callable[[str], tuple[Any, dict[str, Any] | None, list[str]]]
"""From what stands behind the scheme (or the path) to net, profiles and notices."""

SCHEMES: dict[str, Loader] = {}
SUFFIXES: dict[str, Loader] = {}


def grid_source(scheme: str) -> Callable[[Loader], Loader]:
    """Register a loader for ``scheme:…``."""

    def register(loader: Loader) -> Loader:
        SCHEMES[scheme] = loader
        return loader

    return register


def grid_file(suffix: str) -> Callable[[Loader], Loader]:
    """Register a loader for files that end in `suffix`."""

    def register(loader: Loader) -> Loader:
        SUFFIXES[suffix] = loader
        return loader

    return register


def load_grid(source: str) -> Grid:
    """The grid behind `source`, checked. Those behind a scheme never change: the last few are kept.

    Raises:
        InputError: the source is unknown or unreadable, or the grid cannot be used: every fault named.
    """
    scheme, colon, rest = source.partition(":")
    if colon and scheme in SCHEMES:
        return _named(source, SCHEMES[scheme], rest)
    path = Path(source)
    if path.suffix.lower() not in SUFFIXES:
        known = [f"{scheme}:…" for scheme in SCHEMES] + [f"*{suffix}" for suffix in SUFFIXES]
        raise InputError(
            Fault(f"grid {source!r}", f"is not a grid source; known here: {', '.join(sorted(known))}")
        )
    if not path.is_file():
        raise InputError(Fault(f"grid {source!r}", "does not exist; give the path of a grid file"))
    return _loaded(source, SUFFIXES[path.suffix.lower()], source)


def _loaded(source: str, loader: Loader, argument: str) -> Grid:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside pandapower's own loaders
        net, profiles, notices = loader(argument)
    faults = diagnose(net)
    if faults:
        raise InputError(faults, title=f"grid {source!r} cannot be used")
    return Grid(source, net, profiles, tuple(notices))


# reading a SimBench net takes seconds; with its profiles it holds 20 to 40 MB
_named = lru_cache(maxsize=4)(_loaded)


@grid_source("simbench")
def _simbench(code: str) -> tuple[Any, dict[str, Any] | None, list[str]]:
    import simbench

    known = simbench.collect_all_simbench_codes()
    if code not in known:
        raise InputError(Fault(f"grid 'simbench:{code}'", f"is not a SimBench code; {_close(code, known)}"))
    net = simbench.get_simbench_net(code)
    return net, dict(net.profiles), []


@grid_source("pandapower")
def _pandapower(call: str) -> tuple[Any, dict[str, Any] | None, list[str]]:
    import pandapower.networks as networks

    name, _, query = call.partition("?")
    path = f"grid 'pandapower:{call}'"
    known = {
        key: function
        for key, function in inspect.getmembers(networks, inspect.isfunction)
        if function.__module__.startswith("pandapower.networks")
    }
    if name not in known:
        raise InputError(Fault(path, f"{name!r} is not a network of pandapower; {_close(name, known)}"))
    function = known[name]
    parameters = inspect.signature(function).parameters
    arguments: dict[str, Any] = {}
    faults = []
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in parameters:
            faults.append(Fault(path, f"{name} takes no {key!r}; {nearest(key, parameters)}"))
            continue
        arguments[key] = _literal(text)
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in arguments
    ]
    faults += [
        Fault(path, f"{name} needs {key!r}; add {'?' if not query else '&'}{key}=…") for key in missing
    ]
    if faults:
        raise InputError(faults)
    try:
        net = function(**arguments)
    except (ValueError, TypeError, KeyError, UserWarning, NotImplementedError) as error:
        raise InputError(Fault(path, f"pandapower refuses the arguments {arguments}: {error}")) from None
    if isinstance(net, tuple):
        net = net[0]
    if not _is_net(net):
        raise InputError(Fault(path, f"{name} builds no single network"))
    return net, None, []


@grid_file(".json")
def _pandapower_json(path: str) -> tuple[Any, dict[str, Any] | None, list[str]]:
    import pandapower as pp

    text = _text(path)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            Fault(
                path, f"is not JSON at line {error.lineno}, column {error.colno}: {error.msg}; is it whole?"
            )
        ) from None
    if not (isinstance(document, dict) and document.get("_class") == "pandapowerNet"):
        raise InputError(
            Fault(path, "is JSON but no pandapower network; write one with pandapower.to_json(net, file)")
        )
    try:
        net = pp.from_json_string(text)
    except Exception as error:  # noqa: BLE001 - the reader raises whatever the content happens to break
        raise InputError(Fault(path, f"pandapower cannot read it: {error}")) from None
    if not _is_net(net):
        raise InputError(Fault(path, "holds no pandapower network"))
    return net, None, []


@grid_file(".m")
def _matpower(path: str) -> tuple[Any, dict[str, Any] | None, list[str]]:
    from grid_models.matpower import read_matpower

    net, notices = read_matpower(path, _text(path))
    return net, None, notices


def _text(path: str) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(Fault(path, f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError as error:
        raise InputError(Fault(path, f"is not UTF-8 at byte {error.start}; it is not a grid file")) from None
    if not text.strip():
        raise InputError(Fault(path, "is empty; a grid is needed"))
    return text


def _is_net(net: Any) -> bool:
    from pandapower.auxiliary import pandapowerNet

    return isinstance(net, pandapowerNet)


def _literal(text: str) -> Any:
    """``true``, ``5`` and ``1.5`` as what they are, anything else as text."""
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except json.JSONDecodeError:
        return text


def _close(name: str, known: Any) -> str:
    hint = nearest(name, known)
    return hint if len(hint) < 100 else f"none of the {len(list(known))} known ones is like it"


logging.getLogger("pandapower").setLevel(logging.ERROR)
logging.getLogger("simbench").setLevel(logging.ERROR)
