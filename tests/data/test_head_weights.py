"""Weights of heads: normalised in layers and over layers, and refused if they are not those of the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from attncli import UsageError
from attncli.data.head_weights import HeadWeights
from attncli.data.tokens import Kind
from attncli.inputs.importance_file import head_weights

HEADS: dict[tuple[Kind, int], tuple[int, ...]] = {("encoder", 0): (0, 1), ("encoder", 1): (0, 1), ("cross", 1): (3,)}
VALUES: dict[tuple[Kind, int, int], float] = {
    ("encoder", 0, 0): 3.0,
    ("encoder", 0, 1): 1.0,
    ("encoder", 1, 0): -2.0,
    ("encoder", 1, 1): 4.0,
    ("cross", 1, 3): 0.5,
}


def weights(**changes: float) -> HeadWeights:
    kinds: dict[str, tuple[Kind, int, int]] = {
        f"{kind}{layer}{head}": (kind, layer, head) for kind, layer, head in VALUES
    }
    return HeadWeights(
        "--aggregate weights:a.json", {**VALUES, **{kinds[key]: value for key, value in changes.items()}}
    )


def test_weights_sum_to_1_in_a_layer_and_over_all_heads_of_a_kind() -> None:
    made = weights().of(HEADS)
    assert made.heads["encoder", 0] == {0: 0.75, 1: 0.25}
    assert made.heads["encoder", 1] == {0: 0.0, 1: 1.0}
    assert made.layers == {("encoder", 0): 0.5, ("encoder", 1): 0.5, ("cross", 1): 1.0}
    assert made.notes == ("heads are combined by a.json: 1 of 5 have a negative number, which counts as 0",)


def test_without_a_number_above_0_heads_of_a_layer_count_equally_and_the_layer_does_not() -> None:
    made = weights(encoder00=-1.0, encoder01=0.0).of(HEADS)
    assert made.heads["encoder", 0] == {0: 0.5, 1: 0.5}
    assert made.layers["encoder", 0] == 0
    assert made.notes[1] == "no head of encoder layer 0 has a number above 0: its heads count equally"


def test_only_chosen_heads_count() -> None:
    made = weights().of({("encoder", 0): (1,), ("encoder", 1): (1,)})
    assert made.heads == {("encoder", 0): {1: 1.0}, ("encoder", 1): {1: 1.0}}
    assert made.layers == {("encoder", 0): 0.2, ("encoder", 1): 0.8}


def test_the_hash_is_that_of_the_numbers() -> None:
    other = HeadWeights("the table of weights", dict(reversed(VALUES.items())), "another")
    assert other.sha256 == weights().sha256
    assert weights(cross13=0.6).sha256 != weights().sha256


def test_heads_without_a_number_and_kinds_without_weight_are_refused() -> None:
    with pytest.raises(UsageError, match=r"has no number for encoder heads 0\.2, 0\.3 and 1 more: measure"):
        weights().of({("encoder", 0): (0, 2, 3), ("cross", 2): (0,)})
    with pytest.raises(UsageError, match="no number above 0 for the chosen cross heads"):
        weights(cross13=-1.0).of(HEADS)


def test_numbers_of_another_model_are_refused() -> None:
    of_a = HeadWeights("--aggregate weights:a.json", VALUES, "/runs/a")
    of_a.check_model("a", HEADS)
    with pytest.raises(UsageError, match="is of a, this is b"):
        of_a.check_model("b", HEADS)
    with pytest.raises(UsageError, match=r"another model: a has no encoder head 1\.1"):
        of_a.check_model("a", {**HEADS, ("encoder", 1): (0,)})


COLUMNS: dict[str, Any] = {"kind": ["encoder", "encoder"], "layer": [0, 0], "head": [0, 1], "weight": [1.0, -0.5]}


def test_a_table_of_ones_own_and_a_classifier_that_loses_probability() -> None:
    assert head_weights(COLUMNS).values == {("encoder", 0, 0): 1.0, ("encoder", 0, 1): -0.5}
    measured = {**{name: COLUMNS[name] for name in ("kind", "layer", "head")}, "probability": [-0.2, 0.1], "kl": [1, 1]}
    assert head_weights(measured).values == {("encoder", 0, 0): 0.2, ("encoder", 0, 1): -0.1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "expected aggregate to be none, mean, max, weights:FILE, a result of importance or a table, got int"),
        ({}, "has no column of effects"),
        ({**COLUMNS, "weight": [1.0]}, "columns of the same length"),
        ({**COLUMNS, "weight": [1.0, float("nan")]}, "row 2: expected a finite number as weight, got nan"),
        ({**COLUMNS, "weight": [1.0, "much"]}, "row 2: expected kind, layer, head and weight"),
        ({**COLUMNS, "head": [1, 1]}, "row 2: encoder head 0.1 has a row already"),
        ({**COLUMNS, "head": [0, None]}, "is by layer"),
        ({**COLUMNS, "group": [0, 1]}, "is by group"),
        ("weights:", "names no file"),
        ("weights:none.csv", "no such file: none.csv"),
    ],
)
def test_what_is_no_table_of_heads_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        head_weights(given)


def test_files_that_are_no_importance_are_refused(tmp_path: Path) -> None:
    for name, text, message in (
        ("a.json", '{"schema": "attncli.stats/1"}', "a.json is no importance.json"),
        ("b.json", '{"schema": "attncli.importance/1", "heads": [], "main": "loss"}', "b.json is damaged"),
        ("c.csv", "kind,layer,head,entropy\nencoder,0,0,1\n", "c.csv has no column of effects"),
        ("d.parquet", "PAR1", "as Parquet"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            head_weights(f"weights:{tmp_path / name}")
