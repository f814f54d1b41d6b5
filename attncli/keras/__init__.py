"""Layers for Keras 3: attention whose weights can be read after every call.

Keras is imported when a layer is first used; `pip install "attncli[keras]"`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.keras.layer import InterpretableMultiHeadAttention

__all__ = ["InterpretableMultiHeadAttention"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'attncli.keras' has no attribute {name!r}")
    try:
        module = importlib.import_module("attncli.keras.layer")
    except (ImportError, ValueError) as error:  # Keras raises a ValueError for a backend that it does not know
        raise UsageError(_reason(error)) from error
    globals()[name] = getattr(module, name)
    return globals()[name]


def _reason(error: ImportError | ValueError) -> str:
    """Return why Keras cannot be imported, and what to do."""
    if isinstance(error, ValueError):
        return f"Keras cannot be imported ({error}): set the environment variable KERAS_BACKEND=torch before the import"
    backend = (error.name or "").partition(".")[0]
    if backend in ("tensorflow", "jax"):
        return (
            f"Keras would run on {backend}, which is not installed: set the environment variable KERAS_BACKEND=torch "
            f"before Keras is imported, or pip install {backend}"
        )
    return f'attncli.keras needs Keras 3 ({error}): pip install "attncli[keras]"'
