"""The asset types: one file each, found by being in this folder.

A type is a subclass of `Asset` whose `type` field names it. Adding one file here adds it to the problem's
schema, the model and the answers. Other files here hold what several types share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import get_args

from optimizer.assets.base import Asset

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")


def _types(kinds: Iterable[type[Asset]]) -> Iterator[type[Asset]]:
    for kind in kinds:
        if "type" in kind.model_fields:
            yield kind
        yield from _types(kind.__subclasses__())


ASSET_TYPES: dict[str, type[Asset]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in _types(Asset.__subclasses__())
}
"""Every asset type by the name in its `type` field."""

__all__ = ["ASSET_TYPES", "Asset"]
