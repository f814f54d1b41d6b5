"""Options of rollout and attention flow, checked; and the memory and time that they take, estimated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from attncli.arguments import check_options
from attncli.data import KINDS, Array, Input, Kind, RowsAs, Selection
from attncli.data.focus import ALL
from attncli.data.selection import format_ranges, layers_of
from attncli.engine.memory import check_fits
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.importance_file import is_weights
from attncli.inputs.rows_as import check_rows_as
from attncli.studies.flow.result import FlowMethod
from attncli.vocabulary import FLOW_METHODS

ChosenRows = Mapping[tuple[int, Kind], Array]
"""The positions of the chosen queries, by text and kind."""
LONGEST = 600
"""Most seconds that attention flow may take."""
SECONDS_PER_EDGE = 7e-8
"""About the time of a maximum flow for each edge of its graph."""
FLOAT_BYTES, VARIANTS_KEPT = 8, 3
CAPTURE = 1.2
"""Forward passes of the capture alone."""
CAUSAL_PRODUCTS, FULL_PRODUCTS, MAP_WORK = 0.4, 3.0, 2300
"""Of a rollout, for each layer: products of whole maps, and other operations for each pair of tokens (measured)."""


class FlowArguments(TypedDict, total=False):
    """Keyword arguments of `run.rollout` and `run.flow`; all are optional.

    focus        tokens at the top: a word, `it#2`, a position, a range, `[CLS]`, a segment; all by default
    residual     False: attention alone, without the part that each token keeps of itself
    start_layer  first layer
    aggregate    mean or max over heads, or weights by which they are combined, as in `RunOptions`
    rows_as      input: a token at the top is the one that the model reads there; predicted: the one that it predicts
    """

    focus: str | int | None
    residual: bool
    start_layer: int
    aggregate: Any
    rows_as: RowsAs


@dataclass(frozen=True)
class FlowRequest:
    """The checked options of rollout and attention flow; `aggregate` is mean, max, weighted, or gives weights."""

    method: FlowMethod = "rollout"
    focus: str | None = None
    residual: bool = True
    start_layer: int = 0
    aggregate: Any = "mean"
    rows_as: RowsAs = "input"

    def __post_init__(self) -> None:
        if self.method not in FLOW_METHODS:
            raise UsageError(f"unknown --method '{self.method}': {did_you_mean(self.method, FLOW_METHODS)}")
        if not is_weights(self.aggregate) and self.aggregate not in ("mean", "max", "weighted"):
            raise UsageError(
                f"expected --aggregate to be mean, max or weights:FILE, got '{self.aggregate}': flow goes through one "
                "map a layer"
            )
        check_rows_as(self.rows_as)
        if not isinstance(self.start_layer, int) or self.start_layer < 0:
            raise UsageError(f"expected --start-layer to be a number from 0 up, got {self.start_layer!r}")

    @classmethod
    def of(cls, method: FlowMethod, options: FlowArguments) -> FlowRequest:
        """Return the request for keyword arguments; raise UsageError if one is unknown or impossible."""
        check_options(options, FlowArguments)
        given: Any = dict(options)
        if given.get("focus") is not None:
            given["focus"] = str(given["focus"])
        return cls(method, **given)

    @property
    def name(self) -> str:
        """The focus; empty for all tokens."""
        return "" if self.focus in (None, ALL) else str(self.focus)


def used_layers(heads: Selection, request: FlowRequest, inputs: Sequence[Input], source: str) -> Selection:
    """Return the heads of the layers that are used; raise UsageError if there are none, or a kind is missing.

    source  what has the heads, for error messages
    """
    kinds = {kind for kind, _ in heads}
    reads_source = "cross" in kinds or any(text.target is not None for text in inputs)
    if reads_source and kinds not in ({"encoder"}, set(KINDS)):
        raise UsageError(
            f"the way from target to source needs encoder, decoder and cross attention, {source} has "
            f"{', '.join(kind for kind in KINDS if kind in kinds)}: keep all of them"
        )
    chosen = {key: numbers for key, numbers in heads.items() if key[1] >= request.start_layer}
    for kind in kinds:
        if not layers_of(chosen, kind):
            available = format_ranges(layers_of(heads, kind))
            raise UsageError(f"--start-layer {request.start_layer} leaves no {kind} layer: layers are {available}")
    return chosen


def layer_notes(chosen: Selection, request: FlowRequest) -> list[str]:
    """Return notes about layers that are missing, and about a single layer."""
    notes = []
    several = len({kind for kind, _ in chosen}) > 1
    for kind in KINDS:
        layers, named = layers_of(chosen, kind), f"{kind} " if several else ""
        if not layers or kind == "cross":
            continue
        if gaps := sorted(set(range(layers[0], layers[-1])) - set(layers)):
            notes.append(f"{named}layers {format_ranges(gaps)} are left out: the others follow each other directly")
        if len(layers) == 1:
            notes.append(f"there is a single {named}layer: its {request.method} is the attention of that layer")
    return notes


def check_cost(
    inputs: Sequence[Input], chosen: Selection, request: FlowRequest, rows: ChosenRows, limit: int | None
) -> None:
    """Raise UsageError if the request takes too much memory or time; `limit` is the bytes that may be kept."""
    longest = max(max(len(side) for side in text.sides(kind)) for text in inputs for kind, _ in chosen)
    needed = sum(_bytes(text, chosen, request, rows) for text in inputs)
    check_fits(needed, limit, longest, f"shorten the text with --max-tokens {longest // 2}, or give fewer texts")
    if request.method != "flow":
        return
    seconds = sum(_seconds(text, chosen, rows) for text in inputs)
    if seconds > LONGEST:
        fewer = max(8, int(longest * (LONGEST / seconds) ** 0.25))
        focus = "" if request.name else "--focus WORD for one token, "
        texts = f" ({len(inputs)} texts)" if len(inputs) > 1 else ""
        raise UsageError(
            f"attention flow takes about {_readable(seconds)} for {longest} tokens{texts} and {len(chosen)} layers, "
            f"at most {_readable(LONGEST)} are allowed: choose {focus}--max-tokens {fewer}, a later --start-layer, "
            "or --method rollout"
        )


def rollout_passes(tokens: int, work: float, causal: bool) -> float:
    """Return about how many forward passes the rollout of a text takes on a CPU.

    work  operations of a forward pass for each layer
    The map of a layer and its baselines are multiplied with the shares below. Causal maps are half empty, so that a
    product takes a sixth of the operations, and their uniform baseline needs none.
    """
    products = CAUSAL_PRODUCTS if causal else FULL_PRODUCTS
    return CAPTURE + (2 * products * tokens**3 + MAP_WORK * tokens**2) / work


def _bytes(text: Input, chosen: Selection, request: FlowRequest, rows: ChosenRows) -> int:
    """Return the bytes of the maps that are kept of a text, and of its results."""
    cells = {kind: len(text.sides(kind)[0]) * len(text.sides(kind)[1]) for kind, _ in chosen}
    state = VARIANTS_KEPT * sum(cells.values()) + 4 * max(cells.values())
    if request.method == "flow":
        state += 4 * VARIANTS_KEPT * sum(cells[kind] for kind, _ in chosen)
    results = sum(len(rows.get((text.index, kind), ())) * len(text.sides(kind)[1]) for kind in cells)
    return FLOAT_BYTES * (state + (VARIANTS_KEPT + 1) * results)


def _seconds(text: Input, chosen: Selection, rows: ChosenRows) -> float:
    """Return about how long the maximum flows take; a causal model has half the pairs, a third of the edges."""
    sizes = {kind: tuple(map(len, text.sides(kind))) for kind, _ in chosen}
    total = 0.0
    for kinds in KINDS[:1], KINDS[1:]:  # of the encoder, and of the decoder
        count = max(len(rows.get((text.index, kind), ())) for kind in kinds)
        ends = sum(sizes[kind][1] for kind in kinds if kind in sizes)
        edges = sum(math.prod(sizes[kind]) for kind, _ in chosen if kind == "encoder" or "decoder" in kinds)
        causal = 1 / 6 if "decoder" in kinds and text.target is None else 1.0
        total += SECONDS_PER_EDGE * VARIANTS_KEPT * causal * count * ends * edges
    return total


def _readable(seconds: float) -> str:
    """Return a time in readable units.

    >>> _readable(600), _readable(9000), _readable(400_000)
    ('10 minutes', '2.5 hours', '4.6 days')
    """
    for length, name in ((86_400, "days"), (3600, "hours")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {name}"
    return f"{seconds / 60:.0f} minutes"
