"""What a model will be captured by: its attention calls, each with kind, layer and route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attncli.capturing.bands import Layout
from attncli.capturing.intercept import Key
from attncli.capturing.projection import Projection
from attncli.data import KINDS, Kind

Route = Literal["stream", "eager"]
Function = Literal["dispatch", "sdpa", "softmax", "output"]
Part = Literal["all", "first", "rest", "main"]


@dataclass(frozen=True)
class Site:
    """One attention call that a model makes in every pass.

    how       stream: our block function takes its place; eager: the model's own runs and its weights are taken
    function  where the call is met: dispatched by Transformers, torch's attention or softmax called by the model
              itself, or only in the model's outputs
    part      what of the weights is this kind's: the first or the other keys, for rows over the tokens of two stacks
              at once; the main stream's rows, where others follow them
    dim       numbers in a query vector, None where the call shows none
    layout    how weights that are no matrix of query x key are kept
    projects  where what the heads gathered goes next, if just that is multiplied with W_O
    """

    kind: Kind
    layer: int
    heads: int
    kv_heads: int | None
    name: str
    key: Key
    how: Route
    function: Function = "dispatch"
    part: Part = "all"
    layout: Layout | None = None
    dim: int | None = None
    projects: Projection | None = None

    @property
    def no_norms(self) -> str:
        """Why the norms of weighted values are not to be had, "" where they are."""
        if self.how != "stream":
            return "its weights are taken from the model itself, which shows no values beside them"
        if self.projects is None:
            return "no output projection is given just what its heads put out: it is gated or changed on the way"
        return ""


@dataclass(frozen=True)
class CapturePlan:
    """What will be caught, by which route and why; and which attention is refused, with the reason.

    caller  index into the ways to run the model from text
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
