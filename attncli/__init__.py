"""Show and measure the attention of every head of a Hugging Face model.

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

# no import of typing or of our own modules: until this file has been read, nothing handles Ctrl-C
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from attncli import integrations as integrations
    from attncli import keras as keras
    from attncli import nn as nn
    from attncli.api.checkpoints import checkpoints
    from attncli.api.corpora import corpus
    from attncli.api.model import Model, capture, load
    from attncli.api.run import Run
    from attncli.api.run import open_saved as open
    from attncli.api.watch import Watch, watch
    from attncli.arguments import PictureArguments
    from attncli.data.edits import Edit, block, mean, patch, permute, replace, scale, temperature, uniform, window, zero
    from attncli.data.extras import Edges, Vectors
    from attncli.data.layer_maps import LayerMaps
    from attncli.data.maps import Attention
    from attncli.data.measures import Metric
    from attncli.data.profile import Profile, Received
    from attncli.data.results import Scores, Statistics
    from attncli.data.run_info import RunInfo
    from attncli.data.tokens import KINDS, Input, Text, Tokens
    from attncli.engine.request import RunOptions, ZoomOptions
    from attncli.errors import AttnError, CheckError, ModelError, OutputError, UsageError
    from attncli.models.pruned import load_pruned
    from attncli.studies.attribute.result import Attribution
    from attncli.studies.compare.compute import compare
    from attncli.studies.compare.result import Comparison
    from attncli.studies.faithfulness.result import Faithfulness
    from attncli.studies.find.result import RankedHeads
    from attncli.studies.flow.options import FlowOptions
    from attncli.studies.flow.report import FlowResult
    from attncli.studies.flow.result import Flow
    from attncli.studies.heads.options import HeadsOptions
    from attncli.studies.heads.result import HeadsResult
    from attncli.studies.highlight.page import HighlightPage
    from attncli.studies.highlight.result import Highlight
    from attncli.studies.importance.result import Importance
    from attncli.studies.knockout.result import Knockout
    from attncli.studies.log.compute import log
    from attncli.studies.log.result import Snapshot
    from attncli.studies.log.series import LogSeries
    from attncli.studies.patterns.options import Thresholds
    from attncli.studies.patterns.result import Patterns
    from attncli.studies.prune.result import Pruning
    from attncli.studies.qk_map.result import QueryKeyMap
    from attncli.studies.repeated.result import Repeated
    from attncli.studies.segments.result import Segments
    from attncli.studies.view.result import Page

    __version__: str

__all__ = ["KINDS", "Attention", "Edges", "Input", "LayerMaps", "Metric", "Profile", "Received", "RunInfo", "Scores"]
__all__ += ["Model", "Run", "RunOptions", "Statistics", "Text", "Tokens", "Vectors", "ZoomOptions"]
__all__ += ["AttnError", "CheckError", "ModelError", "OutputError", "UsageError"]
__all__ += [
    "Attribution",
    "Comparison",
    "Faithfulness",
    "Flow",
    "FlowOptions",
    "FlowResult",
    "HeadsOptions",
    "HeadsResult",
    "Highlight",
]
__all__ += ["HighlightPage", "Importance", "Knockout", "LogSeries", "Page", "Patterns", "PictureArguments", "Pruning"]
__all__ += ["QueryKeyMap", "RankedHeads", "Repeated", "Segments", "Snapshot", "Thresholds", "Watch", "__version__"]
__all__ += ["capture", "checkpoints", "compare", "corpus", "load", "load_pruned", "log", "open", "watch"]
__all__ += ["Edit", "block", "mean", "patch", "permute", "replace", "scale", "temperature", "uniform", "window", "zero"]

_HOMES = {
    "attncli.api.checkpoints": ("checkpoints",),
    "attncli.api.corpora": ("corpus",),
    "attncli.api.model": ("Model", "capture", "load"),
    "attncli.api.run": ("Run", "open"),
    "attncli.api.watch": ("Watch", "watch"),
    "attncli.arguments": ("PictureArguments",),
    "attncli.data": (
        *("KINDS", "Attention", "Edges", "Input", "LayerMaps", "Metric", "Profile", "Received", "RunInfo", "Scores"),
        *("Statistics", "Text", "Tokens", "Vectors"),
    ),
    "attncli.data.edits": (
        *("Edit", "block", "mean", "patch", "permute", "replace", "scale", "temperature", "uniform", "window", "zero"),
    ),
    "attncli.engine.request": ("RunOptions", "ZoomOptions"),
    "attncli.errors": ("AttnError", "CheckError", "ModelError", "OutputError", "UsageError"),
    "attncli.models.pruned": ("load_pruned",),
    "attncli.studies.attribute.result": ("Attribution",),
    "attncli.studies.faithfulness.result": ("Faithfulness",),
    "attncli.studies.compare.compute": ("compare",),
    "attncli.studies.compare.result": ("Comparison",),
    "attncli.studies.find.result": ("RankedHeads",),
    "attncli.studies.knockout.result": ("Knockout",),
    "attncli.studies.log.compute": ("log",),
    "attncli.studies.log.result": ("Snapshot",),
    "attncli.studies.log.series": ("LogSeries",),
    "attncli.studies.flow.report": ("FlowResult",),
    "attncli.studies.flow.result": ("Flow",),
    "attncli.studies.flow.options": ("FlowOptions",),
    "attncli.studies.heads.options": ("HeadsOptions",),
    "attncli.studies.heads.result": ("HeadsResult",),
    "attncli.studies.highlight.page": ("HighlightPage",),
    "attncli.studies.highlight.result": ("Highlight",),
    "attncli.studies.importance.result": ("Importance",),
    "attncli.studies.patterns.options": ("Thresholds",),
    "attncli.studies.patterns.result": ("Patterns",),
    "attncli.studies.prune.result": ("Pruning",),
    "attncli.studies.qk_map.result": ("QueryKeyMap",),
    "attncli.studies.repeated.result": ("Repeated",),
    "attncli.studies.segments.result": ("Segments",),
    "attncli.studies.view.result": ("Page",),
}
_TRUE_NAMES = {"open": "open_saved"}
_PACKAGES = ("integrations", "keras", "nn")
"""Packages that users import from: `attncli.nn.InterpretableMultiHeadAttention`."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # most of the time of `import attncli` would go into this module
        return importlib.import_module("importlib.metadata").version("attncli")
    if name in _PACKAGES:
        return importlib.import_module(f"attncli.{name}")
    for home, names in _HOMES.items():
        if name in names:
            if home != "attncli.errors":
                importlib.import_module("attncli.errors").check_docstrings()
            module = importlib.import_module(home)
            globals()[name] = getattr(module, _TRUE_NAMES.get(name, name))
            return globals()[name]
    raise AttributeError(f"module 'attncli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
