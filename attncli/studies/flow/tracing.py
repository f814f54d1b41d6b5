"""What is asked of rollout and attention flow, and what it would cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from attncli.data import KINDS, Array, Input, Kind, Selection
from attncli.data.selection import format_ranges, layers_of
from attncli.engine.focus import FocusMatches, FocusRequest, find_in_inputs
from attncli.engine.memory import check_fits
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.focus import ALL
from attncli.studies.flow.result import FlowMethod

METHODS: tuple[FlowMethod, ...] = ("rollout", "flow")
DRAWN = 128
"""Tokens up to which the layers are drawn."""
LONGEST = 600
"""Seconds that attention flow may take."""
_SECONDS = 7e-8
"""What a maximum flow takes for each pipe of its graph, about."""
_FLOAT, _VARIANTS = 8, 3


class FlowOptions(TypedDict, total=False):
    """How `run.rollout` and `run.flow` go; all of it may be left out.

    focus        from these tokens alone: a word, `it#2`, the position of a token, `[CLS]`; all by default
    residual     False: attention alone, without what each token keeps of itself
    start_layer  the first layer that is gone through
    aggregate    the mean over heads, or their max
    """

    focus: str | int | None
    residual: bool
    start_layer: int
    aggregate: Literal["mean", "max"]


@dataclass(frozen=True)
class Tracing:
    """The same, checked."""

    method: FlowMethod = "rollout"
    focus: str | None = None
    residual: bool = True
    start_layer: int = 0
    aggregate: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"unknown --method '{self.method}': {did_you_mean(self.method, METHODS)}")
        if self.aggregate not in ("mean", "max"):
            raise UsageError(
                f"expected --aggregate mean or max, got '{self.aggregate}': flow goes through one map a layer"
            )
        if not isinstance(self.start_layer, int) or self.start_layer < 0:
            raise UsageError(f"expected --start-layer to be a number from 0 up, got {self.start_layer!r}")

    @classmethod
    def of(cls, method: FlowMethod, options: FlowOptions) -> Tracing:
        """Check what a call of Python says."""
        unknown = next((name for name in options if name not in FlowOptions.__annotations__), None)
        if unknown is not None:
            raise UsageError(f"unknown option '{unknown}': {did_you_mean(unknown, FlowOptions.__annotations__)}")
        focus = options.get("focus")
        return cls(
            method,
            None if focus is None else str(focus),
            options.get("residual", True),
            options.get("start_layer", 0),
            options.get("aggregate", "mean"),
        )

    @property
    def name(self) -> str:
        """The focus, "" where all tokens are asked for."""
        return "" if self.focus is None or self.all else self.focus

    @property
    def all(self) -> bool:
        """Whether every token of the top is asked for."""
        return self.focus in (None, ALL)

    def places(self, inputs: Sequence[Input], kinds: Sequence[Kind]) -> FocusMatches:
        """Where the focus is in each text and kind; one that is nowhere is a `UsageError`."""
        return find_in_inputs(inputs, dict.fromkeys(kinds, 0), FocusRequest(self.focus or ALL))

    def rows(self, places: FocusMatches, one: Input, kind: Kind) -> Array:
        """[row] the positions of the queries that are asked for, ascending; none where the text has none."""
        if self.all:
            return np.arange(len(one.sides(kind)[0]))
        return places.positions.get((one.index, kind), np.arange(0))


def layers_through(heads: Selection, tracing: Tracing, inputs: Sequence[Input], where: str) -> Selection:
    """The heads of the layers that are gone through; what leads through no layers is a `UsageError`."""
    kinds = {kind for kind, _ in heads}
    reads_source = "cross" in kinds or any(one.target is not None for one in inputs)
    if reads_source and kinds not in ({"encoder"}, set(KINDS)):
        raise UsageError(
            f"from the target to the source lead all of encoder, decoder and cross, {where} has "
            f"{', '.join(kind for kind in KINDS if kind in kinds)}: keep all of them"
        )
    chosen = {place: numbers for place, numbers in heads.items() if place[1] >= tracing.start_layer}
    for kind in kinds:
        if not layers_of(chosen, kind):
            there = format_ranges(layers_of(heads, kind))
            raise UsageError(f"--start-layer {tracing.start_layer} leaves no {kind} layer: there are layers {there}")
    return chosen


def layer_notes(chosen: Selection, tracing: Tracing) -> list[str]:
    """What to say of layers that are few, or have gaps."""
    notes = []
    for kind in KINDS:
        layers = layers_of(chosen, kind)
        if not layers or kind == "cross":
            continue
        if gaps := sorted(set(range(layers[0], layers[-1])) - set(layers)):
            notes.append(f"{kind} layers {format_ranges(gaps)} are left out: the others stand directly on each other")
        if len(layers) == 1:
            notes.append(f"there is one {kind} layer alone: its {tracing.method} is what the layer itself does")
    return notes


def check_cost(
    inputs: Sequence[Input],
    chosen: Selection,
    tracing: Tracing,
    rows: Mapping[tuple[int, Kind], int],
    limit: int | None,
) -> None:
    """A `UsageError` where memory or time would not do.

    rows   of each text and kind how many queries are asked for
    limit  bytes that may be kept
    """
    longest = max(max(len(side) for side in one.sides(kind)) for one in inputs for kind, _ in chosen)
    needed = sum(_bytes(one, chosen, tracing, rows) for one in inputs)
    check_fits(needed, limit, longest, f"shorten the text with --max-tokens {longest // 2}, or give fewer texts")
    if tracing.method != "flow":
        return
    seconds = sum(_seconds(one, chosen, rows) for one in inputs)
    if seconds > LONGEST:
        fewer = max(8, int(longest * (LONGEST / seconds) ** 0.25))
        focus = "--focus WORD for one token, " if tracing.all else ""
        texts = f" ({len(inputs)} texts)" if len(inputs) > 1 else ""
        raise UsageError(
            f"attention flow takes about {_shown(seconds)} for {longest} tokens{texts} and {len(chosen)} layers, of at "
            f"most {_shown(LONGEST)}: choose {focus}--max-tokens {fewer}, a later --start-layer, or --method rollout"
        )


def _bytes(one: Input, chosen: Selection, tracing: Tracing, rows: Mapping[tuple[int, Kind], int]) -> int:
    """What rolls or is kept of a text, and what comes of it."""
    cells = {kind: len(one.sides(kind)[0]) * len(one.sides(kind)[1]) for kind, _ in chosen}
    state = _VARIANTS * sum(cells.values()) + 4 * max(cells.values())
    if tracing.method == "flow":
        state += 4 * _VARIANTS * sum(cells[kind] for kind, _ in chosen)
    results = (_VARIANTS + 1) * sum(rows.get((one.index, kind), 0) * len(one.sides(kind)[1]) for kind in cells)
    return _FLOAT * (state + results)


def _seconds(one: Input, chosen: Selection, rows: Mapping[tuple[int, Kind], int]) -> float:
    """What the maximum flows of a text take, about; of a causal model half the pairs with a third of the pipes."""
    sizes = {kind: tuple(map(len, one.sides(kind))) for kind, _ in chosen}
    total = 0.0
    tops: tuple[tuple[Kind, ...], ...] = (("encoder",), ("decoder", "cross"))
    for kinds in tops:
        count = max(rows.get((one.index, kind), 0) for kind in kinds)
        ends = sum(sizes[kind][1] for kind in kinds if kind in sizes)
        pipes = sum(math.prod(sizes[kind]) for kind, _ in chosen if kind == "encoder" or "decoder" in kinds)
        causal = 1 / 6 if "decoder" in kinds and one.target is None else 1.0
        total += _SECONDS * _VARIANTS * causal * count * ends * pipes
    return total


def _shown(seconds: float) -> str:
    """A time for people.

    >>> _shown(600), _shown(9000), _shown(400_000)
    ('10 minutes', '2.5 hours', '4.6 days')
    """
    for length, name in ((86_400, "days"), (3600, "hours")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {name}"
    return f"{seconds / 60:.0f} minutes"
