"""Is attention needed: distances, other weights recomputed by hand, planted answers, and models of other seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, build, tiny_tokenizer
from scipy.spatial.distance import jensenshannon
from transformers import BertConfig, BertForSequenceClassification

import attncli
from attncli.capturing import edited_outputs
from attncli.data import edits
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import Explained, prepare_explained
from attncli.engine.request import Request
from attncli.errors import ModelError, UsageError
from attncli.inputs.texts import parse_texts
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.faithfulness.needed import figures
from attncli.studies.faithfulness.needed.adversary import Adversary, find_adversary
from attncli.studies.faithfulness.needed.compute import MeasuredText, needed_result
from attncli.studies.faithfulness.needed.distances import farthest, jensen_shannon, output_distribution, total_variation
from attncli.studies.faithfulness.needed.head_passes import EditedPrediction, HeadPasses
from attncli.studies.faithfulness.needed.options import NeededOptions
from attncli.studies.faithfulness.needed.permuted import permute_weights
from attncli.studies.faithfulness.needed.result import Needed
from attncli.studies.faithfulness.needed.row_means import RowMeans
from attncli.studies.faithfulness.needed.seed_models import check_same_shape, compare_seed, match_heads

TEXT = "the animal did not cross the street"
Tensor = torch.Tensor


def silent(done: float) -> None:
    pass


def passes_of(model: attncli.Model, text: str = TEXT, target: str | None = None, **options: Any) -> HeadPasses:
    wanted = ExplainRequest.parse("next")
    prepared = prepare_explained(model, parse_texts(text, None, target)[0], Request.of(options), wanted)
    return HeadPasses(Predictions.of(prepared, wanted, "probability", False))


def adversary_of(passes: HeadPasses, epsilon: float, steps: int) -> tuple[RowMeans, EditedPrediction, Adversary]:
    rows, prediction, _ = passes.rows()
    means = RowMeans.of(passes, rows)
    return means, prediction, find_adversary(passes, means, prediction, epsilon, steps, silent)


# ------------------------------------------------------------------------------------------------ distances


def test_distances_are_those_of_scipy_and_of_plain_loops() -> None:
    rows = torch.rand((2, 3, 5), generator=torch.Generator().manual_seed(0)).double()
    rows[..., -1] = 0  # a masked key
    first, second = rows / rows.sum(-1, keepdim=True)
    np.testing.assert_allclose(jensen_shannon(first, second), jensenshannon(first.T, second.T) ** 2, atol=1e-12)
    corners = [jensen_shannon(first, torch.eye(5).double()[[key] * 3]) for key in range(4)]
    visible = torch.arange(5).expand(3, 5) < 4
    np.testing.assert_allclose(farthest(first, visible), torch.stack(corners).amax(0), atol=1e-12)
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.2, -1.0, 3.0]])
    label = Explained("next", "b", (1,), ())
    p, q = (np.exp(row) / np.exp(row).sum() for row in logits.double().numpy())
    changed = total_variation(label, *output_distribution(label, logits).split(1))
    assert float(changed) == pytest.approx(sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2)
    several = Explained("next", "b", (1,), (), by="sigmoid")
    p, q = 1 / (1 + np.exp(-logits.double().numpy()))
    assert float(total_variation(several, *output_distribution(several, logits).split(1))) == pytest.approx(
        np.abs(p - q).mean()
    )
    with pytest.raises(ModelError, match="gives a number"):
        output_distribution(Explained("next", "b", (0,), (), by="number"), logits)


# ------------------------------------------------------------------------------------------------ by hand


class ByHand:
    """A classifier with one layer in float64, and its output with given weights, computed from its modules."""

    def __init__(self, seed: int = 0, steep: float = 3.0) -> None:
        torch.manual_seed(seed)
        config = {**FAMILIES["bert"].config, "num_hidden_layers": 1, "num_labels": 3}
        self.raw: Any = BertForSequenceClassification(BertConfig(**config)).eval().double().requires_grad_(False)
        for parameter in self.raw.parameters():
            parameter.mul_(1 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5 / parameter.std())
        self.raw.classifier.weight.mul_(steep)
        self.tokenizer = tiny_tokenizer(FAMILIES["bert"])

    @property
    def model(self) -> attncli.Model:
        return attncli.load(self.raw, tokenizer=self.tokenizer)

    @property
    def heads(self) -> int:
        return int(self.raw.config.num_attention_heads)

    @torch.no_grad()
    def distribution(self, weights: Tensor, text: str = TEXT) -> Tensor:
        """Return the probabilities of the labels with weights [head, query, key]."""
        bert, ids = self.raw.bert, torch.tensor([self.tokenizer(text)["input_ids"]])
        layer, hidden = bert.encoder.layer[0], bert.embeddings(ids)
        values = layer.attention.self.value(hidden)[0].view(ids.shape[1], self.heads, -1).transpose(0, 1)
        mixed = (weights.double() @ values).transpose(0, 1).reshape(1, ids.shape[1], -1)
        attended = layer.attention.output(mixed, hidden)
        written = layer.output(layer.intermediate(attended), attended)
        return self.raw.classifier(bert.pooler(written)).softmax(-1)[0]

    def change(self, first: Tensor, second: Tensor) -> float:
        return float((self.distribution(first) - self.distribution(second)).abs().sum() / 2)


@pytest.fixture(scope="module")
def one_layer() -> ByHand:
    return ByHand()


def maps(model: attncli.Model, text: str = TEXT) -> Tensor:
    return torch.from_numpy(model.run(text).attention("encoder").layers[0].weights.copy())


def test_permuted_and_uniform_outputs_are_those_of_a_forward_by_hand(one_layer: ByHand) -> None:
    model, passes = one_layer.model, passes_of(one_layer.model)
    rows, prediction, of_uniform = passes.rows()
    weights = maps(model)
    np.testing.assert_allclose(prediction.distribution[0, 0], one_layer.distribution(weights), atol=1e-6)
    uniform = torch.full_like(weights, 1 / weights.shape[-1])
    assert float(of_uniform.distance(prediction)) == pytest.approx(one_layer.change(uniform, weights), abs=1e-6)
    permuted = permute_weights(passes, prediction, 3, silent)
    expected, orders = [], []
    for seed in range(3):
        with model.edited(edits.permute(None, seed)) as edited:
            orders.append(maps(edited))
        expected.append(one_layer.change(orders[-1], weights))
    np.testing.assert_allclose(permuted.distances, expected, atol=1e-6)
    assert all((orders[seed] - orders[0]).abs().max() > 0.01 for seed in (1, 2))
    assert np.ptp(permuted.distances) > 1e-3
    largest = float(weights[:, 0].max(-1).values.mean())
    assert RowMeans.of(passes, rows).largest_weight() == pytest.approx(largest, abs=1e-6)


def test_adversarial_weights_are_distributions_that_give_nearly_the_same_output(one_layer: ByHand) -> None:
    means, _, found = adversary_of(passes_of(one_layer.model), 0.02, 30)
    (weights,), plain = found.weights.values(), maps(one_layer.model).double()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert float(weights.min()) >= 0
    change = one_layer.change(weights, plain)
    assert found.distance == pytest.approx(change, abs=1e-5)
    assert 0 < change <= 0.02
    every = jensenshannon(weights.numpy(), plain.numpy(), axis=-1) ** 2
    assert means.divergence(found.weights) == pytest.approx(every.mean(), abs=1e-5)
    assert means.divergence(found.weights, predicting=True) == pytest.approx(every[:, 0].mean(), abs=1e-5)
    assert 0.5 < means.divergence(found.weights) < means.largest_divergence() < np.log(2)


def test_a_head_that_writes_nothing_is_free_and_weights_that_decide_are_not() -> None:
    """Of three keys and three labels the output tells the weights of one head; a head without output is not read."""
    planted = ByHand(seed=3, steep=2.0)
    size = planted.raw.config.hidden_size // planted.heads
    planted.raw.bert.encoder.layer[0].attention.output.dense.weight[:, size:] = 0
    model = planted.model
    means, _, needed = adversary_of(passes_of(model, "animal", head=0), 0.01, 100)
    assert 0 < needed.distance <= 0.01
    assert means.divergence(needed.weights, predicting=True) < 0.03
    # the output does not depend on the other two rows of this layer
    assert means.divergence(needed.weights) > 0.6 * means.largest_divergence()
    means, _, free = adversary_of(passes_of(model, head=1), 0.01, 40)
    assert free.distance == pytest.approx(0, abs=1e-9)
    assert means.divergence(free.weights) > 0.98 * means.largest_divergence() > 0.9 * np.log(2)


def test_a_model_without_gradients_and_memory_that_is_not_there_are_refused() -> None:
    cut = ByHand()
    cut.raw.classifier.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach(),))
    with pytest.raises(ModelError, match=r"BertForSequenceClassification gives no gradients .* --adversarial-steps 0"):
        adversary_of(passes_of(cut.model), 0.1, 1)
    with pytest.raises(UsageError, match=r"allowed are 10 kB: .* --max-memory"):
        adversary_of(passes_of(ByHand().model, max_memory="10kB"), 0.1, 1)


# ------------------------------------------------------------------------------------------------ families


@pytest.mark.parametrize(
    ("name", "target", "options"),
    [
        ("llama", None, {"layer": 1, "head": "1-2"}),
        ("bert", None, {"capture": "eager"}),
        ("t5", "a dog saw", {}),
        ("bart", "a dog saw", {"kind": "cross"}),
    ],
)
def test_other_weights_are_those_of_the_edits_of_users(name: str, target: str | None, options: dict[str, Any]) -> None:
    family = FAMILIES[name]
    raw: Any = build(family, "eager")
    text = "the animal did not [MASK] the street" if name == "bert" else TEXT
    model = attncli.load(raw, tokenizer=tiny_tokenizer(family))
    passes = passes_of(model, text, target, **options)
    means, prediction, found = adversary_of(passes, 0.1, 12)
    row = passes.predictions.outputs[0].rows[0]

    def changed(*of: edits.Edit) -> float:
        with model.edited(*of) as edited:
            loaded, prepared = edited.loaded, passes.predictions.prepared
            logits = edited_outputs(loaded, prepared.plan, prepared.batches[0]).logits[0, row]
        return float((logits.double().softmax(-1) - prediction.distribution[0, 0]).abs().sum() / 2)

    chosen = {key: [f"{key[1]}.{head}" for head in passes.heads(key)] for key in found.weights}
    given = [edits.replace(chosen[key], weights.float(), key[0]) for key, weights in found.weights.items()]
    assert changed(*given) == pytest.approx(found.distance, abs=1e-4)
    assert found.distance <= 0.1
    for key, of_layer in found.weights.items():
        np.testing.assert_allclose(of_layer.sum(-1), 1, atol=1e-5)
        assert not of_layer[~means.layers[key].visible].any()
        assert key[0] != "decoder" or not of_layer.triu(1).any()
    assert 0 < means.divergence(found.weights) < means.largest_divergence()
    permuted = permute_weights(passes, prediction, 2, silent)
    orders = [[edits.permute(heads, seed, key[0]) for key, heads in chosen.items()] for seed in range(2)]
    np.testing.assert_allclose(permuted.distances, [changed(*of_seed) for of_seed in orders], atol=1e-4)


def test_weights_that_cannot_be_edited_are_refused_by_name() -> None:
    family = FAMILIES["longformer"]
    raw: Any = build(family, "eager")
    model = attncli.load(raw, tokenizer=tiny_tokenizer(family))
    with pytest.raises(ModelError, match=r"--needed: weights of encoder layer 0 .* cannot be edited"):
        passes_of(model, "the animal did not [MASK] the street").rows()


# ------------------------------------------------------------------------------------------------ other seeds


def with_swapped_heads(model: ByHand) -> ByHand:
    """Return the same model whose heads 0 and 1 have changed places."""
    other = ByHand()
    other.raw.load_state_dict(model.raw.state_dict())
    attention = other.raw.bert.encoder.layer[0].attention
    size = other.raw.config.hidden_size // other.heads
    order = torch.cat([torch.arange(size, 2 * size), torch.arange(size), torch.arange(2 * size, size * other.heads)])
    for module in (attention.self.query, attention.self.key, attention.self.value):
        module.weight.copy_(module.weight[order])
        module.bias.copy_(module.bias[order])
    attention.output.dense.weight.copy_(attention.output.dense.weight[:, order])
    return other


def test_heads_of_other_seeds_are_matched(one_layer: ByHand) -> None:
    passes = passes_of(one_layer.model)
    rows, prediction, _ = passes.rows()
    means = RowMeans.of(passes, rows)
    swapped, other = with_swapped_heads(one_layer).model, ByHand(seed=5)
    for model in (swapped, other.model):
        check_same_shape(one_layer.model, model, "auto")
    of_text, same = compare_seed(swapped, passes, means)
    matched = match_heads([of_text], [list(range(one_layer.heads))])
    assert float(same.distance(prediction)) == pytest.approx(0, abs=1e-6)
    assert (matched.matched[0], matched.predicting[0]) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    by_number = jensenshannon(maps(one_layer.model).double(), maps(swapped).double(), axis=-1) ** 2
    assert matched.same[0] == pytest.approx(by_number.mean(), abs=1e-5) != pytest.approx(0, abs=1e-3)
    of_text, differs = compare_seed(other.model, passes, means)
    matched = match_heads([of_text, of_text], [list(range(one_layer.heads))])
    assert 0 < matched.matched[1] <= matched.same[1]
    expected = (other.distribution(maps(other.model)) - one_layer.distribution(maps(one_layer.model))).abs().sum() / 2
    assert float(differs.distance(prediction)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"num_attention_heads": 2}, "has 1 layers of 2 heads, .* 1 layers of 4 heads: give models of the same shape"),
        ({"num_labels": 2}, "has the labels LABEL_0, LABEL_1, expected LABEL_0, LABEL_1, LABEL_2"),
    ],
)
def test_models_of_another_shape_are_no_yardstick(one_layer: ByHand, change: dict[str, int], problem: str) -> None:
    config = BertConfig(
        **{**one_layer.raw.config.to_dict(), "id2label": None, "label2id": None, "num_labels": 3, **change}
    )
    other = attncli.load(BertForSequenceClassification(config).eval().double(), tokenizer=one_layer.tokenizer)
    with pytest.raises(UsageError, match=problem):
        check_same_shape(one_layer.model, other, "auto")


def test_a_model_with_another_vocabulary_is_no_yardstick(one_layer: ByHand) -> None:
    tokenizer = tiny_tokenizer(FAMILIES["bert"])
    tokenizer.add_tokens(["zebra"])
    with pytest.raises(UsageError, match="has another vocabulary"):
        check_same_shape(one_layer.model, attncli.load(one_layer.raw, tokenizer=tokenizer), "auto")


# ------------------------------------------------------------------------------------------------ the whole part


@pytest.fixture(scope="module")
def result(one_layer: ByHand) -> Needed:
    """The result of seven texts, with one model of another seed."""
    options = NeededOptions(needed=True, permutations=5, adversarial_steps=4, epsilon=0.2)
    words, model, seeds = TEXT.split(), one_layer.model, (ByHand(seed=5).model,)
    work: list[float] = []
    measured = [
        MeasuredText(passes_of(model, " ".join(words[:count])).predictions, options).values(seeds, work.append)
        | {"text": count - 1}
        for count in (1, 2, 3, 4, 5, 6, 7)
    ]
    assert sum(work) == pytest.approx(7)
    return needed_result(measured, options)


def test_means_have_intervals_over_texts_and_sentences_quote_them(result: Needed) -> None:
    means = {name: row for row, name in enumerate(result.means["number"].tolist())}
    row = means["permuted_tvd"]
    assert result.means["mean"][row] == pytest.approx(result.of_texts["permuted_tvd"].mean())
    assert result.means["low"][row] < result.means["mean"][row] < result.means["high"][row]
    assert result.means["mean"][means["seed_tvd"]] == pytest.approx(result.of_seeds["tvd"].mean())
    assert (result.of_texts["adversarial_tvd"] <= 0.2).all()
    assert (result.of_texts["permuted_tvd_low"] <= result.of_texts["permuted_tvd_high"]).all()
    beyond = result.of_texts["adversarial_jsd"] - result.of_seeds["jsd"]
    assert result.means["mean"][means["beyond_seeds"]] == pytest.approx(beyond.mean())
    permuted, adversarial, yardstick, farther = result.sentences
    assert f"minus other seeds, on the same text: a divergence of {result.mean('beyond_seeds')}" in farther
    assert "Permuting the weights of all 4 heads of layer 0" in permuted
    assert f"{result.mean('permuted_tvd')} (median of 5 permutations, mean over 7 texts)" in permuted
    assert f"stays on {int(result.of_texts['adversarial_same'].sum())} of 7 texts" in adversarial
    assert f"1 model of another seed with matched heads: a divergence of {result.mean('seed_jsd')}" in yardstick
    assert "found for each text by itself: this is easier" in result.notes[0]
    document = result.document()
    assert document["heads"] == [{"kind": "encoder", "layer": 0, "heads": [0, 1, 2, 3]}]
    assert [len(document[name]) for name in ("texts", "seeds")] == [7, 7]


def test_pictures_have_a_point_for_each_text(result: Needed) -> None:
    permuted, adversarial = figures.draw_permuted(result), figures.draw_adversarial(result)
    (axes,) = permuted.axes
    points = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections if len(dots.get_offsets())])
    assert sorted(points[:, 0]) == pytest.approx(sorted(result.of_texts["permuted_tvd"]))
    bins = np.round(points[np.argsort(points[:, 0]), 1] * 0.9).astype(int)
    expected = np.digitize(result.of_texts["max_weight"], [0.25, 0.5, 0.75])
    assert sorted(bins) == sorted(expected)
    (axes,) = adversarial.axes
    by_name = {dots.get_label(): np.asarray(dots.get_offsets()) for dots in axes.collections}
    columns: Mapping[str, tuple[Any, str]] = {
        "adversarial": (result.of_texts, "adversarial_"),
        "uniform": (result.of_texts, "uniform_"),
        "1 model of another seed": (result.of_seeds, ""),
    }
    for name, (table, prefix) in columns.items():
        np.testing.assert_allclose(by_name[name], np.stack([table[f"{prefix}jsd"], table[f"{prefix}tvd"]], 1))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"epsilon 0.2", "ln 2, the largest"} < set(labels)
