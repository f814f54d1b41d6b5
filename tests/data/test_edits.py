"""Edits as data: their lines, and the heads that they select."""

from __future__ import annotations

import pytest

from attncli import UsageError
from attncli.data.edits import ACTIONS, block, parse_edit_line, zero

AVAILABLE = {("encoder", 0): (0, 1), ("decoder", 0): (0, 1, 2), ("decoder", 1): (0, 1, 2), ("cross", 1): (0, 1, 2)}
LINES = (
    *("zero 3.1", "zero 3.1,4", "mean cross:3.1", "scale 0.5@3.0-2", "scale -1.25@1", "block it->animal", "uniform"),
    *("block it->animal@4-8", "block a@b->c@d", "block -2->14-21@1.0", "temperature 0.1", "temperature 2@3.1"),
    *("window 4@decoder:3", "permute 3.1", "permute 7@3.1", "uniform 5", "block [CLS]->all"),
)


@pytest.mark.parametrize("line", LINES)
def test_the_line_of_an_edit_says_all_of_it(line: str) -> None:
    edit = parse_edit_line(line)
    assert edit.spec == line
    assert parse_edit_line(edit.spec) == edit


def test_every_action_but_those_with_arrays_has_a_line() -> None:
    assert {line.split()[0] for line in LINES} == {*ACTIONS} - {"replace", "patch"}


def test_heads_are_selected_in_each_kind_that_has_them() -> None:
    assert zero("0.1").select(AVAILABLE, "it") == {("encoder", 0): (1,), ("decoder", 0): (1,)}
    assert zero("1").select(AVAILABLE, "it") == {("decoder", 1): (0, 1, 2), ("cross", 1): (0, 1, 2)}
    assert zero(["decoder:0.2", "cross:-1.0-1"]).select(AVAILABLE, "it") == {("decoder", 0): (2,), ("cross", 1): (0, 1)}
    assert set(block("a", "b").select(AVAILABLE, "it")) == set(AVAILABLE)
    assert set(parse_edit_line("window 3").select(AVAILABLE, "it")) == {*AVAILABLE} - {("cross", 1)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zero 2", "zero 2: layer 2 does not exist"),
        ("zero encoder:0.2", "head 2 does not exist"),
        ("window 3@cross:1", "this is cross-attention"),
        ("zero hybrid:1", "unknown --kind 'hybrid'"),
        ("erase 1", "unknown edit 'erase'"),
        ("block it", "expected block QUERY->KEY"),
        ("replace 1", "unknown edit 'replace'"),
        ("temperature nan", "positive number"),
        ("window 2.5", "whole number"),
    ],
)
def test_wrong_lines_are_refused(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_edit_line(line).select(AVAILABLE, "it")
