"""Which heads are alike: of a pass over texts, and of kept maps."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.capturing.hidden import hidden_states
from attncli.data import Attention, Input, Kind, Selection
from attncli.engine.kept_maps import check_weights
from attncli.engine.passes import Pass
from attncli.engine.progress import Track, tokens_in, untracked
from attncli.engine.request import Request
from attncli.engine.shuffles import shuffled_passes
from attncli.errors import UsageError
from attncli.stream.replay import replay
from attncli.studies.heads.clusters import check_installed
from attncli.studies.heads.compute import Distances, HeadsSink, Shuffled, States
from attncli.studies.heads.result import LARGEST_DISTANCE, ClusterOptions, HeadsResult
from attncli.studies.heads.smoothness import StateNumbers


def check_grouping(grouping: ClusterOptions) -> ClusterOptions:
    """The same; distances that cannot be, or what is not installed, are a `UsageError`."""
    check_installed()
    for name in ("threshold", "redundant"):
        value = getattr(grouping, name)
        if not 0 <= value <= LARGEST_DISTANCE + 1e-9:
            raise UsageError(f"expected --{name} to be a distance from 0 to {LARGEST_DISTANCE:.3f}, got {value!r}")
    if grouping.clusters is not None and grouping.clusters < 1:
        raise UsageError(f"expected --clusters from 1 up, got {grouping.clusters}")
    return grouping


def check_single_heads(request: Request) -> Request:
    """The same; a `UsageError` where heads or layers are to be combined, or norms are wanted."""
    if request.by == "norm":
        raise UsageError("the likeness of heads is of attention weights: leave out by='norm'")
    if request.combined:
        raise UsageError("heads are compared one by one: leave out --aggregate and --aggregate-layers")
    return request


def heads_sink(inputs: Sequence[Input], heads: Selection, grouping: ClusterOptions) -> HeadsSink:
    """The sink for these heads; more clusters than heads are a `UsageError`."""
    for kind in dict.fromkeys(kind for kind, _ in heads):
        there = sum(len(numbers) for (of, _), numbers in heads.items() if of == kind)
        if grouping.clusters is not None and grouping.clusters > there:
            raise UsageError(f"expected --clusters up to {there}, the number of {kind} heads, got {grouping.clusters}")
    return HeadsSink(inputs, heads)


def state_numbers(passes: Sequence[Pass], track: Track = untracked) -> dict[Kind, StateNumbers]:
    """How alike the hidden states of each stack are, by once more running the texts of these passes."""
    found: dict[Kind, StateNumbers] = {}
    batches = [(prepared, batch) for prepared in passes for batch in prepared.batches]
    with track("hidden states", sum(tokens_in(batch) for _, batch in batches), "tokens") as advance:
        for prepared, batch in batches:
            for _, states in hidden_states(prepared.loaded, prepared.plan, batch):
                for stack, layers in states.items():
                    found.setdefault(stack, StateNumbers()).add(layers)
            advance(tokens_in(batch))
    return found


def of_shuffled(prepared: Pass, seeds: int, track: Track = untracked) -> Shuffled | None:
    """The heads and states of the same texts with their tokens in another order, once for each seed; None for none."""
    if not seeds:
        return None
    distances, passes = Distances(prepared.inputs, prepared.heads), list(shuffled_passes(prepared, seeds))
    for each in passes:
        each.gather(track, more=[distances])
    return Shuffled(distances, state_numbers(passes, track))


def heads_of_maps(
    maps: Sequence[Attention],
    inputs: Sequence[Input],
    grouping: ClusterOptions,
    states: States | None = None,
    shuffled: Shuffled | None = None,
) -> HeadsResult:
    """How alike the heads of kept maps are, beside the hidden states and the shuffled tokens that there are."""
    check_weights(maps)
    heads = {
        (attention.kind, layer.layer if isinstance(layer.layer, int) else 0): layer.heads
        for attention in maps
        for layer in attention.layers
    }
    sink = heads_sink(inputs, heads, check_grouping(grouping))
    for attention in maps:
        replay(attention, [sink])
    return sink.result(grouping, states, shuffled)
