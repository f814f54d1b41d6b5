"""Which heads share keys and values: against how Transformers repeats keys, and in what users see."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pictures import attention, faults, statistics, words
from transformers.models.llama.modeling_llama import repeat_kv

from attncli.data.grouped_heads import GroupedHeads
from attncli.data.kinds import KindNames
from attncli.plotting import grid, overview
from attncli.plotting.axis import BRACKET, BRACKET_NOTE
from attncli.studies.find.result import RankedHeads
from attncli.studies.find.terminal import heads_table

GROUPED = GroupedHeads({("decoder", layer): (8, 2) for layer in range(3)})
KINDS = KindNames(grouped=GROUPED)
TEXT = ("-m", "demo:decoder", "-t", "One two three.")


@pytest.mark.parametrize(("heads", "shared"), [(8, 2), (8, 1), (12, 4), (6, 3)])
def test_key_heads_are_those_that_transformers_repeats(heads: int, shared: int) -> None:
    repeated = repeat_kv(torch.arange(shared).reshape(1, shared, 1, 1), heads // shared).flatten().tolist()
    grouped = GroupedHeads({("decoder", 0): (heads, shared)})
    assert [grouped.key_value_head("decoder", 0, head) for head in range(heads)] == repeated


def test_groups_are_those_of_the_shown_heads_and_of_all_layers() -> None:
    assert GROUPED.groups("decoder", [0, 1, 2], range(8)) == [(0, 3), (4, 7)]
    assert GROUPED.groups("decoder", [1], [3, 4]) == [(0, 0), (1, 1)]
    assert GROUPED.groups("decoder", [2, 3], range(8)) == []
    assert GROUPED.groups("encoder", [0], range(8)) == []
    assert GROUPED.groups("decoder", [0], ["mean"]) == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, ""),
        ({("decoder", 0): (4, 1)}, "all heads of a layer share keys and values"),
        ({("decoder", 0): (64, 16)}, "heads 0-3, 4-7, … 60-63 share keys and values"),
        ({("decoder", 0): (8, 2), ("decoder", 1): (8, 4)}, "heads share keys and values, in some layers more of them"),
    ],
)
def test_a_line_says_which_heads_share(counts: Any, said: str) -> None:
    assert GroupedHeads(counts).describe(["decoder"]).startswith(said)
    assert GroupedHeads(counts).describe(["cross"]) == ""


def brackets(figure: Figure) -> list[list[float]]:
    """Return the ends of the brackets of each axes, from left to right."""
    lines = [line for line in figure.findobj(Line2D) if line.get_gid() == BRACKET]
    return sorted([float(min(line.get_xdata())), float(max(line.get_xdata()))] for line in lines)  # type: ignore[arg-type]


def test_the_overview_has_brackets_over_heads_that_share_keys() -> None:
    places = [("decoder", layer, head) for layer, head in product(range(3), range(8))]
    made = statistics(places, sink=np.linspace(0, 1, 24))
    figure = overview.draw(made, kinds=KINDS)
    assert np.floor(brackets(figure)).tolist() == [[0, 3], [4, 7]]
    assert BRACKET_NOTE in words(figure)
    assert not faults(figure)
    assert not brackets(overview.draw(made))


def test_the_page_of_all_heads_has_brackets_and_a_layer_has_names() -> None:
    maps = attention(3, heads=(8, 8, 8), kind="decoder", causal=True)
    figure = grid.draw(maps, kinds=KINDS)
    assert len(brackets(figure)) == 2
    assert any(BRACKET_NOTE in line for line in words(figure))
    assert not faults(figure)
    assert {"head 3 (key head 0)", "head 4 (key head 1)"} <= words(grid.draw(maps.sel(layer=1), kinds=KINDS))
    assert not brackets(grid.draw(maps))


def test_tables_of_a_grouped_model_end_with_the_key_head(run_cli: Callable[..., Any]) -> None:
    done = run_cli("stats", *TEXT, "--metric", "sink", "--save-maps", "-o", "here")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert list(rows[0])[-1] == "key_value_head"
    assert [int(row["key_value_head"]) for row in rows] == [0, 0, 0, 0, 1, 1, 1, 1] * 3
    document = json.loads(Path("here/stats.json").read_text())
    assert [head["key_value_head"] for head in document["heads"]] == [0, 0, 0, 0, 1, 1, 1, 1] * 3
    grouped = [{"kind": "decoder", "layers": [0, 1, 2], "heads": 8, "key_value_heads": 2}]
    assert document["run"]["grouped_heads"] == grouped
    again = run_cli("stats", "--from", "here", "--metric", "sink", "--head", "3,4", "--layer", "1")
    assert [row.rpartition(",")[2] for row in again.out.splitlines()] == ["key_value_head", "0", "1"]
    alone = run_cli("stats", "-t", "One.", "--metric", "sink", "--json")
    assert "key_value_head" not in alone.out
    assert "grouped_heads" not in alone.out
    assert "2 key/value heads: heads 0-3 and 4-7 share keys and values" in run_cli("info", "-m", "demo:decoder").out


def test_the_table_of_find_has_the_key_head_of_each_row() -> None:
    columns = {
        "kind": np.array(["decoder", "decoder"], dtype=object),
        "layer": np.array([1, 0]),
        "head": np.array([5, 2]),
        **{name: np.array([0.5, 0.25]) for name in ("weight", "weight_uniform", "weight_positional", "rank", "keys")},
        "top": np.array(["a", "b"], dtype=object),
        "top_weight": np.ones(2),
        "top_share": np.ones(2),
    }
    result: Any = SimpleNamespace(table=lambda: columns, std=None, title="'x' to 'y'", advice="try it")
    found: RankedHeads = result
    table = heads_table(found, KINDS)
    shown = {re.sub(r"\s+", " ", str(column.header)): [str(cell) for cell in column.cells] for column in table.columns}
    assert shown["key head"] == ["1", "0"]
    assert "key head: heads 0-3 and 4-7 share keys and values" in str(table.caption)
    assert "key\nhead" not in [str(column.header) for column in heads_table(found).columns]
