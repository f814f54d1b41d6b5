"""One look whatever a user's own matplotlib settings are, so that the same run gives the same picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

_Args = ParamSpec("_Args")
_OURS = {
    "svg.hashsalt": "attncli",
    "svg.fonttype": "path",
    "image.composite_image": False,
    "hatch.linewidth": 0.6,
}


def fixed_style() -> AbstractContextManager[None]:
    """Matplotlib's defaults with few settings of ours, until the block ends; nothing is changed on import."""
    settings: Any = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    return matplotlib.rc_context(settings | _OURS)


def own_style(draw: Callable[_Args, Figure]) -> Callable[_Args, Figure]:
    """Make a `draw` function work under `fixed_style`."""

    @wraps(draw)
    def drawn(*args: _Args.args, **kwargs: _Args.kwargs) -> Figure:
        with fixed_style():
            return draw(*args, **kwargs)

    return drawn
