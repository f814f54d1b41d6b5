"""`import attncli`: what the contract shows, and that it costs nothing before it is used."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forking import ForkServer
from transformers import AutoModel, AutoTokenizer

import attncli
from attncli import UsageError

TEXT = "The animal didn't cross the street because it was too tired."


@pytest.fixture(scope="module")
def real(minilm: Path) -> attncli.Model:
    return attncli.load(str(minilm))


@pytest.fixture(scope="module")
def run(real: attncli.Model) -> attncli.Run:
    return real.run(TEXT)


def fresh(code: str, python: str = sys.executable) -> str:
    done = subprocess.run([python, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, attncli; print(dir(attncli) and sorted({n.partition('.')[0] for n in sys.modules}))"
    assert not {"torch", "transformers", "numpy", "matplotlib", "pandas", "typer", "rich"} & set(eval(fresh(code)))


def test_every_public_name_is_there() -> None:
    assert set(attncli.__all__) <= set(dir(attncli))
    assert all(getattr(attncli, name) is not None for name in attncli.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = attncli.nothing  # type: ignore[attr-defined]


def test_no_module_hides_a_public_name(forks: ForkServer) -> None:
    code = """
import sys
for first in ("load", "Model", "capturing", "api.model"):
    for name in [name for name in sys.modules if name.partition(".")[0] == "attncli"]:
        del sys.modules[name]
    import attncli, attncli.capturing, attncli.api.model
    eval(f"attncli.{first}")
    print(callable(attncli.capture))
