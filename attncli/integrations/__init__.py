"""Attention during a training, for the tools that train: `attncli.integrations.AttentionCallback`.

Names are loaded when they are first used: Transformers takes long to import.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from attncli.integrations.callback import AttentionCallback

__all__ = ["AttentionCallback"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("attncli.integrations.callback"), name)
    raise AttributeError(f"module 'attncli.integrations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
