"""Saved models without heads load, and compute what zeros in W_O of a hand-made copy compute."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import families
import pytest
import torch
import transformers
from families import FAMILIES

import attncli
from attncli.api.model import Model
from attncli.errors import ModelError, OutputError, UsageError
from attncli.models.pruned import load_pruned
from attncli.models.pruned_layers import PrunedLayer, cut

TEXTS = ["the animal did not cross street because it was too tired", "a dog saw a red house and a cat"]
IRREGULAR = ("bert", "roberta", "distilbert", "gpt2", "opt", "llama", "t5", "umt5", "bart")


def tiny(name: str, **changes: Any) -> Model:
    family = FAMILIES[name]
    model: Any = families.build(family)
    if changes:
        torch.manual_seed(0)
        model = type(model)(type(model.config).from_dict({**model.config.to_dict(), **changes})).eval()
    return attncli.load(model, tokenizer=families.tiny_tokenizer(family))


@torch.no_grad()
def zeroed_copy(model: Any, document: dict[str, Any], plan: Any) -> Any:
    """A copy of a model with zeros in W_O of the heads that a table calls removed."""
    copied = copy.deepcopy(model)
    projections = {(site.kind, site.layer): site for site in plan.sites}
    for row in document["heads"]:
        if row["removed"]:
            site = projections[row["kind"], row["layer"]]
            module: Any = copied.get_submodule(site.projection.name)
            columns = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
            heads = [row["head"]] if "head" in row else list(map(int, row["heads"].split()))
            columns.unflatten(1, (site.heads, -1))[:, heads] = 0
    return copied


@torch.no_grad()
def output(model: Any, name: str) -> torch.Tensor:
    return model(**families.inputs(FAMILIES[name]))["logits"]  # type: ignore[no-any-return]


def rows(result: attncli.Pruning) -> dict[str, Any]:
    table = {name: column.tolist() for name, column in result.table().items()}
    return {"heads": [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]}


@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_models(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    options: dict[str, Any] = {"target": "a red house"} if FAMILIES[name].is_encoder_decoder else {}
    texts = [attncli.Text(text, **options) for text in TEXTS]
    result = model.prune(texts, share=0.4, save=tmp_path / "cut", form="irregular")
    expected = output(zeroed_copy(model.loaded.model, rows(result), model.plan()), name)
    loaded: Any = load_pruned(str(tmp_path / "cut"))
    assert type(loaded) is type(model.loaded.model)
    torch.testing.assert_close(output(loaded, name), expected, atol=1e-5, rtol=1e-5)
    assert loaded.num_parameters() == result.saved["parameters"][1] < result.saved["parameters"][0]
    with pytest.raises(RuntimeError, match=r"size mismatch|mismatched"):
        type(loaded).from_pretrained(tmp_path / "cut")
    run = attncli.load(str(tmp_path / "cut")).run(texts[0])
    assert sum(len(layer.heads) for maps in run.maps for layer in maps.layers) < len(result.names)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "bart"])
def test_irregular_models_write_what_the_model_with_zeros_writes(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    options: dict[str, Any] = {"target": "a red house"} if FAMILIES[name].is_encoder_decoder else {}
    result = model.prune(
        [attncli.Text(text, **options) for text in TEXTS], heads=5, save=tmp_path / "cut", form="irregular"
    )
    expected: Any = zeroed_copy(model.loaded.model, rows(result), model.plan())
    ids = families.inputs(FAMILIES[name])["input_ids"]
    settings: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    written = load_pruned(str(tmp_path / "cut")).generate(ids, **settings)  # type: ignore[operator]
    assert written.tolist() == expected.generate(ids, **settings).tolist()


@pytest.mark.parametrize("name", ["t5", "mt5", "umt5"])
@pytest.mark.parametrize("module", ["decoder.block.0.layer.1.EncDecAttention", "decoder.block.0.layer.0.SelfAttention"])
def test_a_cut_layer_hands_a_position_bias_to_whole_layers(name: str, module: str) -> None:
    model: Any = tiny(name, num_decoder_layers=2).loaded.model  # generation needs as many as in the encoder
    families._sharpen(model)
    cut_model, zeroed = copy.deepcopy(model), copy.deepcopy(model)
    cut(cut_model, PrunedLayer(module, f"{module}.o", 4, 4, (1, 2)))
    with torch.no_grad():
        zeroed.get_submodule(f"{module}.o").weight.unflatten(1, (4, -1))[:, [1, 2]] = 0
    torch.testing.assert_close(output(cut_model, name), output(zeroed, name), atol=1e-5, rtol=1e-5)
    ids = families.inputs(FAMILIES[name])["input_ids"]
    settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    assert cut_model.generate(ids, **settings).tolist() == zeroed.generate(ids, **settings).tolist()


def test_groups_of_heads_are_cut_with_their_keys(tmp_path: Path) -> None:
    model = tiny("llama")
    result = model.prune(TEXTS, unit="group", heads=1, save=tmp_path / "cut", form="irregular")
    (removed,) = (row for row in rows(result)["heads"] if row["removed"])
    loaded: Any = load_pruned(str(tmp_path / "cut"))
    attention = loaded.model.layers[removed["layer"]].self_attn
    before: Any = model.loaded.model.model.layers[removed["layer"]].self_attn  # type: ignore[union-attr]
    assert attention.k_proj.out_features == before.k_proj.out_features // 2
    assert result.saved["heads_with_zeros"] == 0
    expected = output(zeroed_copy(model.loaded.model, rows(result), model.plan()), "llama")
    torch.testing.assert_close(output(loaded, "llama"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_zeroed_models_load_with_transformers_alone(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    before = {key: weight.clone() for key, weight in model.loaded.model.state_dict().items()}
    result = model.prune(TEXTS, heads=3, save=tmp_path / "zeroed")
    loaded = type(model.loaded.model).from_pretrained(tmp_path / "zeroed").eval()
    expected = output(zeroed_copy(model.loaded.model, rows(result), model.plan()), name)
    torch.testing.assert_close(output(loaded, name), expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(expected, output(model.loaded.model, name), atol=1e-2)
    assert all(torch.equal(before[key], weight) for key, weight in model.loaded.model.state_dict().items())
    assert result.saved["parameters"][0] == result.saved["parameters"][1]


def test_smaller_models_load_with_transformers_alone(tmp_path: Path) -> None:
    model = tiny("mistral")
    result = model.prune(TEXTS, share=0.5, save=tmp_path / "smaller", form="smaller")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "smaller")
    before = model.loaded.model.config
    assert config.num_key_value_heads == before.num_key_value_heads // 2
    assert config.num_attention_heads == before.num_attention_heads // 2
    loaded = type(model.loaded.model).from_pretrained(tmp_path / "smaller").eval()
    expected = output(zeroed_copy(model.loaded.model, rows(result), model.plan()), "mistral")
    torch.testing.assert_close(output(loaded, "mistral"), expected, atol=1e-5, rtol=1e-5)


def test_smaller_rounds_to_what_the_configuration_accepts(tmp_path: Path) -> None:
    """Llama demands that the width be a multiple of the number of heads: of 8 heads 6 are not accepted, but 4 are."""
    changes = {"hidden_size": 32, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 4}
    model = tiny("llama", **changes)
    result = model.prune(TEXTS, share=0.3, save=tmp_path / "smaller", form="smaller")
    assert transformers.AutoConfig.from_pretrained(tmp_path / "smaller").num_attention_heads == 4
    assert any("keeps 4 of 8 key heads" in note and "LlamaConfig does not accept" in note for note in result.notes)


@pytest.mark.parametrize(("name", "form"), [("bert", "smaller"), ("bloom", "irregular")])
def test_forms_that_a_model_has_not_are_refused(name: str, form: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="irregular" if form == "smaller" else "zeroed"):
        tiny(name).prune(TEXTS, heads=2, save=tmp_path / "saved", form=form)
    assert [*tmp_path.iterdir()] == []


def test_layers_that_share_a_projection_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its layers share"):
        tiny("albert").prune(TEXTS, heads=2, save=tmp_path / "saved")


def test_folders_in_the_way(tmp_path: Path) -> None:
    model = tiny("gpt2")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a", encoding="utf-8")
    for folder, said in (("notes", "holds files that are no saved model"), ("notes/a.txt", "is a file")):
        with pytest.raises(OutputError, match=said):
            model.prune(TEXTS, heads=2, save=tmp_path / folder)
    families.save(FAMILIES["gpt2"], tmp_path / "source")
    with pytest.raises(OutputError, match="holds a model"):
        model.prune(TEXTS, heads=2, save=tmp_path / "source")
    loaded = attncli.load(str(tmp_path / "source"), head="auto-head")
    with pytest.raises(OutputError, match="is in the folder of the model itself"):
        loaded.prune(TEXTS, heads=2, save=tmp_path / "source" / "pruned")
    with pytest.raises(UsageError, match="how many heads to remove"):
        model.prune(TEXTS, save=tmp_path / "new")


def test_a_damaged_pruning_file(tmp_path: Path) -> None:
    tiny("gpt2").prune(TEXTS, heads=2, save=tmp_path / "cut", form="irregular")
    path = tmp_path / "cut" / "pruning.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["layers"][0]["removed"] = [0, 1, 2]
    for text, said in ((json.dumps(document), "another shape"), ("{}", "is damaged"), ("[", "is damaged")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=said):
            load_pruned(str(tmp_path / "cut"))
