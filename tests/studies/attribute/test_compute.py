"""Attribution: closed forms, sums that must hold, and the numbers of Captum called by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, ShapleyValues
from families import FAMILIES, build, tiny_tokenizer
from transformers import AutoModelForSequenceClassification, LlamaConfig

import attncli
from attncli.engine.progress import untracked
from attncli.engine.text_units import TextUnit
from attncli.errors import ModelError, UsageError
from attncli.studies.attribute.gradients import integrated_gradients
from attncli.studies.attribute.occlusion import occlusion
from attncli.studies.attribute.options import AttributionName
from attncli.studies.attribute.shapley import random_orders, shapley

TEXT, MASKED = "the animal did not cross the street", "the animal did not [MASK] the street"
EVERY: tuple[AttributionName, ...] = (
    *("integrated-gradients", "input-x-gradient", "gradient-norm", "occlusion"),
    *("attention", "attention-x-gradient", "rollout", "value-norm-rollout"),
)
Tensor = torch.Tensor


# ------------------------------------------------------------------------------------------------ closed forms


class Linear(SimpleNamespace):
    """Predictions whose score is linear in the vectors: w · x."""

    def __init__(self, weights: Tensor, vectors: Tensor) -> None:
        special = np.zeros(len(vectors), bool)
        tokens = {"source": SimpleNamespace(special=special)}
        super().__init__(vectors=(vectors,), outputs=[SimpleNamespace(name="y")], tokens=tokens, weights=weights)

    def scores(self, vectors: Sequence[Tensor], gradients: bool = False) -> Tensor:
        return (vectors[0] * self.weights).sum((1, 2))[:, None]

    def copies(self, gradients: bool) -> int:
        return 3

    def check_finite(self, values: Sequence[Tensor]) -> None:
        pass


def test_a_linear_score_gives_the_weights_times_the_difference_to_the_baseline() -> None:
    weights, vectors, baseline = torch.randn((3, 5, 4), generator=torch.Generator().manual_seed(0)).double()
    linear: Any = Linear(weights, vectors)
    expected = (weights * (vectors - baseline)).sum(-1)
    (integrated,) = integrated_gradients(linear, [baseline], 7, False, untracked)
    assert (integrated.steps, integrated.delta) == (7, pytest.approx(0, abs=1e-9))
    np.testing.assert_allclose(integrated.values[0], expected, atol=1e-9)
    units = [TextUnit(str(number), "", (number,)) for number in range(4)] + [TextUnit("both", "", (0, 2))]
    changes = occlusion(linear, [baseline], {"source": units}, untracked)
    np.testing.assert_allclose(changes[0], [*expected[:4], expected[0] + expected[2]], atol=1e-9)


class Product(Linear):
    """Predictions whose score is a product of sums: tokens count more beside others."""

    def scores(self, vectors: Sequence[Tensor], gradients: bool = False) -> Tensor:
        return (vectors[0] * self.weights).sum(2).prod(1)[:, None]


def test_shapley_values_of_all_orders_are_those_of_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, vectors, baseline = torch.randn((3, 5, 4), generator=torch.Generator().manual_seed(1)).double()
    product: Any = Product(weights, vectors)
    units = [TextUnit("both", "", (0, 3))] + [TextUnit(str(number), "", (number,)) for number in (1, 2, 4)]
    drawn = shapley(product, [baseline], {"source": units}, 3, 0, untracked)
    every = [np.array(order) for order in permutations(range(4))]
    monkeypatch.setattr("attncli.studies.attribute.shapley.random_orders", lambda count, samples, seed: every)
    values = shapley(product, [baseline], {"source": units}, len(every), 0, untracked)[0]
    mask = torch.tensor([0, 1, 2, 0, 3])[None, :, None]
    score = ShapleyValues(lambda given: product.scores([given])[:, 0])
    expected = score.attribute(vectors[None], baseline[None], feature_mask=mask)[0, [0, 1, 2, 4], 0]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    change = float(product.scores([vectors[None]]) - product.scores([baseline[None]]))
    assert (values.sum(), drawn[0].sum()) == (pytest.approx(change), pytest.approx(change))
    assert [order.tolist() for order in random_orders(4, 2, 0)] != [order.tolist() for order in random_orders(4, 2, 1)]


class Jump(Linear):
    """Predictions whose gradient misses a jump of the score, whatever the number of steps."""

    def scores(self, vectors: Sequence[Tensor], gradients: bool = False) -> Tensor:
        plain = super().scores(vectors)
        return plain + 10 * (vectors[0].sum((1, 2), keepdim=False)[:, None].detach() > 0).double()


def test_steps_double_and_a_large_error_is_refused() -> None:
    jump: Any = Jump(torch.full((2, 2), 0.5).double(), torch.ones((2, 2)).double())
    baseline = [-torch.ones((2, 2)).double()]
    with pytest.raises(UsageError, match=r"miss 71% of the change of the score with 32 steps.*--allow-delta"):
        integrated_gradients(jump, baseline, 2, False, untracked)
    (allowed,) = integrated_gradients(jump, baseline, 2, True, untracked)
    assert (allowed.steps, allowed.change, allowed.delta) == (32, 14, pytest.approx(-10))


# ------------------------------------------------------------------------------------------------ Captum by hand


@dataclass(eq=False)
class ByHand:
    """A tiny model in float64, and the same model called by hand.

    ids     token ids, of an encoder-decoder those of both sides
    layers  modules that look up their vectors
    row     the row that predicts
    """

    model: attncli.Model
    raw: Any
    ids: tuple[Tensor, ...]
    layers: tuple[torch.nn.Module, ...]
    row: int
    special: tuple[Tensor, ...]
    text: str
    target: str | None

    def score(self, *ids: Tensor) -> Tensor:
        names = ("input_ids", "decoder_input_ids")
        logits = self.raw(**dict(zip(names, ids, strict=False))).logits[:, self.row].log_softmax(-1)
        return logits[:, self.token]

    def score_of_vectors(self, *vectors: Tensor) -> Tensor:
        names = ("inputs_embeds", "decoder_inputs_embeds")
        return self.raw(**dict(zip(names, vectors, strict=False))).logits[:, self.row].log_softmax(-1)[:, self.token]

    def vectors(self, ids: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(layer(of_side) for layer, of_side in zip(self.layers, ids, strict=True))

    @cached_property
    def token(self) -> int:
        with torch.no_grad():
            names = ("input_ids", "decoder_input_ids")
            return int(self.raw(**dict(zip(names, self.ids, strict=False))).logits[0, self.row].argmax())

    @property
    def baseline(self) -> tuple[Tensor, ...]:
        mask = self.model.loaded.tokenizer.mask_token_id
        return tuple(torch.where(special, ids, mask) for ids, special in zip(self.ids, self.special, strict=True))


EMBEDDINGS = {
    "bert": ["bert.embeddings.word_embeddings"],
    "roberta": ["roberta.embeddings.word_embeddings"],
    "gpt2": ["transformer.wte"],
    "llama": ["model.embed_tokens"],
    "t5": ["encoder.embed_tokens", "decoder.embed_tokens"],
}


@pytest.fixture(scope="module", params=list(EMBEDDINGS))
def by_hand(request: pytest.FixtureRequest) -> ByHand:
    family = FAMILIES[request.param]
    raw: Any = build(family, "eager").double().requires_grad_(False)
    tokenizer = tiny_tokenizer(family)
    text = MASKED if family.see == "all" and not family.is_encoder_decoder else TEXT
    ids = [torch.tensor([tokenizer(text)["input_ids"]])]
    target = "a dog" if family.is_encoder_decoder else None
    if target is not None:
        start = raw.config.decoder_start_token_id
        ids.append(torch.tensor([[start, *tokenizer(target, add_special_tokens=False)["input_ids"]]]))
    row = ids[0][0].tolist().index(tokenizer.mask_token_id) if text == MASKED else ids[-1].shape[1] - 1
    special = tuple(torch.isin(of_side, torch.tensor(tokenizer.all_special_ids)) for of_side in ids)
    layers = tuple(raw.get_submodule(name) for name in EMBEDDINGS[request.param])
    model = attncli.load(raw, tokenizer=tokenizer)
    return ByHand(model, raw, tuple(ids), layers, row, special, text, target)


@pytest.fixture(scope="module")
def result(by_hand: ByHand) -> attncli.Attribution:
    return by_hand.model.attribute(by_hand.text, EVERY, target=by_hand.target)


def tokens(parts: Any) -> np.ndarray[Any, Any]:
    """Return the sums over the numbers of the vectors of all sides, one after the other."""
    sides = parts if isinstance(parts, tuple | list) else [parts]
    return torch.cat([side[0].sum(-1) for side in sides]).detach().numpy()


def test_the_prediction_is_that_of_the_model(by_hand: ByHand, result: attncli.Attribution) -> None:
    assert result.outputs[0].score == pytest.approx(float(by_hand.score(*by_hand.ids)), rel=1e-9)
    assert [unit.positions[0] for unit in result.units] == [n for ids in by_hand.ids for n in range(ids.shape[1])]


def test_integrated_gradients_are_those_of_captum(by_hand: ByHand, result: attncli.Attribution) -> None:
    ends = map(by_hand.vectors, (by_hand.ids, by_hand.baseline))
    expected = tokens(IntegratedGradients(by_hand.score_of_vectors).attribute(*ends, n_steps=50))
    np.testing.assert_allclose(result.values("integrated-gradients"), expected, rtol=1e-5, atol=1e-6)
    (method,) = (method for method in result.methods if method.name == "integrated-gradients")
    change = float(by_hand.score(*by_hand.ids) - by_hand.score(*by_hand.baseline))
    assert (method.steps, method.baseline, method.change[0]) == ((50,), "mask", pytest.approx(change, rel=1e-6))
    # completeness
    assert result.values("integrated-gradients").sum() == pytest.approx(change, abs=1e-3, rel=1e-3)
    assert method.delta[0] == pytest.approx(result.values("integrated-gradients").sum() - change, abs=1e-6)


def test_gradients_are_those_of_captum(by_hand: ByHand, result: attncli.Attribution) -> None:
    vectors = tuple(of_side.requires_grad_() for of_side in by_hand.vectors(by_hand.ids))
    expected = tokens(InputXGradient(by_hand.score_of_vectors).attribute(vectors))
    np.testing.assert_allclose(result.values("input-x-gradient"), expected, rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad(by_hand.score_of_vectors(*vectors), vectors)
    norms = torch.cat([gradient[0].norm(dim=-1) for gradient in gradients])
    np.testing.assert_allclose(result.values("gradient-norm"), norms, rtol=1e-5, atol=1e-6)


def test_occlusion_is_that_of_captum(by_hand: ByHand, result: attncli.Attribution) -> None:
    parts = FeatureAblation(by_hand.score).attribute(by_hand.ids, by_hand.baseline)
    expected = torch.cat([part[0] for part in parts]).numpy()
    np.testing.assert_allclose(result.values("occlusion"), expected, rtol=1e-5, atol=1e-6)


def test_attention_x_gradient_is_the_product_of_the_layers(by_hand: ByHand, result: attncli.Attribution) -> None:
    names = ("input_ids", "decoder_input_ids")
    by_hand.layers[0].requires_grad_(True)
    outputs = by_hand.raw(**dict(zip(names, by_hand.ids, strict=False)), output_attentions=True)
    score = outputs.logits[0, by_hand.row].log_softmax(-1)[by_hand.token]
    by_hand.layers[0].requires_grad_(False)

    def maps(attentions: Sequence[Tensor]) -> list[Tensor]:
        gradients = torch.autograd.grad(score, list(attentions), retain_graph=True)
        pairs = zip(attentions, gradients, strict=True)
        return [(weights * gradient)[0].clamp_min(0).mean(0).detach() for weights, gradient in pairs]

    def product(attentions: Sequence[Tensor]) -> Tensor:
        relevance = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
        for weights in maps(attentions):
            relevance = relevance + weights @ relevance
        return relevance

    if by_hand.target is None:
        every = product(outputs.attentions)
        expected = (every - torch.eye(len(every)))[by_hand.row]
    else:
        source = scaled(product(outputs.encoder_attentions))
        own = torch.eye(by_hand.ids[1].shape[1], dtype=torch.float64)
        across = torch.zeros((len(own), len(source)), dtype=torch.float64)
        pairs = zip(maps(outputs.decoder_attentions), maps(outputs.cross_attentions), strict=True)
        for weights, to_source in pairs:
            across, own = across + weights @ across, own + weights @ own
            across = across + scaled(own).T @ to_source @ source
        expected = torch.cat([across[by_hand.row], (own - torch.eye(len(own)))[by_hand.row]])
    np.testing.assert_allclose(result.values("attention-x-gradient"), expected, rtol=1e-5, atol=1e-6)


def scaled(relevance: Tensor) -> Tensor:
    """Return relevance with the rows of what was added to the identity scaled to sum to 1."""
    added = relevance - torch.eye(len(relevance))
    return added / added.sum(1, keepdim=True).clamp_min(1e-30) + torch.eye(len(relevance))


def test_attention_and_rollout_are_those_of_the_maps(by_hand: ByHand, result: attncli.Attribution) -> None:
    run = by_hand.model.run(by_hand.text, target=by_hand.target)
    kinds = ("cross", "decoder") if by_hand.target else (run.maps[0].kind,)
    expected = [
        np.mean([maps.weights[:, by_hand.row] for maps in run.attention(kind).layers], (0, 1)) for kind in kinds
    ]
    np.testing.assert_allclose(result.values("attention"), np.concatenate(expected), atol=1e-6)
    if by_hand.target is None:
        share = np.eye(by_hand.ids[0].shape[1])
        for maps in run.attention(kinds[0]).layers:
            share = (maps.weights.mean(0) + np.eye(len(share))) / 2 @ share
        np.testing.assert_allclose(result.values("rollout"), share[by_hand.row], atol=1e-6)
        norms = by_hand.model.run(by_hand.text, by="norm").attention(kinds[0]).layers
        share = np.eye(len(share))
        for maps in norms:
            weights = maps.weights.astype(float).mean(0)
            share = (weights / weights.sum(1, keepdims=True) + np.eye(len(share))) / 2 @ share
        np.testing.assert_allclose(result.values("value-norm-rollout"), share[by_hand.row], atol=1e-6)
    assert result.values("rollout").sum() == pytest.approx(1, abs=1e-6)


def test_shares_have_one_scale(result: attncli.Attribution) -> None:
    for method in result.methods:
        shares, values = result.shares(method.name), result.values(method.name)
        assert np.abs(shares).sum() == pytest.approx(1)
        assert (np.sign(shares) == np.sign(values)).all()
        assert method.signed or (values >= 0).all()
    assert len(result.to_frame()) == len(EVERY) * len(result.units)


# ------------------------------------------------------------------------------------------------ classifiers


def classifier(labels: int = 3, **more: Any) -> attncli.Model:
    config = LlamaConfig(**{**FAMILIES["llama"].config, "num_labels": labels, **more})
    torch.manual_seed(0)
    raw = AutoModelForSequenceClassification.from_config(config).eval()
    return attncli.load(raw, tokenizer=tiny_tokenizer(FAMILIES["llama"]))


@pytest.fixture(scope="module")
def llama() -> attncli.Model:
    return classifier()


def test_a_padding_vector_does_not_move_the_token_that_a_classifier_reads(llama: attncli.Model) -> None:
    result = llama.attribute(TEXT, "occlusion", "label:1", baseline="pad", score="logit")
    raw: Any = llama.loaded.model
    ids = torch.tensor(llama.loaded.tokenizer(TEXT)["input_ids"])[None]
    with torch.no_grad():
        vectors = raw.model.embed_tokens(ids)
        padded = vectors.clone()
        padded[:, -1] = raw.model.embed_tokens.weight[raw.config.pad_token_id]
        both = raw.model(inputs_embeds=torch.cat([vectors, padded])).last_hidden_state[:, -1]
        text, without = raw.score(both)[:, 1].tolist()
    assert result.values("occlusion")[-1] == pytest.approx(text - without, abs=1e-5)


def test_batches_do_not_change_the_numbers(llama: attncli.Model) -> None:
    names: tuple[AttributionName, ...] = ("integrated-gradients", "occlusion")
    small, large = (llama.attribute(TEXT, names, "label:1", steps=6, batch_tokens=size) for size in (20, 4096))
    for name in names:
        np.testing.assert_allclose(small.values(name), large.values(name), rtol=1e-4, atol=1e-6)


def test_labels_by_name_number_and_all_of_them(llama: attncli.Model) -> None:
    every = llama.attribute(TEXT, "input-x-gradient", "labels")
    assert [output.name for output in every.outputs] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert sum(output.probability for output in every.outputs) == pytest.approx(1)
    for wanted in ("label:2", "label:LABEL_2"):
        one = llama.attribute(TEXT, "input-x-gradient", wanted)
        np.testing.assert_allclose(one.values("input-x-gradient"), every.values("input-x-gradient", 2), atol=1e-6)
    with pytest.raises(UsageError, match="the labels are LABEL_0, LABEL_1, LABEL_2"):
        llama.attribute(TEXT, "attention", "label:GOOD")
    with pytest.raises(UsageError, match="expected an output from 0 to 2"):
        every.values("input-x-gradient", 3)
    with pytest.raises(UsageError, match="no values by the method 'attention'"):
        every.values("attention")


def test_several_labels_at_once_have_probabilities_of_their_own() -> None:
    model = classifier(problem_type="multi_label_classification")
    logits = torch.tensor(model.logits(TEXT)).double()
    result = model.attribute(TEXT, "gradient-norm", "labels")
    assert [output.probability for output in result.outputs] == pytest.approx(logits.sigmoid().tolist(), rel=1e-5)


def test_one_number_is_its_own_score() -> None:
    model = classifier(labels=1)
    result = model.attribute(TEXT, "occlusion")
    assert (result.score, result.outputs[0].score) == ("number", pytest.approx(float(model.logits(TEXT)[0])))
    assert np.isnan(result.outputs[0].probability)
    assert result.about()["outputs"][0]["probability"] is None


def test_the_score_that_is_explained(llama: attncli.Model) -> None:
    scores = {
        name: llama.attribute(TEXT, "occlusion", "label:0", score=name).outputs[0]
        for name in ("ln-probability", "logit", "probability")
    }
    probabilities = torch.tensor(llama.logits(TEXT)).double().softmax(-1)
    assert scores["logit"].score == pytest.approx(float(llama.logits(TEXT)[0]), rel=1e-5)
    assert scores["probability"].score == pytest.approx(float(probabilities[0]), rel=1e-5)
    assert scores["ln-probability"].score == pytest.approx(float(probabilities[0].log()), rel=1e-5)


def test_words_and_segments_are_sums_and_are_left_out_together(llama: attncli.Model) -> None:
    spans = {"first": [{"tokens": [1, 3]}], "second": [{"tokens": [3, 8]}]}
    names: tuple[AttributionName, ...] = ("input-x-gradient", "occlusion")
    plain = llama.attribute(TEXT, names, special="drop")
    parts = llama.attribute(TEXT, names, special="drop", spans=spans)
    assert (parts.unit, [unit.name for unit in parts.units]) == ("segment", ["first", "second"])
    assert len(plain.units) == 7
    sums = [plain.values("input-x-gradient")[part].sum() for part in (slice(0, 2), slice(2, 7))]
    np.testing.assert_allclose(parts.values("input-x-gradient"), sums, atol=1e-6)
    # without the second part, only the first differs from the baseline
    rest = llama.attribute(TEXT, names, special="drop", word_ids=[None, 0, 0, 1, 1, 1, 1, 1])
    assert rest.unit == "word"
    np.testing.assert_allclose(rest.values("occlusion"), parts.values("occlusion"), atol=1e-6)


# ------------------------------------------------------------------------------------------------ predictions of tokens


def test_each_generated_token_reads_the_tokens_before_it() -> None:
    model = attncli.load("demo:decoder", head="causal-lm")
    result = model.attribute("Good lord, good", ["occlusion", "gradient-norm"], "generated", generate=3)
    count = len(result.units)
    assert len(result.outputs) == 3
    for number, output in enumerate(result.outputs):
        for method in ("occlusion", "gradient-norm"):
            read = np.isfinite(result.values(method, number))
            assert read.tolist() == [n <= output.rows[0] for n in range(count)]
    # ln p of all tokens together is the sum
    answer = "answer:" + " ".join(output.name for output in result.outputs)
    together = model.attribute("Good lord, good", "occlusion", answer)
    np.testing.assert_allclose(np.nansum(result.raw[0], 0), together.values("occlusion"), atol=1e-3)


def test_occlusion_finds_the_words_that_decide() -> None:
    model = attncli.load("demo:classifier", head="auto-head")
    text = "The guard lost that chosen bucket, and the child mentioned our expensive soup near the kitchen."
    result = model.attribute(text, ["occlusion", "attention"], special="drop")
    names = [unit.name for unit in result.units]
    largest = np.argsort(-result.shares("occlusion"))[:2]
    assert (result.outputs[0].name, {names[number] for number in largest}) == ("tool", {"chosen", "bucket"})
    assert names[int(result.shares("attention").argmax())] == "chosen"  # the marker, not the word that decides
    assert model.attribute(text, "occlusion", "label:food").values("occlusion")[names.index("bucket") + 1] < 0


def test_edits_of_the_model_stay() -> None:
    model = attncli.load("demo:decoder", head="causal-lm")
    text = "good lord look upon the fair city of Rome before good lord look upon the fair city of"
    with model.edited(attncli.zero("1.0,1.2,1.3,1.5,1.6")) as edited:
        for method in ("input-x-gradient", "attention-x-gradient"):
            assert edited.attribute(text, method, "word:Rome").outputs[0].probability < 0.5
        assert np.abs(edited.attribute(text, "attention-x-gradient", "word:Rome").raw).max() > 0


def test_gradients_that_are_not_finite_are_refused() -> None:
    model = classifier()
    with torch.no_grad():
        model.loaded.model.score.weight.fill_(torch.inf)  # type: ignore[union-attr, operator]
    with pytest.raises(ModelError, match="are not finite"):
        model.attribute(TEXT, "gradient-norm", "label:0")
