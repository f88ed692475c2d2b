"""How long work tells where it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share that is done (0 to 1) and what is being done now."""


def silent(_fraction: float, _message: str) -> None:
    """Tell nobody."""
