"""Options of `attncli attribute`."""

from dataclasses import dataclass
from typing import Literal

from attncli.explain_options import ExplainPartsOptions
from attncli.options import option
from attncli.vocabulary import ATTRIBUTION_METHODS, BASELINES, INTEGRATION_STEPS, SCORES, SHAPLEY_SAMPLES

AttributionName = Literal[
    "integrated-gradients",
    "input-x-gradient",
    "gradient-norm",
    "occlusion",
    "shapley",
    "attention",
    "attention-x-gradient",
    "rollout",
    "value-norm-rollout",
]
ScoreName = Literal["ln-probability", "logit", "probability"]
BaselineName = Literal["auto", "pad", "mask", "unk", "zero", "mean"]


@dataclass(frozen=True)
class AttributeOptions(ExplainPartsOptions):
    """By which methods tokens are compared, and what stands for a token that is not there."""

    method: str = option(
        "Attribution",
        f"one or several, with commas: {', '.join(ATTRIBUTION_METHODS)} (default: {ATTRIBUTION_METHODS[0]})",
        metavar="NAMES",
        default=ATTRIBUTION_METHODS[0],
    )
    score: str = option(
        "Attribution", "the number of the prediction that is explained", choices=SCORES, default=SCORES[0]
    )
    baseline: str = option(
        "Attribution",
        "what replaces a token: the vector of the padding, mask or unknown token, zeros, or the mean of all vectors "
        "(default: as the model needs)",
        choices=BASELINES,
        default=BASELINES[0],
    )
    steps: int = option("Attribution", "steps of integrated-gradients at first", metavar="N", default=INTEGRATION_STEPS)
    allow_delta: bool = option(
        "Attribution",
        "accept integrated-gradients that miss more than 5 % of the change of the score",
        default=False,
    )
    samples: int = option(
        "Attribution", "random orders of the tokens for shapley", metavar="N", default=SHAPLEY_SAMPLES
    )
    seed: int = option("Attribution", "seed of these orders", metavar="N", default=0)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods without repetition."""
        return tuple(dict.fromkeys(name.strip() for name in self.method.split(",")))