"""
    assert fresh(code, forks.python) == "True\n" * 4


def test_head_3_1_shows_it_at_animal(run: attncli.Run) -> None:
    attention = run.attention("encoder").sel(layer=3, head=1)
    weights, pieces = attention.values, attention.queries.pieces
    assert (weights.dtype, weights.shape) == (np.float32, (len(pieces), len(pieces)))
    assert pieces[int(weights[pieces.index("it")].argmax())] == "animal"
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1


def test_statistics_have_one_row_per_head(run: attncli.Run) -> None:
    frame = run.stats().to_frame()
    assert len(frame) == 72
    assert list(frame.columns[:5]) == ["kind", "layer", "head", "texts", "queries"]
    assert list(run.stats(["sink", "entropy"]).to_frame().columns[5:]) == ["sink", "entropy"]
    tokens = run.stats("entropy", per_query=True).tokens_frame()
    assert len(tokens) == 72 * len(run.inputs[0].source)
    with pytest.raises(UsageError, match="unknown metric 'entrpy': did you mean 'entropy'"):
        run.stats("entrpy")


def test_measuring_in_the_pass_and_afterwards_agree(real: attncli.Model, run: attncli.Run) -> None:
    in_pass = real.run(TEXT, metrics="all", keep_maps=False)
    assert in_pass.maps == ()
    one, other = in_pass.stats().to_frame(), run.stats().to_frame()
    assert one.equals(in_pass.stats().to_frame())
    for name in one.columns[5:]:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert in_pass.stats(per_query=True)["entropy"].values == pytest.approx(one["entropy"].to_numpy())
    with pytest.raises(UsageError, match="no maps were kept"):
        in_pass.attention()


def test_pictures_are_figures(run: attncli.Run) -> None:
    for options, title in (
        ({"layer": 3, "head": 1}, "layer 3 · head 1"),
        ({"layer": 3}, "layer 3"),
        ({"head": 1}, "6 layers · head 1"),
        ({"log": True}, "6 layers x 12 heads"),
    ):
        figure = run.heatmap(**options)  # type: ignore[arg-type]
        assert any(title in text.get_text() for text in figure.findobj() if hasattr(text, "get_text")), title
    with pytest.raises(UsageError, match="layer 6 does not exist"):
        run.heatmap(layer=6)


def test_a_run_is_saved_and_opened(run: attncli.Run, tmp_path: Path) -> None:
    place = run.save(tmp_path / "demo")
    again = attncli.open(place)
    assert again.inputs[0].source.pieces == run.inputs[0].source.pieces
    assert again.info == run.info
    np.testing.assert_array_equal(again.attention().stack(), run.attention().stack())
    assert again.stats().to_frame().equals(run.stats().to_frame())
    assert run.save(place) == place
    other = attncli.load("demo:encoder").run("Another text.")
    with pytest.raises(attncli.OutputError, match="contains another run"):
        other.save(place)
    other.save(place, force=True, format="npz", layout="query,key,head")
    assert attncli.open(place).info.model == "demo:encoder"


def test_maps_from_elsewhere_are_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", np.full((2, 3, 3), 1 / 3, np.float32))
    (tmp_path / "labels.json").write_text(json.dumps(["age", "height", "weight"]))
    run = attncli.open(tmp_path / "maps.npy", labels=tmp_path / "labels.json")
    assert run.attention().queries.pieces == ("age", "height", "weight")
    assert run.stats("entropy")["entropy"].values == pytest.approx([np.log(3)] * 2)


def test_several_texts_in_any_batching_are_what_each_is_alone(real: attncli.Model) -> None:
    texts = ["one two three", "a much longer text than the first one", "four five six"]
    together = real.run(texts, metrics=["entropy"])
    assert [attention.text for attention in together.maps] == [0, 1, 2]
    for index, text in enumerate(texts):
        alone = real.run(text).attention()
        np.testing.assert_allclose(together.attention(text=index).stack(), alone.stack(), atol=1e-5)
    mean = together.stats().to_frame()["entropy"]
    each = [real.run(text, metrics="entropy").stats().to_frame()["entropy"] for text in texts]
    np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-5)


def test_options_choose_and_combine() -> None:
    model = attncli.load("demo:seq2seq")
    run = model.run("one two", target="eno owt", kind=["cross", "decoder"], layer=-1, head=[0, 2])
    assert [attention.kind for attention in run.maps] == ["decoder", "cross"]
    assert [layer.heads for attention in run.maps for layer in attention.layers] == [(0, 2), (0, 2)]
    with pytest.raises(UsageError, match="several kinds of attention: say which of decoder, cross"):
        run.attention()
    with pytest.raises(UsageError, match="no maps of kind 'encoder'"):
        run.attention("encoder")
    combined = model.run("one two", aggregate="mean", aggregate_layers="mean", words=True, special="drop")
    assert [len(attention.layers) for attention in combined.maps] == [1, 1, 1]
    assert all(attention.words and attention.dropped_special for attention in combined.maps)
    with pytest.raises(UsageError, match="unknown option 'layers': did you mean 'layer'"):
        model.run("one", layers=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="the run would return nothing"):
        model.run("one", keep_maps=False)


def test_a_pair_and_special_texts() -> None:
    model = attncli.load()
    run = model.run(attncli.Text("one", pair="two"))
    assert run.inputs[0].source.segments.count("b") == 1
    assert model.run("one", pair="two").inputs[0].source.pieces == run.inputs[0].source.pieces
    for empty in ([], "", ["a", " "]):
        with pytest.raises(UsageError):
            model.run(empty)


# ------------------------------------------------------------------------------------------- capture


@pytest.fixture
def held(minilm: Path) -> tuple[Any, Any]:
    return AutoModel.from_pretrained(minilm, attn_implementation="sdpa").train(), AutoTokenizer.from_pretrained(minilm)


def test_a_model_that_the_user_holds_is_captured_and_left_as_found(held: tuple[Any, Any], run: attncli.Run) -> None:
    model, tokenizer = held
    found = attncli.capture(model.eval(), tokenizer(TEXT, return_tensors="pt"), tokenizer)
    np.testing.assert_allclose(found.attention().stack(), run.attention().stack(), atol=1e-5)
    assert found.inputs[0].source.pieces == run.inputs[0].source.pieces
    assert model.config._attn_implementation == "sdpa"
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    attncli.capture(model, tokenizer(TEXT, return_tensors="pt"), layer=0, metrics="entropy", keep_maps=False)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_unequal_lengths_need_a_mask_and_padding_does_not_count(held: tuple[Any, Any], real: attncli.Model) -> None:
    model, tokenizer = held
    texts = ["one", "one two three four"]
    found = attncli.capture(model.eval(), tokenizer(texts, padding=True, return_tensors="pt"), tokenizer)
    for index, text in enumerate(texts):
        alone = real.run(text).attention().stack()
        np.testing.assert_allclose(found.attention(text=index).stack(), alone, atol=1e-5)


def test_a_model_is_left_as_found_also_on_error(held: tuple[Any, Any]) -> None:
    model, tokenizer = held
    inputs = dict(tokenizer(TEXT, return_tensors="pt"))
    inputs["input_ids"] = inputs["input_ids"] + 10**6
    with pytest.raises(attncli.ModelError):
        attncli.capture(model, inputs, tokenizer)
    assert model.config._attn_implementation == "sdpa"
    assert model.training
    assert torch.isfinite(model(**tokenizer(TEXT, return_tensors="pt")).last_hidden_state).all()
    with pytest.raises(UsageError, match="expected a Transformers model"):
        attncli.capture("bert", inputs)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="are encoded already"):
        attncli.capture(model, inputs, max_tokens=3)


# ---------------------------------------------------------------------------------------- long texts

STORY = " ".join(f"Animal {number} crossed the street." for number in range(110))


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder")


def naive_cells(weights: np.ndarray[Any, Any], cell: int) -> np.ndarray[Any, Any]:
    """The mean of each cell of a causal map over its lower triangle, in float64."""
    n = len(weights)
    sees = np.tri(n, dtype=bool)
    count = -(-n // cell)
    found = np.full((count, count), np.nan)
    for row in range(count):
        for column in range(row + 1):
            place = slice(row * cell, (row + 1) * cell), slice(column * cell, (column + 1) * cell)
            found[row, column] = weights[place].astype(np.float64)[sees[place]].mean()
    return found


def test_pooled_and_windowed_runs_are_those_of_the_eager_maps(decoder: attncli.Model) -> None:
    text = STORY[:1500]
    whole = decoder.run(text, layer=1, capture="eager").attention()
    weights = whole.layers[0].weights
    pooled = decoder.run(text, layer=1, resolution=50).attention()
    maps, cell = pooled.layers[0], pooled.cell[0]
    assert (pooled.pool, cell) == ("mean", -(-len(whole.queries) // 50))
    assert maps.visible is not None
    for head in range(8):
        expected = naive_cells(weights[head], cell)
        np.testing.assert_array_equal(maps.visible[0], ~np.isnan(expected))
        np.testing.assert_allclose(maps.weights[head][maps.visible[0]], expected[maps.visible[0]], rtol=2e-4, atol=1e-7)
    window = decoder.run(text, layer=1, rows="100-180", keys=(-200, -1)).attention()
    keys = len(whole.keys)
    np.testing.assert_allclose(window.layers[0].weights, weights[:, 100:181, keys - 200 :], atol=1e-6)
    assert window.window == ((100, 180), (keys - 200, keys - 1))
    frame = window.sel(head=0).to_frame()
    assert (frame["query"].iloc[0], frame["key"].iloc[0]) == (100, keys - 200)
    assert frame["query_token"].iloc[0] == whole.queries.pieces[100]
    assert pooled.sel(head=0).to_frame()["key"].iloc[:3].tolist() == [0, cell, 2 * cell]


def test_pooled_runs_are_saved_opened_and_drawn(decoder: attncli.Model, tmp_path: Path) -> None:
    run = decoder.run(STORY[:900], layer=0, resolution=40, rows=(10, 200), metrics=["entropy"])
    again = attncli.open(run.save(tmp_path / "pooled"))
    one, two = run.attention(), again.attention()
    assert (one.window, one.pool, one.cell) == (two.window, two.pool, two.cell)
    assert one.queries.pieces == two.queries.pieces
    assert again.heatmap(layer=0, head=1).axes
    assert run.stats("entropy")["entropy"].values == pytest.approx(
        decoder.run(STORY[:900], layer=0).stats("entropy")["entropy"].values
    )
    for measure in (lambda: again.stats("sink"), lambda: again.edges(top_k=2), again.profile):
        with pytest.raises(UsageError, match="measures need full maps"):
            measure()
    with pytest.raises(UsageError, match="pooled already"):
        again.heatmap(rows=3)


def test_edges_and_profiles_are_of_whole_texts_beside_pooled_maps_of_many(decoder: attncli.Model) -> None:
    texts = [STORY[:length] for length in (90, 300, 90, 20)]
    run = decoder.run(texts, resolution=16, top_k=2, profile=True, ends=3, keep_maps=True)
    assert [attention.whole for attention in run.maps] == [False, False, False, True]
    found, whole = run.edges().to_frame(), decoder.run(texts)
    expected = whole.edges(top_k=2).to_frame()
    assert len(found) == len(expected)
    assert found[["text", "query", "query_token"]].equals(expected[["text", "query", "query_token"]])
    assert found["weight"].to_numpy() == pytest.approx(expected["weight"].to_numpy(), abs=1e-5)
    for one, other in zip(run.profile().received, whole.profile(ends=3).received, strict=True):
        assert (one.text, one.keys.pieces) == (other.text, other.keys.pieces)
        assert one.values == pytest.approx(other.values, abs=1e-5)


def test_a_run_that_kept_whole_maps_is_drawn_in_any_part(decoder: attncli.Model) -> None:
    run = decoder.run(STORY[:400], layer=0)
    for options in ({}, {"resolution": 30, "pool": "max"}, {"rows": "5-80", "keys": 7}, {"log": True}):
        assert run.heatmap(layer=0, head=1, **options).axes  # type: ignore[arg-type]
    with pytest.raises(UsageError, match='rows="5-8000" is outside'):
        run.heatmap(rows="5-8000")


def test_kept_memory_of_a_pooled_run_grows_no_faster_than_the_text(decoder: attncli.Model) -> None:
    def peak(text: str, **options: Any) -> float:
        tracemalloc.start()
        decoder.run(text, layer=0, head=0, **options).keep()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return float(found)

    short, long = STORY[:600], STORY[:2400]
    peak(short)
    assert peak(long, resolution=64) < 5 * peak(short, resolution=64)
    assert peak(long) > 5 * peak(long, resolution=64)
