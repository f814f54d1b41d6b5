"""`model.find`, `run.find` and `attention.sel(query=…, key=…)`: on a real model, against eager weights in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive_find import naive_find
from transformers import AutoModel

import attncli
from attncli.data import Kind
from attncli.errors import UsageError

TEXT = "The animal didn't cross the street because it was too tired."
CAT = "The cat sat on the mat because it was warm."


@pytest.fixture(scope="module")
def run(minilm: Path) -> attncli.Run:
    return attncli.load(str(minilm)).run(TEXT)


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder")


def eager(folder: Path, run: attncli.Run, text: int = 0) -> Any:
    """Return what the model gives for the tokens of a run, by eager attention in float64 of Transformers."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64).eval()
    encoded = run.inputs[text]
    tensors = {"input_ids": torch.tensor(encoded.source.ids)[None]}
    if encoded.target is not None:
        tensors["decoder_input_ids"] = torch.tensor(encoded.target.ids)[None]
    with torch.no_grad():
        return model(**tensors, output_attentions=True)


def assert_equal_to(table: dict[str, Any], kind: Kind, layers: Any, rows: list[int], keys: list[int]) -> None:
    """Assert that each row of a table has the numbers of loops over eager weights [1, head, query, key] by layer."""
    of_kind = np.flatnonzero(table["kind"] == kind)
    assert len(of_kind) == sum(layer.shape[1] for layer in layers)
    for row in of_kind:
        weights = layers[table["layer"][row]][0, table["head"][row]].tolist()
        causal = kind == "decoder"
        visible = [[not causal or key <= query for key in range(len(weights[0]))] for query in range(len(weights))]
        numbers = naive_find(weights, visible, rows, keys)
        for name in numbers if kind != "cross" else numbers.keys() - {"weight_positional"}:
            np.testing.assert_allclose(table[name][row], numbers[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_in_minilm_head_3_1_is_the_first_from_it_to_the_animal(run: attncli.Run, minilm: Path) -> None:
    result = run.find(query="it", key="animal")
    best = result.best
    assert (best["layer"], best["head"], round(best["weight"], 2)) == (3, 1, 0.68)
    assert (best["rank"], best["keys"], best["top"], round(best["weight_uniform"], 4)) == (1, 16, "animal", 0.0625)
    assert result.searched == 72
    assert repr(result).startswith("RankedHeads, 'it' to 'animal': 72 heads, 1 text\n  3.1 is the best of 72 heads")
    assert "3.1 is the best of 72 heads that were searched: try it on other texts" in result.advice
    assert_equal_to(result.table(), "encoder", eager(minilm, run).attentions, [10], [2])


def test_the_model_gives_the_numbers_of_the_run_without_keeping_maps(run: attncli.Run, minilm: Path) -> None:
    streamed, kept = attncli.load(str(minilm)).find(TEXT, "it", "animal").table(), run.find("it", "animal").table()
    assert streamed["head"].tolist() == kept["head"].tolist()
    for name in ("weight", "weight_positional", "rank", "top_weight"):
        np.testing.assert_allclose(streamed[name], kept[name], rtol=1e-5)


def positions(pieces: tuple[str, ...], word: str) -> list[int]:
    """Return the positions of the pieces that a word of the text has."""
    start, ends = "".join(pieces).index(word), np.cumsum([len(piece) for piece in pieces]).tolist()
    return [n for n, end in enumerate(ends) if start < end and end - len(pieces[n]) < start + len(word)]


def test_in_a_decoder_words_of_several_tokens(decoder: attncli.Model, demo_dirs: dict[str, Path]) -> None:
    run = decoder.run(CAT)
    pieces = run.inputs[0].source.pieces
    rows, keys = positions(pieces, "warm"), positions(pieces, "cat")
    assert len(rows) > 1
    attentions = eager(demo_dirs["decoder"], run).attentions
    assert_equal_to(decoder.find(CAT, "warm", "cat").table(), "decoder", attentions, rows, keys)


def test_cross_attention_from_the_target_to_the_source(demo_dirs: dict[str, Path]) -> None:
    model = attncli.load("demo:seq2seq")
    texts = {"text": "one two three", "target": "eerht owt eno"}
    run = model.run(**texts)
    result = model.find(**texts, query="eno", key="one")
    assert set(result.table()["kind"]) == {"cross"}
    source, target = run.inputs[0].sides("cross")[::-1]
    rows, keys = positions(target.pieces, "eno"), positions(source.pieces, "one")
    weights = eager(demo_dirs["seq2seq"], run).cross_attentions
    assert_equal_to(result.table(), "cross", weights, rows, keys)
    assert np.isnan(result["weight_positional"].values).all()


def test_written_tokens_are_read_by_the_rows_that_predict_them() -> None:
    run = attncli.load("demo:decoder", head="causal-lm").run("Once upon a time", generate=5)
    n = len(run.inputs[0].source)
    result = run.find("generated", "time")
    assert (result.row.rows, result.rows_as) == (tuple(range(n - 6, n - 1)), {"decoder": "predicted"})
    assert result.title == "the rows that predict 'generated' to 'time'"
    of_input = run.find("generated", "time", rows_as="input")
    assert of_input.row.rows == tuple(range(n - 5, n))
    same = run.find(f"{n - 6}-{n - 2}", "time").table()
    np.testing.assert_array_equal(same["weight"], result.table()["weight"])


def test_segments_of_spans_have_the_mass_of_segments(run: attncli.Run) -> None:
    spans = {"first": ["The animal didn't cross"], "doc2": ["it was too tired"]}
    found = run.find("doc2", "first", spans=spans).table()
    segments = run.segments(spans=spans).table()
    of_pair = (segments["from"] == "doc2") & (segments["to"] == "first")
    mass = {
        (segments["layer"][row], segments["head"][row]): (segments["mass"][row], segments["uniform_mass"][row])
        for row in np.flatnonzero(of_pair)
    }
    for row, head in enumerate(zip(found["layer"], found["head"], strict=True)):
        assert (found["weight"][row], found["weight_uniform"][row]) == pytest.approx(mass[head], rel=1e-5)


def test_over_several_texts_a_mean_a_count_and_a_deviation(minilm: Path) -> None:
    model = attncli.load(str(minilm))
    texts = [TEXT, "An animal is here and it is old.", "nothing of it"]
    several = model.find(texts, "it", "animal")
    single = [model.find(text, "it", "animal").table() for text in texts[:2]]
    by_head = [
        dict(zip(zip(table["layer"], table["head"], strict=True), table["weight"], strict=True)) for table in single
    ]
    table = several.table()
    for row, head in enumerate(zip(table["layer"], table["head"], strict=True)):
        weights = [of_text[head] for of_text in by_head]
        assert (table["weight"][row], table["weight_std"][row], table["texts"][row]) == pytest.approx(
            (np.mean(weights), np.std(weights), 2), rel=1e-5
        )
    assert several.leave_one_out is not None
    best = [max(of_text, key=of_text.__getitem__) for of_text in by_head]
    assert several.leave_one_out.weight == pytest.approx((by_head[0][best[1]] + by_head[1][best[0]]) / 2, rel=1e-5)


def test_selection_by_tokens_gives_weights(run: attncli.Run) -> None:
    attention = run.attention()
    weight = attention.sel(layer=3, head=1, query="it", key="animal")
    assert isinstance(weight, float)
    assert weight == pytest.approx(run.find("it", "animal").best["weight"], rel=1e-6)
    every = attention.sel(query="it", key="animal")
    assert every.shape == (6, 12)
    assert np.unravel_index(every.argmax(), every.shape) == (3, 1)
    maps = attention.sel(layer=3, head=1).values
    np.testing.assert_allclose(attention.sel(layer=3, head=1, query="it"), maps[10])
    np.testing.assert_allclose(attention.sel(layer=3, head=1, key="didn't"), maps[:, 3:6].sum(1), rtol=1e-6)
    np.testing.assert_allclose(attention.sel(layer=3, head=-11, query="2-3", key=-1), maps[2:4, 15].mean(), rtol=1e-6)
    assert attention.sel(layer=3, head=1).values.shape == (16, 16)


def test_selection_by_tokens_in_a_decoder_is_that_of_find(decoder: attncli.Model) -> None:
    run = decoder.run("It was the cat and it was warm.")
    attention, result = run.attention(), run.find("was", "cat")
    weights = attention.sel(query="was", key="cat")  # the first was comes before the cat
    table = result.table()
    np.testing.assert_allclose(weights[table["layer"], table["head"]], table["weight"], rtol=1e-5)
    with pytest.raises(UsageError, match="'dog' does not occur in the text"):
        attention.sel(query="dog")
    cut = decoder.run("It was the cat.", rows="0-2").attention()
    with pytest.raises(UsageError, match="tokens can only be found in full maps"):
        cut.sel(query="It")


def test_find_needs_single_heads_and_weights(run: attncli.Run, decoder: attncli.Model) -> None:
    with pytest.raises(UsageError, match="find ranks single heads"):
        decoder.find(CAT, "it", "cat", aggregate="mean")
    with pytest.raises(UsageError, match="find ranks attention weights"):
        decoder.find(CAT, "it", "cat", by="norm")
    with pytest.raises(UsageError, match="rows_as predicted needs a decoder"):
        run.find("it", "animal", rows_as="predicted")


def test_written_tokens_have_the_retrieval_score_that_segments_gives_them() -> None:
    run = attncli.load("demo:decoder", head="auto-lm").run("abc abc abc abc abc abc", generate=8)
    found = run.find("generated", "prompt").to_frame().set_index(["layer", "head"])
    table = run.segments(query="generated", key="prompt").to_frame().set_index(["layer", "head"])
    names = ["retrieval", "retrieval_uniform", "retrieval_positional", "retrieval_most", "written"]
    assert list(found.columns[-5:]) == names
    assert found["retrieval"].max() > 0
    for name in names:
        np.testing.assert_allclose(found[name].sort_index(), table[name].sort_index())
    assert "retrieval" not in run.find("generated", "prompt", rows_as="input").scores
    assert "retrieval" not in run.find("-1", "prompt").scores
