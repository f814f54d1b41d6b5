"""Maps with their classes: which maps are drawn, under which names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hostile import HOSTILE
from pictures import attention, faults, words
from plotting.test_hostile_pictures import side
from studies.patterns.test_figures_classes import made

from attncli.studies.patterns import figures


def test_the_strongest_head_of_each_class_is_drawn_under_its_name() -> None:
    found = made([("vertical",), ("local", "diagonal"), ("diagonal",), ("mixed",)], heads=2)
    figure = figures.draw_examples(found, attention(5, heads=[2, 2]), model="a model")
    names = {text for text in words(figure) if "·" in text and "token" not in text and "self-attention" not in text}
    assert names == {
        "vertical · 0.0 · sink 0.40",
        "diagonal -1 · 1.0 · diagonal 0.40",
        "local · 0.1 · within 2 0.40",
        "mixed · 1.1 · entropy 0.40",
    }
    assert "encoder self-attention · the strongest head of each class" in words(figure)
    assert not faults(figure)


def test_one_class_is_one_map() -> None:
    figure = figures.draw_examples(made([("uniform",)] * 2, heads=2), attention(5, heads=[2]))
    assert "uniform · 0.0 · entropy 0.40" in words(figure)
    assert not faults(figure)


def test_heads_of_a_layer_are_drawn_under_their_classes() -> None:
    found = made([("mixed",)] * 3 + [("vertical", "diagonal"), (), ("sparse",)], heads=3)
    maps = attention(6, heads=[3, 3])
    figure = figures.draw_layer(found, replace(maps, layers=maps.layers[1:]), note="the first text")
    assert {"head 0 · vertical diagonal -1", "head 1 · ", "head 2 · sparse"} <= words(figure)
    assert "encoder self-attention · layer 1, 3 heads with their classes" in words(figure)
    assert not faults(figure)


@pytest.mark.parametrize("count", [1, 3, 300])
def test_long_names_overlap_nothing(count: int) -> None:
    found = made([("vertical", "diagonal", "block", "local", "sparse")] * 4, heads=4)
    figure = figures.draw_layer(found, attention(count, heads=[4]))
    assert not faults(figure)


def test_hostile_tokens_are_drawn() -> None:
    figure = figures.draw_examples(made([("mixed",)] * 2, heads=2), attention(side(HOSTILE[:12]), heads=[2]))
    assert not faults(figure)
