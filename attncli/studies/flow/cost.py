"""Memory and time that rollout and attention flow take, estimated before they start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attncli.data import Input, Kind, Selection
from attncli.engine.memory import check_fits
from attncli.errors import UsageError
from attncli.studies.flow.request import FlowRequest

LONGEST = 600
"""Most seconds that attention flow may take."""
SECONDS_PER_EDGE = 7e-8
"""About the time of a maximum flow for each edge of its graph."""
FLOAT_BYTES, VARIANTS_KEPT = 8, 3


def check_cost(
    inputs: Sequence[Input],
    chosen: Selection,
    request: FlowRequest,
    rows: Mapping[tuple[int, Kind], int],
    limit: int | None,
) -> None:
    """Raise UsageError if the request takes too much memory or time.

    rows   number of chosen queries, by text and kind
    limit  bytes that may be kept
    """
    longest = max(max(len(side) for side in text.sides(kind)) for text in inputs for kind, _ in chosen)
    needed = sum(_bytes(text, chosen, request, rows) for text in inputs)
    check_fits(needed, limit, longest, f"shorten the text with --max-tokens {longest // 2}, or give fewer texts")
    if request.method != "flow":
        return
    seconds = sum(_seconds(text, chosen, rows) for text in inputs)
    if seconds > LONGEST:
        fewer = max(8, int(longest * (LONGEST / seconds) ** 0.25))
        focus = "--focus WORD for one token, " if request.all else ""
        texts = f" ({len(inputs)} texts)" if len(inputs) > 1 else ""
        raise UsageError(
            f"attention flow takes about {_readable(seconds)} for {longest} tokens{texts} and {len(chosen)} layers, "
            f"at most {_readable(LONGEST)} are allowed: choose {focus}--max-tokens {fewer}, a later --start-layer, "
            "or --method rollout"
        )


def _bytes(text: Input, chosen: Selection, request: FlowRequest, rows: Mapping[tuple[int, Kind], int]) -> int:
    """Return the bytes of the maps that are kept of a text, and of its results."""
    cells = {kind: len(text.sides(kind)[0]) * len(text.sides(kind)[1]) for kind, _ in chosen}
    state = VARIANTS_KEPT * sum(cells.values()) + 4 * max(cells.values())
    if request.method == "flow":
        state += 4 * VARIANTS_KEPT * sum(cells[kind] for kind, _ in chosen)
    results = (VARIANTS_KEPT + 1) * sum(rows.get((text.index, kind), 0) * len(text.sides(kind)[1]) for kind in cells)
    return FLOAT_BYTES * (state + results)


def _seconds(text: Input, chosen: Selection, rows: Mapping[tuple[int, Kind], int]) -> float:
    """Return about how long the maximum flows take; a causal model has half the pairs, a third of the edges."""
    sizes = {kind: tuple(map(len, text.sides(kind))) for kind, _ in chosen}
    total = 0.0
    tops: tuple[tuple[Kind, ...], ...] = (("encoder",), ("decoder", "cross"))
    for kinds in tops:
        count = max(rows.get((text.index, kind), 0) for kind in kinds)
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
