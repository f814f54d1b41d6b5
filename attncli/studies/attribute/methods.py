"""The methods of `attribute`: what each needs, and what its values are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attncli.vocabulary import ATTRIBUTION_METHODS

Reads = Literal["gradients", "passes", "attention", "both"]


@dataclass(frozen=True)
class Method:
    """What a method computes with.

    reads   gradients of the score, further passes, attention weights, or weights and gradients
    signed  whether a value can be below 0: the token makes the prediction less probable
    """

    reads: Reads
    signed: bool = False

    @property
    def replaces(self) -> bool:
        """Whether the method reads the vectors of tokens."""
        return self.reads in ("gradients", "passes")


_METHODS = (
    *(Method("gradients", signed=True), Method("gradients", signed=True), Method("gradients")),
    *(Method("passes", signed=True), Method("passes", signed=True)),
    *(Method("attention"), Method("both"), Method("attention"), Method("attention")),
)
METHODS: Mapping[str, Method] = dict(zip(ATTRIBUTION_METHODS, _METHODS, strict=True))
WITH_BASELINE = ("integrated-gradients", "occlusion", "shapley")
"""Methods that replace tokens by a baseline."""
