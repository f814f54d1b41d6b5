"""What heads do: of a pass over texts, of kept maps, and on repeated random tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from attncli.capturing import CapturePlan
from attncli.data import Attention, Input
from attncli.engine.passes import Pass
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request, check_share
from attncli.engine.shuffles import shuffled_passes
from attncli.errors import UsageError
from attncli.inputs.random_tokens import RandomTokens
from attncli.models import Loaded
from attncli.stream.replay import replay
from attncli.studies.patterns.compute import Numbers, PatternSink
from attncli.studies.patterns.result import Patterns, Thresholds
from attncli.studies.repeated.compute import RepeatedSink
from attncli.studies.repeated.result import Repeated

LENGTH, SEEDS = 50, 3


def check_thresholds(thresholds: Thresholds) -> Thresholds:
    """The same; one that no head could be held against is a `UsageError`."""
    values = asdict(thresholds)
    reach = values.pop("reach")
    for name in values:
        check_share(values, name)
    if not 0 <= reach <= 8:
        raise UsageError(f"expected --reach from 0 to 8 tokens, as diagonals are looked at so far, got {reach}")
    return thresholds


def check_single_heads(request: Request) -> Request:
    """The same; a `UsageError` where heads or layers are to be combined, or norms are wanted."""
    if request.by == "norm":
        raise UsageError("patterns are of attention weights: leave out by='norm'")
    if request.combined:
        raise UsageError("patterns are of single heads: leave out --aggregate and --aggregate-layers")
    return request


def pattern_sink(prepared: Pass) -> PatternSink:
    """The sink for the patterns of a pass."""
    return PatternSink(prepared.inputs, prepared.heads)


def shuffled_numbers(prepared: Pass, seeds: int, track: Track = untracked) -> Numbers | None:
    """The numbers of the same texts with their tokens in another order, one pass for each seed; None for none."""
    if not seeds:
        return None
    numbers = Numbers(prepared.inputs, prepared.heads)
    for each in shuffled_passes(prepared, seeds):
        each.gather(track, more=[numbers])
    return numbers


def patterns_in(
    maps: Sequence[Attention], inputs: Sequence[Input], thresholds: Thresholds, shuffled: Numbers | None = None
) -> Patterns:
    """The patterns of kept maps, beside the numbers of shuffled tokens where there are any."""
    heads = {(attention.kind, _number(maps.layer)): maps.heads for attention in maps for maps in attention.layers}
    sink = PatternSink(inputs, heads)
    for attention in maps:
        replay(attention, [sink])
    return sink.result(thresholds, shuffled)


def _number(layer: int | str) -> int:
    """Replaying refuses layers that were combined."""
    return layer if isinstance(layer, int) else 0


def repeated_scores(
    loaded: Loaded, plan: CapturePlan, request: Request, length: int, seeds: int, track: Track = untracked
) -> tuple[Repeated, Pass]:
    """The scores of repeated random tokens, and the pass that gave them."""
    check_single_heads(request)
    if length < 2:
        raise UsageError(f"expected --length from 2 tokens up, got {length}")
    if seeds < 1:
        raise UsageError(f"expected --seeds from 1 up, got {seeds}")
    tokens = RandomTokens.of(loaded)
    passes, sinks = [], []
    for again in (True, False):
        batches = tokens.batches(length, range(seeds), request.batch_tokens, again)
        passes.append(Pass.prepare(loaded, plan, batches, replace(request, keep_maps=False)))
        sinks.append(RepeatedSink(len(tokens.start), length))
        passes[-1].gather(track, more=[sinks[-1]])
    return sinks[0].result(sinks[1], range(seeds)), passes[0]
