"""Deleted tokens: the text is read anew by every sort of model, and the prediction moves with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, build, tiny_tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    BertForQuestionAnswering,
    BertForTokenClassification,
    LlamaConfig,
)

import attncli
from attncli.data import Array
from attncli.studies.faithfulness.removal import TextRemover

Call = tuple[TextRemover, Array, Array]


def bert(cls: Any) -> attncli.Model:
    config = build(FAMILIES["bert"]).config
    config.num_labels = 2 if cls is BertForQuestionAnswering else 4
    torch.manual_seed(0)
    return attncli.load(cls(config).eval(), tokenizer=tiny_tokenizer(FAMILIES["bert"]))


def llama_classifier() -> attncli.Model:
    torch.manual_seed(0)
    config = LlamaConfig(**{**FAMILIES["llama"].config, "num_labels": 3, "pad_token_id": 0})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    return attncli.load(model, tokenizer=tiny_tokenizer(FAMILIES["llama"]))


MODELS: dict[str, tuple[Callable[[], attncli.Model], dict[str, Any]]] = {
    "mask": (lambda: attncli.load("demo:encoder", head="auto-head"), {"text": "the cat sat [MASK] the street ."}),
    "answer": (
        lambda: attncli.load("demo:decoder", head="causal-lm"),
        {"text": "fair city of Rome before fair city of", "explain": "answer:Rome before"},
    ),
    "target": (lambda: attncli.load("demo:seq2seq"), {"text": "The cat", "target": "ta"}),
    "label of a decoder": (llama_classifier, {"text": "the animal did not cross"}),
    "label of a word": (lambda: bert(BertForTokenClassification), {"text": "the city sat .", "explain": "label:@city"}),
    "answer in a text": (
        lambda: bert(BertForQuestionAnswering),
        {"text": "the cat ?", "pair": "the dog sat on the city .", "explain": "answer:the city"},
    ),
}


def probability(remover: TextRemover, gone: dict[str, set[int]]) -> float:
    """Return the probability of the prediction without some tokens, by a call of the model alone."""
    predictions, (output,) = remover.predictions, remover.predictions.outputs
    batch, loaded = predictions.prepared.batches[0], predictions.prepared.loaded
    kept = {
        side: [position for position in range(len(tokens)) if position not in gone[side]]
        for side, tokens in predictions.tokens.items()
    }
    sides = {name: "target" if name.startswith("decoder_") else "source" for name in batch.tensors}
    with torch.no_grad():
        outputs = loaded.model(**{name: tensor[:, kept[sides[name]]] for name, tensor in batch.tensors.items()})
    rows = kept[list(kept)[-1]]
    if hasattr(outputs, "start_logits"):
        ends = zip((outputs.start_logits, outputs.end_logits), output.ids, strict=True)
        return float(np.prod([float(of[0].double().softmax(-1)[rows.index(end)]) for of, end in ends]))
    shares = outputs.logits[0].double().softmax(-1)
    if not output.rows:
        return float(shares[output.ids[0]])
    pairs = zip(output.rows, output.ids, strict=True)
    return float(np.prod([float(shares[rows.index(row), token]) for row, token in pairs]))


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Return a list that receives the calls of `TextRemover.scores`."""
    calls: list[Call] = []
    scores = TextRemover.scores

    def score(remover: TextRemover, removal: str, removed: Array) -> Array:
        calls.append((remover, removed, scores(remover, removal, removed)))
        return calls[-1][2]

    monkeypatch.setattr(TextRemover, "scores", score)
    return calls


@pytest.mark.parametrize("name", MODELS)
def test_a_shorter_text_predicts_what_the_model_predicts_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load, options = MODELS[name]
    calls = recorded(monkeypatch)
    load().faithfulness(method="attention", removal="delete", draws=1, **options)
    ((remover, removed, values),) = calls
    units = [(side, unit.positions) for side, of_side in remover.units.items() for unit in of_side]
    assert len(units) == removed.shape[1] >= 2
    for row, value in list(zip(removed, values, strict=True))[:: max(1, len(values) // 24)]:
        gone: dict[str, set[int]] = {"source": set(), "target": set()}
        for (side, positions), is_gone in zip(units, row, strict=True):
            gone[side] |= set(positions) if is_gone else set()
        assert value == pytest.approx(probability(remover, gone), rel=1e-4, abs=1e-7), gone


@torch.no_grad()
def test_resampled_tokens_are_those_of_the_other_texts(
    classifier: attncli.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch)
    texts = ["I saw a chosen cat and some soup.", "The chosen lever and soup."]
    classifier.faithfulness(texts, "attention", removal="resample", draws=2)
    raw: Any = classifier.loaded.model
    embeddings, tokenizer = raw.get_input_embeddings(), classifier.loaded.tokenizer
    others = embeddings(torch.tensor(tokenizer(texts[1])["input_ids"][1:-1]))  # type: ignore[misc]
    remover, removed, values = calls[0]
    own = remover.predictions.vectors[0]
    for row, value in zip(removed[:9], values[:9], strict=True):
        gone = torch.zeros(len(own), dtype=torch.bool)
        gone[1:-1] = torch.from_numpy(row)
        shares = []
        for (drawn,) in remover._drawn:
            assert (torch.cdist(drawn[1:-1], others).min(1).values < 1e-5).all()
            assert len(drawn[1:-1].unique(dim=0)) > 1
            logits = raw(inputs_embeds=torch.where(gone[:, None], drawn, own)[None]).logits[0]
            shares.append(float(logits.double().softmax(-1)[remover.predictions.outputs[0].ids[0]]))
        assert value == pytest.approx(np.mean(shares), abs=1e-6)
