"""Kind and layer come from module names and the call, never from the order of calls."""

from __future__ import annotations

import doctest

import pytest

from attncli.capturing import sites
from attncli.capturing.sites import call_kind, layer_number, tree_kind


def test_the_examples_in_the_docstrings_are_right() -> None:
    result = doctest.testmod(sites)
    assert result.attempted >= 4
    assert result.failed == 0


@pytest.mark.parametrize(
    ("stack", "layer"),
    [
        (["", "encoder.layer.3", "encoder.layer.3.attention.self"], 3),
        (["", "encoder.block.2", "encoder.block.2.layer.1.EncDecAttention"], 2),
        (["", "model.language_model.layers.7.self_attn"], 7),
        (["", "transformer.h.11.attn"], 11),
        (["", "transformer.blocks.4.attn"], 4),
        (["", "attentions.5"], 5),
        (["", "model.layers.11", "model.layers.5.shared_transf.self_attn"], 11),
        (["", "encoder.albert_layer_groups.0.albert_layers.0.attention"], 0),
        (["", "attention"], None),
    ],
)
def test_layer_is_the_first_number_of_the_outermost_stack_of_layers(stack: list[str], layer: int | None) -> None:
    assert layer_number(stack) == layer


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("encoder.layer.0.attention.self", "encoder"),
        ("model.decoder.layers.0.self_attn", "decoder"),
        ("model.decoder.layers.0.encoder_attn", "cross"),
        ("decoder.block.0.layer.1.EncDecAttention", "cross"),
        ("decoder.bert.encoder.layer.0.attention.self", "decoder"),
        ("decoder.bert.encoder.layer.0.crossattention.self", "cross"),
        ("h.0.attn", None),
    ],
)
def test_the_outermost_part_of_a_name_states_the_kind(name: str, kind: str | None) -> None:
    assert tree_kind(name) == kind


def test_lengths_of_the_call_decide_where_source_and_target_differ() -> None:
    assert call_kind("x", 12, 12, (12, 7), False, False) == "encoder"
    assert call_kind("x", 7, 7, (12, 7), True, False) == "decoder"
    assert call_kind("x", 7, 12, (12, 7), False, False) == "cross"


def test_the_kind_of_one_stack_without_a_stated_kind_follows_from_causality() -> None:
    assert call_kind("h.0.attn", 9, 9, (9, None), True, False) == "decoder"
    assert call_kind("h.0.attn", 9, 9, (9, None), False, False) == "encoder"


def test_a_configuration_that_declares_a_decoder_overrides_the_module_names() -> None:
    assert call_kind("bert.encoder.layer.0.attention.self", 9, 9, (9, None), True, True) == "decoder"
