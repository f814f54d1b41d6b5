"""Edits as data: their lines, and the heads that they select."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from attncli import UsageError
from attncli.data.edits import ACTIONS, Edit, block, heads_of_edit, parse_edit_line, zero
from attncli.data.selection import Available
from attncli.data.tokens import Kind

AVAILABLE: Available = {
    ("encoder", 0): (0, 1),
    ("decoder", 0): (0, 1, 2),
    ("decoder", 1): (0, 1, 2),
    ("cross", 1): (0, 1, 2),
}
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


def heads(edit: Edit) -> Mapping[tuple[Kind, int], tuple[int, ...]]:
    return heads_of_edit(edit, AVAILABLE, "it")


def test_heads_are_selected_in_each_kind_that_has_them() -> None:
    assert heads(zero("0.1")) == {("encoder", 0): (1,), ("decoder", 0): (1,)}
    assert heads(zero("1")) == {("decoder", 1): (0, 1, 2), ("cross", 1): (0, 1, 2)}
    assert heads(zero(["decoder:0.2", "cross:-1.0-1"])) == {("decoder", 0): (2,), ("cross", 1): (0, 1)}
    assert set(heads(block("a", "b"))) == set(AVAILABLE)
    assert set(heads(parse_edit_line("window 3"))) == {*AVAILABLE} - {("cross", 1)}


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
        heads(parse_edit_line(line))
