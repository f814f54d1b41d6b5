"""Two runs beside each other: nothing changes where they are the same, and what does is what their maps say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.data import LayerMaps
from attncli.errors import UsageError

TEXTS = ["One.", "Two cats.", "Three dogs ran.", "Four.", "Five of them.", "And six more."]


def rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*(each.tolist() for each in table.values()), strict=True)]


@pytest.mark.parametrize("options", [{}, {"words": True, "special": "drop"}, {"aggregate": "mean"}, {"layer": 1}])
def test_a_run_beside_itself_changes_nothing(options: dict[str, Any]) -> None:
    run = attncli.load("demo:encoder").run(TEXTS, **options)
    found = attncli.compare(run, run)
    assert (found["js_distance"].values == 0).all()
    change = found["change"].values
    assert (change[~np.isnan(change)] == 0).all()
    assert {value for value in found["p_adjusted"].values.tolist() if value == value} == {1.0}
    assert {value for value in found["effect"].values.tolist() if value == value} == {0.0}
    assert all("special tokens took" in note for note in found.notes)


def made(run: attncli.Run, first: Any) -> attncli.Run:
    """The same run in which every row of layer 0, head 0 is this row."""
    maps = []
    for attention in run.maps:
        layer = attention.layers[0]
        weights = np.array(layer.weights)
        weights[0] = 0
        weights[0, :, : len(first)] = first
        maps.append(
            replace(attention, layers=(LayerMaps(0, layer.heads, weights, layer.visible), *attention.layers[1:]))
        )
    return replace(run, maps=tuple(maps), statistics=None)


def test_a_head_that_was_changed_comes_first_with_its_known_distance() -> None:
    run = attncli.load("demo:encoder").run(TEXTS)
    a, b = made(run, [1, 0]), made(run, [0, 1])
    found = attncli.compare(a, b)
    first, *others = rows(found.table())
    assert (first["layer"], first["head"], first["texts"]) == (0, 0, 6)
    assert first["js_distance"] == pytest.approx(math.sqrt(math.log(2)))
    assert first["js_low"] == first["js_high"] == pytest.approx(math.sqrt(math.log(2)))
    assert {row["js_distance"] for row in others} == {0}
    measures = rows(found.measures_table())
    moved = {row["metric"]: row for row in measures if row["layer"] == row["head"] == 0}
    assert (moved["first_mass"]["a"], moved["first_mass"]["b"], moved["first_mass"]["change"]) == (1, 0, -1)
    assert moved["first_mass"]["p"] == 2 / 64
    assert moved["first_mass"]["p_adjusted"] == pytest.approx(2 / 64 * 16)
    assert (measures[0]["layer"], measures[0]["head"]) == (0, 0)
    assert all(row["change"] in (0, None) or row["change"] != row["change"] for row in measures if row["layer"])
    half = attncli.compare(a, made(run, [0.5, 0.5]))
    known = 0.75 * math.log(4 / 3) + 0.25 * math.log(4) - math.log(2) / 2
    assert half.table()["js_distance"][0] == pytest.approx(math.sqrt(known))


def test_the_baseline_is_the_nearest_other_head_of_the_layer() -> None:
    run = attncli.load("demo:encoder").run(TEXTS[:1])
    found = rows(attncli.compare(run, run).table())
    weights = run.attention().layers[2].weights
    from attncli.studies.compare.map_distance import js_distance

    expected = min(js_distance(weights[1], weights[other]) for other in (0, 2, 3))
    (own,) = [row["nearest_distance"] for row in found if (row["layer"], row["head"]) == (2, 1)]
    assert own == pytest.approx(expected)
    single = attncli.load("demo:encoder").run(TEXTS[:1], head=0)
    assert np.isnan(attncli.compare(single, single)["nearest_distance"].values).all()


def test_rounding_minilm_to_bfloat16_changes_all_heads_and_none_much(minilm: Path) -> None:
    runs = [attncli.load(str(minilm), dtype=dtype).run(TEXTS) for dtype in ("float32", "bfloat16")]
    found = attncli.compare(*runs)
    distance = found["js_distance"].values
    assert ((distance > 0) & (distance < 0.02)).all()
    assert (distance < found["nearest_distance"].values / 10).all()
    assert np.nanmax(np.abs(found["effect"].values)) < 0.3
    assert ((found["js_low"].values <= distance) & (distance <= found["js_high"].values)).all()


def test_texts_of_one_length_are_laid_over_each_other() -> None:
    model = attncli.load("demo:encoder")
    a, b = model.run("The cat sat.", words=True), model.run("The dog ran.", words=True)
    found = attncli.compare(a, b)
    assert found.notes[0] == "the texts differ: their maps are compared position by position"
    assert (found["js_distance"].values > 0).all()
    unlike = attncli.compare(a, model.run("The dog ran off.", words=True))
    assert np.isnan(unlike["js_distance"].values).all()
    assert "text 0, encoder: maps of 6 and 7 tokens cannot be compared" in unlike.notes[0]
    assert np.isfinite(unlike["change"].values).any()
    assert "1 text is too few for intervals and p-values: give at least 6" in unlike.notes
    assert np.isnan(unlike["p"].values).all()


def test_other_tokenizers_are_refused_unless_words_are_the_same(minilm: Path) -> None:
    mine, theirs = attncli.load("demo:encoder"), attncli.load(str(minilm))
    choice: Any = {"layer": "0-3", "head": "0-3"}
    text = "The tired cat unbelievably"
    with pytest.raises(UsageError, match="A and B have different tokens, 13 and 10, with 't' and 'tired' at 2"):
        attncli.compare(mine.run(text, **choice), theirs.run(text, **choice))
    found = attncli.compare(mine.run(text, words=True, **choice), theirs.run(text, words=True, **choice))
    assert (found["js_distance"].values > 0).all()


def test_what_cannot_be_compared(minilm: Path) -> None:
    encoder, decoder = attncli.load("demo:encoder"), attncli.load("demo:decoder")
    said = (
        "A has 4 encoder layers x 4 heads, B has 3 decoder layers x 8 heads, "
        "and each head is compared with the same head"
    )
    with pytest.raises(UsageError, match=said):
        attncli.compare(encoder.run("A cat"), decoder.run("A cat"))
    with pytest.raises(UsageError, match="the runs have 2 and 1 texts"):
        attncli.compare(encoder.run(["A cat", "A dog"]), encoder.run("A cat"))
    with pytest.raises(UsageError, match="kept no maps: run again with keep_maps=True"):
        attncli.compare(encoder.run("A cat"), encoder.run("A cat", keep_maps=False, metrics="entropy"))
    with pytest.raises(UsageError, match="unknown metric 'entrpy': did you mean 'entropy'"):
        attncli.compare(encoder.run("A cat"), encoder.run("A cat"), "entrpy")


def test_metrics_that_say_where_are_compared_only_by_name() -> None:
    run = attncli.load("demo:encoder").run("A cat")
    named = set(attncli.compare(run, run).measures_frame()["metric"])
    assert {"entropy", "sink"} <= named
    assert not {"sink_position", "diagonal_offset"} & named
    assert set(attncli.compare(run, run, "sink_position").measures_frame()["metric"]) == {"sink_position"}


def test_positions_have_no_mean_and_no_difference(tmp_path: Path) -> None:
    """Two heads whose offsets are -1, -1, -2 in A and -1, 0, 0 in B: a mean of -1.33 would be no offset."""
    runs = []
    for name, offsets in (("a", (-1, -1, -2)), ("b", (-1, 0, 0))):
        maps = np.stack([np.eye(9)[np.maximum(np.arange(9) + offset, 0)] for offset in offsets])
        np.save(tmp_path / f"{name}.npy", maps[:, None, None])
        runs.append(attncli.open(tmp_path / f"{name}.npy", axes="batch,layer,head,query,key"))
    statistics = runs[0].stats(["diagonal_offset", "diagonal"])
    assert statistics["diagonal_offset"].values == [-1]
    assert statistics.share["diagonal_offset"].values == pytest.approx([2 / 3])
    assert (list(statistics.std), list(statistics.share)) == (["diagonal"], ["diagonal_offset"])
    assert [*statistics.to_frame()][5:] == ["diagonal_offset", "diagonal_offset_share", "diagonal", "diagonal_std"]
    runs[0].save(tmp_path / "saved")
    assert attncli.open(tmp_path / "saved").stats("diagonal_offset").share["diagonal_offset"].values == pytest.approx(
        [2 / 3]
    )
    row = (
        attncli.compare(*runs, ["diagonal_offset", "diagonal"])
        .measures_frame()
        .set_index("metric")
        .loc["diagonal_offset"]
    )
    assert (row["a"], row["b"], row["changed"], row["texts"]) == (-1, 0, pytest.approx(2 / 3), 3)
    assert np.isnan(row[["change", "effect", "p"]].astype(float)).all()
    assert "changed" not in attncli.compare(*runs, "diagonal").measures_frame()
