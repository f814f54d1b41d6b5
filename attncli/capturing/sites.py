"""The plan of a capture: the attention calls that a model makes, each with its kind, layer and route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attncli.capturing.intercept import CallKey
from attncli.capturing.projection import Projection
from attncli.capturing.weights import Layout
from attncli.data import KINDS, Kind

Route = Literal["stream", "eager"]
Function = Literal["dispatch", "sdpa", "softmax", "output"]
Part = Literal["all", "first", "rest", "main"]


@dataclass(frozen=True)
class Site:
    """One attention call that a model makes in every forward pass.

    name        qualified name of the module that makes the call
    route       stream: attncli computes the call in blocks of rows; eager: the model computes it and attncli reads the
                weights
    function    where the call is captured: dispatch (the attention interface of Transformers), sdpa or softmax (torch
                functions that the model calls itself), output (only the outputs of the model hold the weights)
    part        which weights of the call belong to this kind: all; the first or the rest of the keys, where one softmax
                covers the tokens of two stacks; the main rows, where rows of other streams follow
    layout      how weights are stored that are not a matrix of query x key
    dim         size of a query vector; None if the call shows none
    projection  module that multiplies exactly the output of the heads by W_O; None if there is none
    """

    kind: Kind
    layer: int
    heads: int
    kv_heads: int | None
    name: str
    key: CallKey
    route: Route
    function: Function = "dispatch"
    part: Part = "all"
    layout: Layout | None = None
    dim: int | None = None
    projection: Projection | None = None

    @property
    def label(self) -> str:
        """How errors name the site."""
        return f"{self.kind} layer {self.layer} ({self.name})"

    @property
    def no_norms(self) -> str:
        """Why the site has no value-weighted norms; "" if it has them."""
        if self.route != "stream":
            return "the model computes its weights itself and shows no values with them"
        if self.projection is None:
            return "no output projection reads the plain output of its heads, which is gated or changed first"
        return ""


@dataclass(frozen=True)
class CapturePlan:
    """How the attention of a model is captured.

    reason   why this route was chosen
    caller   index into `Loaded.callers`, the ways to run the model on text
    refused  layers that cannot be captured: (name, reason)
    """

    route: Route
    reason: str
    caller: int
    sites: tuple[Site, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of attention that the model has."""
        return tuple(kind for kind in KINDS if any(site.kind == kind for site in self.sites))
