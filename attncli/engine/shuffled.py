"""Passes over the same texts with their tokens shuffled, as a baseline."""

from collections.abc import Iterator
from dataclasses import replace

from attncli.engine.passes import Pass
from attncli.inputs.shuffled_inputs import shuffle_batch


def shuffled_passes(prepared: Pass, seeds: int) -> Iterator[Pass]:
    """Yield a pass over shuffled tokens for each of the seeds 0, 1, …; it keeps no results, only its sinks see them."""
    request = replace(prepared.request, keep_maps=False, metrics=(), profile=False, top_k=None, min_weight=None)
    for seed in range(seeds):
        batches = tuple(shuffle_batch(batch, seed) for batch in prepared.batches)
        yield replace(prepared, batches=batches, request=request)
