"""`import attncli`: what the contract shows, and that it costs nothing before it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
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


@pytest.mark.parametrize("first", ["attncli.load", "attncli.Model", "attncli.capturing", "attncli.pipeline.model"])
def test_no_room_hides_a_public_name(first: str) -> None:
    code = f"import attncli, attncli.capturing, attncli.pipeline.model; {first}; print(callable(attncli.capture))"
    assert fresh(code) == "True\n"


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
    with pytest.raises(UsageError, match="kept neither maps nor these statistics"):
        in_pass.stats(per_query=True)
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
    with pytest.raises(attncli.OutputError, match="holds another run"):
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


def test_options_choose_and_fold() -> None:
    model = attncli.load("demo:seq2seq")
    run = model.run("one two", target="eno owt", kind=["cross", "decoder"], layer=-1, head=[0, 2])
    assert [attention.kind for attention in run.maps] == ["decoder", "cross"]
    assert [layer.heads for attention in run.maps for layer in attention.layers] == [(0, 2), (0, 2)]
    with pytest.raises(UsageError, match="several kinds of attention: say which of decoder, cross"):
        run.attention()
    with pytest.raises(UsageError, match="no maps of kind 'encoder'"):
        run.attention("encoder")
    folded = model.run("one two", aggregate="mean", aggregate_layers="mean", words=True, special="drop")
    assert [len(attention.layers) for attention in folded.maps] == [1, 1, 1]
    assert all(attention.words and attention.dropped_special for attention in folded.maps)
    with pytest.raises(UsageError, match="unknown option 'layers': did you mean 'layer'"):
        model.run("one", layers=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="the run would bring nothing"):
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
        attncli.capture(torch.nn.Linear(2, 2), inputs)
    with pytest.raises(UsageError, match="are encoded already"):
        attncli.capture(model, inputs, max_tokens=3)
