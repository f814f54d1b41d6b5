"""One look for all pictures, whatever a user's matplotlib settings are: the same run gives the same picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

_Args = ParamSpec("_Args")
_SETTINGS = {
    "svg.hashsalt": "attncli",
    "svg.fonttype": "path",
    "image.composite_image": False,
    "hatch.linewidth": 0.6,
}


def fixed_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib has its defaults and a few settings of attncli."""
    settings: Any = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    return matplotlib.rc_context(settings | _SETTINGS)


def with_fixed_style(draw: Callable[_Args, Figure]) -> Callable[_Args, Figure]:
    """Return the `draw` function so that it runs under `fixed_style`."""

    @wraps(draw)
    def styled(*args: _Args.args, **kwargs: _Args.kwargs) -> Figure:
        with fixed_style():
            return draw(*args, **kwargs)

    return styled
