"""The effects equal those of a hand-written loop that zeroes columns of W_O in a copy of the model."""

from __future__ import annotations

import copy
from typing import Any

import families
import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES

import attncli
from attncli.api.model import Model
from attncli.capturing import Shadow
from attncli.models import wrap_model
from attncli.studies.importance.outcomes import changes

TEXTS = ["the animal did not cross street because it was too tired", "a dog saw a red house and a cat"]


@torch.no_grad()
def without_head(model: Any, projection: str, head: int, heads: int) -> Any:
    """A copy of a model, with eager attention, whose head has zeros in W_O."""
    copied = copy.deepcopy(model)
    module: Any = copied.get_submodule(projection)
    columns = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
    columns.unflatten(1, (heads, -1))[:, head] = 0
    return Shadow(copied).model


def logits(model: Any, tensors: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**tensors, use_cache=False)["logits"].double()  # type: ignore[no-any-return]


def tiny(name: str) -> Model:
    family = FAMILIES[name]
    return attncli.load(families.build(family), tokenizer=families.tiny_tokenizer(family))


def cell(result: Any, kind: str, layer: int, head: int, column: str) -> float:
    columns = result.columns
    row = np.flatnonzero((columns["kind"] == kind) & (columns["layer"] == layer) & (columns["head"] == head))
    return float(columns[column][row[0]])


@pytest.mark.parametrize(
    ("name", "kind", "projection"),
    [
        ("gpt2", "decoder", "transformer.h.1.attn.c_proj"),
        ("bloom", "decoder", "transformer.h.1.self_attention.dense"),
        ("gemma2", "decoder", "model.layers.1.self_attn.o_proj"),
    ],
)
def test_language_models(name: str, kind: str, projection: str) -> None:
    model = tiny(name)
    result = model.importance(TEXTS)
    assert result.measures == ("loss", "kl")
    for head in (0, 3):
        losses, divergences = [], []
        for text in TEXTS:
            ids = torch.tensor([families.tiny_tokenizer(FAMILIES[name])(text)["input_ids"]])
            before = logits(Shadow(model.loaded.model).model, {"input_ids": ids})[0, :-1].log_softmax(-1)
            edited = without_head(model.loaded.model, projection, head, 4)
            after = logits(edited, {"input_ids": ids})[0, :-1].log_softmax(-1)
            target = ids[0, 1:, None]
            losses.append(float((before - after).gather(-1, target).mean()))
            divergences.append(float((before.exp() * (before - after)).sum(-1).mean()))
        assert cell(result, kind, 1, head, "loss") == pytest.approx(np.mean(losses), abs=1e-5)
        assert cell(result, kind, 1, head, "kl") == pytest.approx(np.mean(divergences), abs=1e-5)


def test_a_target_of_an_encoder_decoder() -> None:
    model = tiny("t5")
    result = model.importance(TEXTS[0], target="a red house")
    tokenizer = families.tiny_tokenizer(FAMILIES["t5"])
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    target = model.run(TEXTS[0], target="a red house").inputs[0].target
    assert target is not None
    read = torch.tensor(np.array(target.ids))[None]
    tensors = {"input_ids": ids, "decoder_input_ids": read}
    before = logits(Shadow(model.loaded.model).model, tensors)[0, :-1].log_softmax(-1)
    places = {
        "cross": "decoder.block.1.layer.1.EncDecAttention.o",
        "encoder": "encoder.block.1.layer.0.SelfAttention.o",
    }
    for kind, projection in places.items():
        after = logits(without_head(model.loaded.model, projection, 2, 4), tensors)[0, :-1].log_softmax(-1)
        expected = float((before - after).gather(-1, read[0, 1:, None]).mean())
        assert cell(result, kind, 1, 2, "loss") == pytest.approx(expected, abs=1e-5)


def test_masked_tokens_depend_on_the_seed_alone() -> None:
    model = tiny("bert")
    result, again, other = (model.importance(TEXTS[0], unit="layer", seed=seed) for seed in (0, 0, 3))
    np.testing.assert_array_equal(result.columns["loss"], again.columns["loss"])
    assert set(result.columns["loss"]) != set(other.columns["loss"])


def classifier() -> Model:
    torch.manual_seed(0)
    config = transformers.BertConfig(**{**FAMILIES["bert"].config, "num_labels": 3})
    return attncli.load(
        transformers.BertForSequenceClassification(config).eval(), tokenizer=families.tiny_tokenizer(FAMILIES["bert"])
    )


def test_a_classifier() -> None:
    model = classifier()
    families._sharpen(model.loaded.model)
    result = model.importance(TEXTS)
    assert result.measures == ("probability", "kl", "changed")
    expected = []
    for text in TEXTS:
        encoded = families.tiny_tokenizer(FAMILIES["bert"])(text, return_tensors="pt")
        tensors = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        before, after = (
            logits(edited, tensors)[0].log_softmax(-1)
            for edited in (
                Shadow(model.loaded.model).model,
                without_head(model.loaded.model, "bert.encoder.layer.0.attention.output.dense", 1, 4),
            )
        )
        predicted = before.argmax()
        kl = float((before.exp() * (before - after)).sum())
        changed = float(after.argmax() != predicted)
        expected.append((float(after[predicted].exp() - before[predicted].exp()), kl, changed))
    found = [cell(result, "encoder", 0, 1, measure) for measure in result.measures]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


