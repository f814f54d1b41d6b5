"""Options of `attncli flow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import NormOptions, Option
from attncli.vocabulary import FLOW_METHODS


@dataclass(frozen=True)
class FlowStudyOptions(NormOptions):
    """How information is followed through the layers."""

    method: Annotated[
        str,
        Option(
            *("Flow", "--method"),
            choices=FLOW_METHODS,
            help="rollout: shares, layer by layer; flow: the maximum flow, attention as pipes (default: rollout)",
        ),
    ] = "rollout"
    focus: Annotated[
        str | None,
        Option(
            *("Flow", "--focus"),
            metavar="WORD",
            help="from this word at the top, it#2, the position of a token, or all (default: all)",
        ),
    ] = None
    residual: Annotated[
        bool,
        Option("Flow", "--residual/--no-residual", help="whether each token keeps as much of itself as it takes"),
    ] = True
    start_layer: Annotated[
        int, Option("Flow", "--start-layer", metavar="N", help="the first layer that is gone through (default: 0)")
    ] = 0
    threshold: Annotated[
        float | None,
        Option(
            *("Flow", "--threshold"),
            metavar="W",
            help="draw no lines of less (default: 0.01 of a focus, else 0.05 of a token)",
        ),
    ] = None
