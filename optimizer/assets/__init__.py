"""The asset types: one file each, found by being in this folder.

A type is a subclass of `Asset` whose `type` field names it. Adding one file here adds it to the problem's
schema, the model and the answers.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import get_args

from optimizer.assets.base import Asset

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

ASSET_TYPES: dict[str, type[Asset]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in Asset.__subclasses__()
}
"""Every asset type by the name in its `type` field."""

__all__ = ["ASSET_TYPES", "Asset"]