def test_a_model_without_a_head() -> None:
    model = tiny("electra")
    result = model.importance(TEXTS[1])
    tensors = {"input_ids": torch.tensor([families.tiny_tokenizer(FAMILIES["electra"])(TEXTS[1])["input_ids"]])}
    edited = without_head(model.loaded.model, "encoder.layer.1.attention.output.dense", 3, 4)
    with torch.no_grad():
        before, after = (m(**tensors)[0].double() for m in (Shadow(model.loaded.model).model, edited))
    expected = 1 - float(torch.nn.functional.cosine_similarity(before, after, dim=-1).mean())
    assert cell(result, "encoder", 1, 3, "cosine_distance") == pytest.approx(expected, abs=1e-6)
    with pytest.raises(attncli.UsageError, match="has no head"):
        model.importance(TEXTS[1], method="gradient")


def test_gradients_are_those_of_the_loss() -> None:
    model = tiny("llama")
    result = model.importance(TEXTS, method="gradient")
    expected = []
    for text in TEXTS:
        ids = torch.tensor([families.tiny_tokenizer(FAMILIES["llama"])(text)["input_ids"]])
        gate = torch.ones(4, requires_grad=True)
        shadow = Shadow(model.loaded.model).model
        module = shadow.get_submodule("model.layers.1.self_attn.o_proj")
        module.register_forward_pre_hook(lambda _, args, gate=gate: args[0] * gate.repeat_interleave(8))
        loss = torch.nn.functional.cross_entropy(shadow(input_ids=ids, use_cache=False).logits[0, :-1], ids[0, 1:])
        (gradient,) = torch.autograd.grad(loss, gate)
        expected.append(gradient.abs().numpy())
    found = [cell(result, "decoder", 1, head, "gradient") for head in range(4)]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-3, atol=1e-6)


def test_groups_and_layers_are_removed_as_one() -> None:
    model = tiny("llama")
    groups, layers = (model.importance(TEXTS[0], unit=unit) for unit in ("group", "layer"))
    assert sorted(groups.names) == ["0.0-1", "0.2-3", "1.0-1", "1.2-3", "2.0-1", "2.2-3"]
    assert sorted(layers.names) == ["layer 0", "layer 1", "layer 2"]
    ids = torch.tensor([families.tiny_tokenizer(FAMILIES["llama"])(TEXTS[0])["input_ids"]])
    edited = without_head(model.loaded.model, "model.layers.1.self_attn.o_proj", 1, 2)
    before, after = (
        logits(m, {"input_ids": ids})[0, :-1].log_softmax(-1) for m in (Shadow(model.loaded.model).model, edited)
    )
    expected = float((before - after).gather(-1, ids[0, 1:, None]).mean())
    row = groups.names.index("1.2-3")
    assert groups.columns["loss"][row] == pytest.approx(expected, abs=1e-5)


def test_a_mean_ablation_of_a_constant_head_changes_nothing() -> None:
    """A head with equal values at all tokens writes its mean already."""
    model = tiny("gpt2")
    with torch.no_grad():
        attention: Any = model.loaded.model.get_submodule("transformer.h.0.attn.c_attn")
        attention.weight[:, 64 + 8 : 64 + 16] = 0
    result = model.importance(TEXTS, method="mean")
    assert cell(result, "decoder", 0, 1, "kl") == pytest.approx(0, abs=1e-6)
    assert cell(result, "decoder", 0, 2, "kl") > 1e-4


def test_small_divergences_do_not_drown_in_rounding_errors() -> None:
    torch.manual_seed(0)
    logits_before, step = torch.randn(5, 1000) * 4 + 30, torch.randn(5, 1000) * 1e-4
    targets = torch.randint(0, 1000, (5, 1))
    loss, kl = changes(logits_before + step, logits_before, logits_before.softmax(-1), targets)
    before, after = (values.double().log_softmax(-1) for values in (logits_before, logits_before + step))
    torch.testing.assert_close(kl.double(), (before.exp() * (before - after)).sum(-1), rtol=2e-2, atol=1e-11)
    torch.testing.assert_close(loss.double(), (before - after).gather(-1, targets)[:, 0], rtol=1e-2, atol=1e-6)


def test_the_model_stays_as_it_was() -> None:
    model = tiny("gpt2")
    inner = model.loaded.model
    before = {name: tensor.clone() for name, tensor in inner.state_dict().items()}
    model.importance(TEXTS[0], method="gradient")
    model.importance(TEXTS[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in inner.state_dict().items())
    assert all(parameter.grad is None for parameter in inner.parameters())
    assert not any(module._forward_pre_hooks for module in inner.modules())
    assert wrap_model(inner).model is inner
