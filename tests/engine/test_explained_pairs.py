"""The similarity of two texts and zero-shot labels: equal to the model called by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import attncli
from attncli.data import Text
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import prepare_explained
from attncli.engine.explained_similarity import Similarity, embedding
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.engine.text_units import TextUnit
from attncli.errors import ModelError, UsageError
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.faithfulness.removal import TextRemover
from attncli.studies.faithfulness.text import staying_tokens

TEXT, OTHER = "A man is eating bread.", "Someone eats food."
Tensor = torch.Tensor


@pytest.fixture(scope="module")
def model(minilm: Path) -> attncli.Model:
    return attncli.load(str(minilm))


@pytest.fixture(scope="module")
def nli() -> attncli.Model:
    torch.manual_seed(0)
    tokenizer = attncli.load("demo:encoder").loaded.tokenizer
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    labels = dict(enumerate(("CONTRADICTION", "NEUTRAL", "ENTAILMENT")))
    config = BertConfig(vocab_size=len(tokenizer), **sizes, id2label=labels)
    return attncli.load(BertForSequenceClassification(config).eval(), tokenizer=tokenizer)


@torch.no_grad()
def similarities(model: attncli.Model, ids: Tensor, mask: Tensor) -> np.ndarray[Any, Any]:
    """Return the cosines of the mean vectors of texts and of `OTHER`."""
    other = torch.tensor([model.loaded.tokenizer(OTHER)["input_ids"]])
    states = model.loaded.model(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1)
    of_other = model.loaded.model(input_ids=other).last_hidden_state.mean(1)
    return torch.cosine_similarity(states, of_other).numpy()


def test_the_similarity_and_its_parts_are_those_of_the_model(model: attncli.Model) -> None:
    tokenizer = model.loaded.tokenizer
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    count = ids.shape[1]
    (whole,) = similarities(model, ids, torch.ones_like(ids))
    ordinary = torch.arange(1, count - 1)
    without = ids.repeat(len(ordinary), 1)
    without[range(len(ordinary)), ordinary] = tokenizer.mask_token_id
    drops = whole - similarities(model, without, torch.ones_like(without))
    result = model.attribute(TEXT, ["occlusion", "integrated-gradients", "attention"], f"similarity:{OTHER}", steps=8)
    (output,) = result.outputs
    assert (result.score, output.name) == ("number", f"similarity to '{OTHER}'")
    assert output.score == pytest.approx(float(whole), abs=1e-5)
    np.testing.assert_allclose(result.values("occlusion")[1:-1], drops, atol=1e-5)
    change = result.methods[1].change[0]
    assert result.values("integrated-gradients").sum() == pytest.approx(change, rel=0.05)
    # attention is the mean over all rows, as all are pooled
    maps = model.run(TEXT).attention().layers
    np.testing.assert_allclose(result.values("attention"), np.mean([of.weights for of in maps], (0, 1, 2)), atol=1e-6)


def test_a_blocked_token_lowers_the_similarity_as_a_mask_does(model: attncli.Model) -> None:
    ids = torch.tensor([model.loaded.tokenizer(TEXT)["input_ids"]])
    expected = similarities(model, ids.repeat(ids.shape[1], 1), 1 - torch.eye(ids.shape[1], dtype=torch.long))
    result = model.knockout(TEXT, "similarity", pair=OTHER)
    np.testing.assert_allclose(result.table()["number"], expected, atol=1e-5)
    assert (result.explained, result.query["encoder"]) == ("similarity", tuple(range(ids.shape[1])))


def test_a_similarity_is_that_of_the_text_without_the_deleted_tokens(model: attncli.Model) -> None:
    wanted = ExplainRequest.parse(f"similarity:{OTHER}")
    prepared = prepare_explained(Runner(model.loaded), Text(TEXT), Request(), wanted)
    predictions = Predictions.of(prepared, wanted, "logit", vectors=True)
    special = predictions.text.source.special
    assert staying_tokens(predictions)["source"].tolist() == special.tolist()  # all tokens predict: they may be removed
    positions = np.flatnonzero(~special)[:3]
    units = {"source": [TextUnit("", "", (int(position),)) for position in positions]}
    remover = TextRemover(predictions, units, "mask", {}, 0, 0)  # type: ignore[arg-type]
    ids = np.array(model.loaded.tokenizer(TEXT)["input_ids"])
    without = torch.tensor(np.array([np.delete(ids, position) for position in positions]))
    expected = similarities(model, without, torch.ones_like(without))
    np.testing.assert_allclose(remover.scores("delete", np.eye(3, dtype=bool)), expected, atol=1e-5)


def test_ways_to_make_one_vector() -> None:
    states = torch.tensor([[[1.0, -2.0], [3.0, 4.0], [-1.0, 1.0]]])
    pooled = {
        "mean": [1, 1],
        "mean_sqrt_len": [3 / 3**0.5, 3 / 3**0.5],
        "max": [3, 4],
        "cls": [1, -2],
        "lasttoken": [-1, 1],
        "weightedmean": [4 / 6, 9 / 6],
    }
    for name, expected in pooled.items():
        assert embedding(states, [name])[0].tolist() == pytest.approx(expected)
    assert embedding(states, ["cls", "max"])[0].tolist() == [1, -2, 3, 4]
    assert Similarity(("cls", "lasttoken"), torch.ones(4)).reads(3) == (0, 2)
    assert Similarity(("cls",), torch.tensor([0.0, 1.0])).cosine(states).item() == pytest.approx(-2 / 5**0.5)


def test_the_folder_says_how_tokens_are_pooled(minilm: Path, tmp_path: Path) -> None:
    folder = Path(
        shutil.copytree(minilm, tmp_path / "cls", copy_function=lambda source, to: Path(to).symlink_to(source))
    )
    pooling, modules = folder / "1_Pooling" / "config.json", folder / "modules.json"
    settings, listed = pooling.read_text(), modules.read_text()
    pooling.unlink()
    pooling.write_text(settings.replace("false", "true", 1).replace('mean_tokens": true', 'mean_tokens": false'))
    loaded = attncli.load(str(folder))
    states = loaded.loaded.model(**loaded.loaded.tokenizer([TEXT, OTHER], return_tensors="pt", padding=True))
    expected = torch.cosine_similarity(*states.last_hidden_state[:, 0].unbind(), dim=0).item()
    result = loaded.attribute(TEXT, "attention", f"similarity:{OTHER}")
    assert (result.outputs[0].score, result.outputs[0].rows) == (pytest.approx(expected, abs=1e-5), (0,))
    modules.unlink()
    modules.write_text(listed.replace("models.Normalize", "models.Dense"))
    with pytest.raises(ModelError, match="changes embeddings by a module Dense, which attncli does not compute"):
        attncli.load(str(folder)).attribute(TEXT, "attention", f"similarity:{OTHER}")


def test_what_has_no_similarity_is_refused(model: attncli.Model, nli: attncli.Model) -> None:
    with pytest.raises(UsageError, match=r"give it as --pair, or as similarity:TEXT"):
        model.attribute(TEXT, "attention", "similarity")
    with pytest.raises(ModelError, match="an encoder and a decoder"):
        attncli.load("demo:seq2seq").attribute("the cat", "attention", "similarity:dog")
    with pytest.raises(ModelError, match="returns no hidden states"):
        nli.attribute("the cat", "attention", "similarity:dog")


def test_a_zero_shot_label_is_the_entailment_of_a_hypothesis(nli: attncli.Model) -> None:
    result = nli.attribute("the cat sat .", "occlusion", "zero-shot:an animal")
    by_hand = nli.attribute("the cat sat .", "occlusion", "label:ENTAILMENT", pair="This example is an animal.")
    assert (result.outputs[0].name, result.explain) == ("an animal", "zero-shot:an animal")
    assert result.outputs[0].probability == by_hand.outputs[0].probability
    np.testing.assert_array_equal(result.raw, by_hand.raw)
    with pytest.raises(UsageError, match="leave --pair out"):
        nli.attribute("the cat", "attention", "zero-shot:dog", pair="a dog")
    classifier = attncli.load("demo:classifier", head="auto-head")
    with pytest.raises(ModelError, match=r"has the labels animal, food, tool"):
        classifier.attribute("the cat", "attention", "zero-shot:dog")
    with pytest.raises(ModelError, match="is no classifier of texts"):
        attncli.load("demo:decoder", head="causal-lm").knockout("the cat", "zero-shot:dog")
