"""Selection of kinds, layers and heads, and errors for those that do not exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.data import Kind
from attncli.data.selection import choose, format_ranges, parse_numbers, resolve
from attncli.errors import UsageError

HEADS: dict[tuple[Kind, int], tuple[int, ...]] = {("encoder", layer): tuple(range(4)) for layer in range(6)}
BOTH: dict[tuple[Kind, int], tuple[int, ...]] = {
    **HEADS,
    ("decoder", 0): (0, 1),
    ("decoder", 2): (0, 1),
    ("cross", 0): (0, 1),
}


@pytest.mark.parametrize(
    ("wanted", "layers"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ("all", [0, 1, 2, 3, 4, 5]),
        ("3", [3]),
        (3, [3]),
        (-1, [5]),
        ("-1", [5]),
        ("0,2,4-5", [0, 2, 4, 5]),
        ("2, 0", [0, 2]),
        ("3--1", [3, 4, 5]),
        ("-3--2", [3, 4]),
        ([1, 4], [1, 4]),
        ("1,1", [1]),
    ],
)
def test_layers_are_chosen(wanted: str | int | list[int] | None, layers: list[int]) -> None:
    assert [layer for _, layer in resolve(choose(layers=wanted), HEADS)] == layers


def test_heads_are_chosen_in_every_layer() -> None:
    assert resolve(choose(layers="1,2", heads="-1,0"), HEADS) == {("encoder", 1): (0, 3), ("encoder", 2): (0, 3)}


def test_negative_layers_count_from_the_end_of_each_kind() -> None:
    assert list(resolve(choose(layers="-1"), BOTH)) == [("encoder", 5), ("decoder", 2), ("cross", 0)]


def test_a_kind_is_chosen() -> None:
    assert list(resolve(choose("cross"), BOTH)) == [("cross", 0)]
    assert list(resolve(choose(["cross", "decoder"], layers=0), BOTH)) == [("decoder", 0), ("cross", 0)]


def test_a_head_of_some_layers_only_is_chosen_in_those() -> None:
    assert list(resolve(choose(heads=3), BOTH)) == [("encoder", layer) for layer in range(6)]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layers": 9}, "layer 9 does not exist: encoder has layers 0-5"),
        ({"layers": -7}, "layer -7 does not exist: encoder has layers 0-5"),
        ({"layers": "4-9"}, "layer 9 does not exist: encoder has layers 0-5"),
        ({"layers": 1, "heads": 4}, "head 4 does not exist: encoder layer 1 has heads 0-3"),
        ({"heads": "0,7"}, "head 7 does not exist: there are heads 0-3"),
        ({"layers": "-1-2"}, "--layer -1-2 selects nothing: write the smaller number first"),
        ({"kinds": "cross"}, "my model has no cross attention; it has: encoder"),
    ],
)
def test_errors_for_missing_layers_and_heads_list_the_existing_ones(choice: dict[str, str | int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve(choose(**choice), HEADS, "my model")  # type: ignore[arg-type]
    assert str(error.value) == message


def test_errors_list_the_layers_with_attention() -> None:
    with pytest.raises(UsageError, match=r"^layer 1 does not exist: decoder has layers 0, 2$"):
        resolve(choose("decoder", layers=1), BOTH)


@pytest.mark.parametrize("wanted", ["", "x", "1.5", "1-", "-", "1,,2", "--1", "1-2-3", "0x1", "²", "9" * 40])
def test_text_that_is_not_a_number_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_numbers(wanted, "layer")
    assert str(error.value) == f"expected --layer like all, 3, -1 or 0,2,5-7 (counted from 0), got {wanted!r}"


@pytest.mark.parametrize("wanted", ["5-2", "-1--3"])
def test_a_range_that_runs_backwards_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_numbers(wanted, "head")
    assert str(error.value) == f"--head {wanted} ends before it begins: write the smaller number first"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown --kind 'encodr': did you mean 'encoder'"):
        choose("encodr")


@given(st.lists(st.integers(0, 5), min_size=1))
def test_any_list_of_existing_numbers_selects_these_numbers(numbers: list[int]) -> None:
    chosen = resolve(choose(layers=",".join(map(str, numbers))), HEADS)
    assert [layer for _, layer in chosen] == sorted(set(numbers))


@given(st.sets(st.integers(0, 30)))
def test_formatted_ranges_can_be_parsed(numbers: set[int]) -> None:
    available = {("encoder", layer): (0,) for layer in range(31)}
    if numbers:
        chosen = resolve(choose(layers=format_ranges(sorted(numbers)).replace(" ", "")), available)  # type: ignore[arg-type]
        assert {layer for _, layer in chosen} == numbers
    else:
        assert format_ranges([]) == "none"


SCALED: dict[tuple[Kind, int], tuple[int, ...]] = {
    ("decoder", 0): (0, 1),
    ("encoder", 0): (0, 1),
    ("encoder-pooled-4x4", 1): (0, 1),
    ("encoder-pooled-4x2", 2): (0,),
    ("encoder", 3): (0, 1),
}


@pytest.mark.parametrize(
    ("kinds", "layers", "chosen"),
    [
        (None, None, ["encoder 0", "encoder 3", "encoder-pooled-4x2 2", "encoder-pooled-4x4 1", "decoder 0"]),
        ("encoder", None, ["encoder 0", "encoder 3", "encoder-pooled-4x2 2", "encoder-pooled-4x4 1"]),
        ("encoder", "1-2", ["encoder-pooled-4x2 2", "encoder-pooled-4x4 1"]),
        ("encoder", -1, ["encoder 3"]),
        ("encoder-pooled-4x4", None, ["encoder-pooled-4x4 1"]),
        (["decoder", "encoder-pooled-4x2"], "0,2", ["encoder-pooled-4x2 2", "decoder 0"]),
    ],
)
def test_layers_are_numbered_through_a_kind_and_its_scales(kinds: Any, layers: Any, chosen: list[str]) -> None:
    assert [f"{kind} {layer}" for kind, layer in resolve(choose(kinds, layers), SCALED)] == chosen


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        ("encoder-pooled-2x2", "this model has no encoder-pooled-2x2 attention; it has: encoder, encoder-pooled-4x2"),
        ("cross", "this model has no cross attention"),
        ("encod-pooled", "unknown --kind 'encod-pooled': did you mean 'encoder'"),
    ],
)
def test_a_scale_that_does_not_exist_is_refused(kinds: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        resolve(choose(kinds), SCALED)
