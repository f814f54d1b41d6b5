"""Measure demo:classifier: how often it is right, and which simple methods find the word that decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import attncli
from attncli.studies.attribute.options import AttributionName
from training.chosen import LABELS, ChosenText, most_frequent_kind
from training.common import Scores, best_head, eager

BATCH = 100
METHODS: tuple[AttributionName, ...] = get_args(AttributionName)


def token_row(tokenizer: PreTrainedTokenizerBase, text: ChosenText) -> list[int]:
    """Return the ids of a text; word i is token i + 1, after [CLS]."""
    ids: list[int] = tokenizer(text.text)["input_ids"]
    assert len(ids) == len(text.words) + 2
    return ids


@torch.no_grad()
def logits_of(model: PreTrainedModel, rows: list[list[int]]) -> torch.Tensor:
    """Return the logits of rows of ids, axes (row, label), computed in padded batches."""
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return torch.cat([model(**padded(batch)).logits for batch in batches])


def padded(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    """Return rows of ids as one batch, padding on the right."""
    tensors = [torch.tensor(row) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    present = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return {"input_ids": ids, "attention_mask": present}


def without(row: list[int], words: tuple[int, ...], mask: int) -> list[int]:
    """Return the ids of a text with some words hidden."""
    return [mask if index - 1 in words else token for index, token in enumerate(row)]


def accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[ChosenText],
    hidden: Callable[[ChosenText], tuple[int, ...]] = lambda text: (),
) -> float:
    """Return the share of texts whose label the model predicts, some words of each hidden behind [MASK]."""
    mask = int(tokenizer.mask_token_id)
    rows = [without(token_row(tokenizer, text), hidden(text), mask) for text in texts]
    labels = torch.tensor([LABELS.index(text.label) for text in texts])
    return round(float((logits_of(model, rows).argmax(-1) == labels).float().mean()), 4)


def occlusion(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: ChosenText) -> torch.Tensor:
    """Return for each word by how much the probability of the label falls when the word is hidden: (word,)."""
    mask, row = int(tokenizer.mask_token_id), token_row(tokenizer, text)
    rows = [row, *(without(row, (index,), mask) for index in range(len(text.words)))]
    probability = logits_of(model, rows).softmax(-1)[:, LABELS.index(text.label)]
    return probability[0] - probability[1:]


@torch.no_grad()
def attention_of_cls(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: ChosenText) -> torch.Tensor:
    """Return the attention weights from [CLS] to each word, axes (layer, head, word)."""
    ids = torch.tensor([token_row(tokenizer, text)])
    return torch.stack(model(input_ids=ids, output_attentions=True).attentions)[:, 0, :, 0, 1:-1]


def first_word(importance: torch.Tensor, text: ChosenText) -> dict[str, torch.Tensor]:
    """Return whether the most important word is the one that decides, and whether it is the marker; drops axis word."""
    first = importance.argmax(-1)
    groups = {"rationale": text.rationale, "marker": text.marker}
    return {name: torch.isin(first, torch.tensor(words)).float() for name, words in groups.items()}


def classifier_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[ChosenText]) -> Scores:
    """Return the accuracy, also without single words, and which word is the most important one by simple methods.

    These are the attention of [CLS], its mean over all heads, over those of the last layer, or of the best head, and
    occlusion: the shares of (at most 100) texts in which it is the word that decides, or the marker.
    """
    few = texts[:: max(1, len(texts) // 100)][:100]
    with eager(model):
        weights = [attention_of_cls(model, tokenizer, text) for text in few]
    methods = {
        "mean_attention": [of_text.mean((0, 1)) for of_text in weights],
        "last_layer": [of_text[-1].mean(0) for of_text in weights],
        "heads": weights,
        "occlusion": [occlusion(model, tokenizer, text) for text in few],
    }
    shares = {
        f"{method}_{word}": torch.stack([first_word(*pair)[word] for pair in zip(values, few, strict=True)]).mean(0)
        for method, values in methods.items()
        for word in ("rationale", "marker")
    }
    return {
        "accuracy": accuracy(model, tokenizer, texts),
        "accuracy_without_rationale": accuracy(model, tokenizer, texts, lambda text: text.rationale),
        "accuracy_without_marker": accuracy(model, tokenizer, texts, lambda text: text.marker),
        "most_frequent_kind": round(sum(most_frequent_kind(text) == text.label for text in texts) / len(texts), 4),
        **{name: best_head(share) if share.ndim else round(float(share), 4) for name, share in shares.items()},
    }


def method_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[ChosenText],
    methods: Sequence[AttributionName] = METHODS,
) -> Scores:
    """Return for each method of `attncli attribute` how well it finds the word that decides.

    word    share of texts in which the word with the largest share is the one that decides
    marker  the same of the marker before it
    auroc   mean area under the ROC curve: how probable it is that the word that decides has a larger share than another
    """
    loaded = attncli.load(model, tokenizer=tokenizer)
    means = np.mean([_found(loaded, text, methods) for text in texts], axis=0).round(2)
    return {
        method: ", ".join(f"{name} {value:.2f}" for name, value in zip(("word", "marker", "auroc"), row, strict=True))
        for method, row in zip(methods, means.tolist(), strict=True)
    }


def _found(model: attncli.Model, text: ChosenText, methods: Sequence[AttributionName]) -> np.ndarray[Any, Any]:
    """Return for each method whether the decisive word is first, whether the marker is, and the area of the curve."""
    result = model.attribute(text.text, methods, special="drop", allow_delta=True)
    # word i is token i + 1, after [CLS]
    words = np.array([unit.positions[0] - 1 for unit in result.units])
    decides, marks = np.isin(words, text.rationale), np.isin(words, text.marker)
    rows = []
    for method in methods:
        shares = result.shares(method)
        first = int(shares.argmax())
        rows.append([decides[first], marks[first], (shares[decides][:, None] > shares[~decides]).mean()])
    return np.array(rows, float)
