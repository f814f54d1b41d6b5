"""Options of `attncli flow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import NormOptions, Option
from attncli.vocabulary import FLOW_METHODS


@dataclass(frozen=True)
class FlowOptions(NormOptions):
    """How attention is followed through the layers.

    method       rollout or flow
    focus        tokens at the top: a word, `it#2`, the position of a token, or all
    residual     whether each token keeps a part of itself in each layer
    start_layer  first layer
    threshold    least share of a line that is drawn
    """

    method: Annotated[
        str,
        Option(
            *("Flow", "--method"),
            choices=FLOW_METHODS,
            help="rollout: product of the layers; flow: maximum flow, with weights as capacities (default: rollout)",
        ),
    ] = FLOW_METHODS[0]
    focus: Annotated[
        str | None,
        Option(
            *("Flow", "--focus"),
            metavar="WORD",
            help="token at the top: a word, it#2, the position of a token, or all (default: all)",
        ),
    ] = None
    residual: Annotated[
        bool,
        Option("Flow", "--residual/--no-residual", help="whether each token keeps as much of itself as it receives"),
    ] = True
    start_layer: Annotated[
        int, Option("Flow", "--start-layer", metavar="N", help="first layer that is used (default: 0)")
    ] = 0
    threshold: Annotated[
        float | None,
        Option(
            *("Flow", "--threshold"),
            metavar="W",
            help="least share of a line that is drawn (default: 0.01 from a focus, else 0.05)",
        ),
    ] = None
