"""More passes over the same texts with their tokens in another order, for the baseline of shuffled tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attncli.engine.passes import Pass
from attncli.errors import UsageError
from attncli.inputs.shuffled import shuffle_batch


def check_shuffle_seeds(seeds: int) -> int:
    """The same; less than none is a `UsageError`."""
    if seeds < 0:
        raise UsageError(f"expected --shuffle-seeds from 0 up, got {seeds}")
    return seeds


def shuffled_passes(prepared: Pass, seeds: int) -> Iterator[Pass]:
    """One pass for each of the seeds 0, 1, …, which keeps nothing: what it finds goes to sinks."""
    request = replace(prepared.request, keep_maps=False, metrics=(), profile=False, top_k=None, min_weight=None)
    for seed in range(seeds):
        batches = tuple(shuffle_batch(batch, seed) for batch in prepared.batches)
        yield replace(prepared, batches=batches, request=request)
