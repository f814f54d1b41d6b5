"""Options of `attncli flow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import NormOptions, Option
from attncli.vocabulary import FLOW_METHODS


@dataclass(frozen=True)
class FlowOptions(NormOptions):
    """Options of a flow: how attention is combined from layer to layer.

    method       rollout or flow
    focus        tokens of the last layer: a word, `it#2` (its second occurrence), the position of a token, or all
    residual     whether each layer adds the residual connection, with the same weight as attention
    start_layer  first layer that is used
    threshold    smallest share that is drawn as a line
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
        bool, Option("Flow", "--residual/--no-residual", help="add the residual, with the same weight as attention")
    ] = True
    start_layer: Annotated[
        int, Option("Flow", "--start-layer", metavar="N", help="first layer that is used (default: 0)")
    ] = 0
    threshold: Annotated[
        float | None,
        Option(
            *("Flow", "--threshold"),
            metavar="W",
            help="smallest share that is drawn as a line (default: 0.01 from a focus, else 0.05)",
        ),
    ] = None
