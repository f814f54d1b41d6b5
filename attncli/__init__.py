"""See and measure what the attention heads of a Hugging Face model look at.

    import attncli
    run = attncli.load("demo:encoder").run("The cat sat on the mat.")
    run.attention("encoder").sel(layer=0, head=1).values
    run.stats().to_frame()
    run.heatmap(layer=0, head=1).savefig("head.png")
    run.view().save("view.html")

Names are loaded when they are first used: `import attncli` costs nothing, `attncli.load` imports torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attncli.data import (
        KINDS,
        Attention,
        Comparison,
        Edges,
        Flow,
        Grouping,
        Highlight,
        Input,
        LayerMaps,
        Likeness,
        Metric,
        Patterns,
        Profile,
        Received,
        Repeated,
        RunInfo,
        Scores,
        Segments,
        Statistics,
        Text,
        Thresholds,
        Tokens,
        Vectors,
    )
    from attncli.errors import AttnError, CheckError, ModelError, OutputError, UsageError
    from attncli.pipeline.comparing import compare
    from attncli.pipeline.flow_result import FlowResult
    from attncli.pipeline.highlights import HighlightPage
    from attncli.pipeline.model import Model, capture, load
    from attncli.pipeline.page import Page
    from attncli.pipeline.request import RunOptions, ZoomOptions
    from attncli.pipeline.run import Run
    from attncli.pipeline.run import open_saved as open
    from attncli.pipeline.tracing import FlowOptions

    __version__: str

__all__ = [
    "KINDS",
    "Attention",
    "AttnError",
    "CheckError",
    "Comparison",
    "Edges",
    "Flow",
    "FlowOptions",
    "FlowResult",
    "Grouping",
    "Highlight",
    "HighlightPage",
    "Input",
    "LayerMaps",
    "Likeness",
    "Metric",
    "Model",
    "ModelError",
    "OutputError",
    "Page",
    "Patterns",
    "Profile",
    "Received",
    "Repeated",
    "Run",
    "RunInfo",
    "RunOptions",
    "Scores",
    "Segments",
    "Statistics",
    "Text",
    "Thresholds",
    "Tokens",
    "UsageError",
    "Vectors",
    "ZoomOptions",
    "__version__",
    "capture",
    "compare",
    "load",
    "open",
]

_HOMES = {
    "attncli.data": (
        *("KINDS", "Attention", "Comparison", "Edges", "Flow", "Grouping", "Highlight", "Input", "LayerMaps"),
        *("Likeness", "Metric", "Patterns", "Profile", "Received", "Repeated", "RunInfo", "Scores", "Segments"),
        *("Statistics", "Text", "Thresholds", "Tokens", "Vectors"),
    ),
    "attncli.errors": ("AttnError", "CheckError", "ModelError", "OutputError", "UsageError"),
    "attncli.pipeline.comparing": ("compare",),
    "attncli.pipeline.flow_result": ("FlowResult",),
    "attncli.pipeline.highlights": ("HighlightPage",),
    "attncli.pipeline.model": ("Model", "capture", "load"),
    "attncli.pipeline.page": ("Page",),
    "attncli.pipeline.request": ("RunOptions", "ZoomOptions"),
    "attncli.pipeline.run": ("Run", "open"),
    "attncli.pipeline.tracing": ("FlowOptions",),
}
_TRUE_NAMES = {"open": "open_saved"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("attncli")
    for home, names in _HOMES.items():
        if name in names:
            module = importlib.import_module(home)
            globals()[name] = getattr(module, _TRUE_NAMES.get(name, name))
            return globals()[name]
    raise AttributeError(f"module 'attncli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
