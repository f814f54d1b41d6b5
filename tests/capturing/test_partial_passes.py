"""Passes that leave out rows and layers give the numbers of whole passes, or are refused."""

from __future__ import annotations

from collections.abc import Iterable

import families
import pytest
import torch
from families import FAMILIES

from attncli.capturing import CapturePlan, edited_outputs
from attncli.capturing import plan as make_plan
from attncli.capturing.bound_edits import BoundEdits
from attncli.capturing.edited_weights import CallEdits, WeightEdit
from attncli.capturing.partial_passes import PartialPasses
from attncli.inputs.batches import Batch, batch_from_tensors, repeated
from attncli.models import Loaded, wrap_model

TOKENS, FIRST = 20, 17


def planned(name: str) -> tuple[Loaded, Batch, CapturePlan]:
    loaded = wrap_model(families.build(FAMILIES[name]).double())
    batch = batch_from_tensors(loaded, families.inputs(FAMILIES[name], (TOKENS,)))
    return loaded, batch, make_plan(loaded, "auto", batch)


def blocks(plan: CapturePlan, layers: Iterable[int], keys: Iterable[int]) -> BoundEdits:
    """Edits of a batch in which each text has another blocked key for the last rows, in some layers."""
    keys = list(keys)
    queries = torch.zeros(len(keys), TOKENS, dtype=torch.bool)
    queries[:, FIRST:] = True
    blocked = torch.nn.functional.one_hot(torch.tensor(keys), TOKENS).bool()
    weights = {}
    for site in plan.sites:
        if site.layer in layers:
            where = torch.ones(len(keys), site.heads, 1, 1, dtype=torch.bool)
            weights[site.key] = CallEdits(site.label, (WeightEdit("block", where, queries=queries, keys=blocked),))
    return BoundEdits(weights)


@pytest.mark.parametrize(
    ("name", "first", "allowed"),
    [
        ("gpt2", FIRST, 1e-9),
        ("gpt_oss", FIRST, 1e-9),  # grouped queries and sinks
        ("gemma2", FIRST, 1e-6),  # windows and soft caps; its norms are computed in float32
        ("bloom", 0, 1e-9),  # calls softmax itself
        ("bert", 0, 1e-9),  # not causal
    ],
)
def test_they_equal_whole_passes(name: str, first: int, allowed: float) -> None:
    loaded, batch, plan = planned(name)
    passes = PartialPasses(loaded, plan, batch, FIRST)
    assert passes.first == first
    kind, top = plan.sites[0].kind, max(site.layer for site in plan.sites)
    for layers in (range(top + 1), [top]):
        edits, lowest = blocks(plan, layers, (3, FIRST + 1)), passes.lowest(kind, layers)
        assert lowest == min(layers)
        expected = edited_outputs(loaded, plan, repeated(batch, 2), edits)[0]
        computed = passes.outputs(edits, 2, lowest)[0]
        torch.testing.assert_close(computed, expected[:, first:], rtol=0, atol=allowed * float(expected.abs().max()))
        assert float((expected[0] - expected[1]).abs().max()) > 1e-4 * float(expected.abs().max())


def test_a_model_with_a_memory_of_other_kinds_is_noticed() -> None:
    loaded, batch, plan = planned("zamba2")
    passes = PartialPasses(loaded, plan, batch, FIRST)
    assert passes.first == FIRST
    assert not passes.agrees(blocks(plan, (0, 1), [3]), 0, slice(TOKENS - 1, TOKENS))


def test_layers_that_read_more_than_the_output_below_are_not_left_out() -> None:
    """The last layers of Gemma 4 read keys and values of earlier ones."""
    loaded, batch, plan = planned("gemma4_text")
    edits, last = blocks(plan, (1,), [3]), slice(TOKENS - 1, TOKENS)
    passes = PartialPasses(loaded, plan, batch, FIRST)
    assert not passes.agrees(edits, passes.lowest("decoder", [1]), last)
    passes = PartialPasses(loaded, plan, batch, FIRST, skips=False)
    assert (passes.first, passes.lowest("decoder", [1])) == (FIRST, 0)
    assert passes.agrees(edits, 0, last)
