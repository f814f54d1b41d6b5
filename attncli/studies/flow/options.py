"""Options of `attncli flow`."""

from dataclasses import dataclass

from attncli.options import NormOptions, option
from attncli.vocabulary import FLOW_METHODS, ROWS_AS, TOKEN_NAMES


@dataclass(frozen=True)
class FlowOptions(NormOptions):
    """Options of a flow: how attention is combined from layer to layer.

    method       rollout or flow
    focus        tokens of the last layer: a word, `it#2`, a position, a range, a segment or all
    residual     whether each layer adds the residual connection, with the same weight as attention
    start_layer  first layer that is used
    threshold    smallest share that is drawn as a line
    rows_as      input: the focus begins at its own tokens; predicted: at the tokens before them, which predict them
    """

    method: str = option(
        "Flow",
        "rollout: product of the layers; flow: maximum flow, with weights as capacities (default: rollout)",
        choices=FLOW_METHODS,
        default=FLOW_METHODS[0],
    )
    focus: str | None = option("Flow", f"tokens at the top: {TOKEN_NAMES} (default: all)", metavar="TOKENS")
    residual: bool = option(
        "Flow", "add the residual, with the same weight as attention", "--residual/--no-residual", default=True
    )
    start_layer: int = option("Flow", "first layer that is used", metavar="N", default=0)
    threshold: float | None = option(
        "Flow", "smallest share that is drawn as a line (default: 0.01 from a focus, else 0.05)", metavar="W"
    )
    rows_as: str = option(
        "Flow",
        "input: a token at the top is the one that the model reads there; predicted: the one that a decoder predicts "
        "there (attncli explain rows-as)",
        choices=ROWS_AS,
        default=ROWS_AS[0],
    )
