"""Measure the demo models: the scores printed in their cards and asserted by their tests."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from training import common
from training.chosen import held_out as held_out_chosen
from training.common import Scores, best_head, eager
from training.mirror import mirror_alignment, mirror_words
from training.rationale_scores import classifier_scores, method_scores

DEMO = Path(__file__).parent.parent / "attncli" / "demo"
Measure = tuple[str, Any, Callable[..., Scores], list[Any]]
"""A bundled model, the class that loads it, a function that returns its scores, and the texts."""


@torch.no_grad()
def repeated_random_tokens(
    model: PreTrainedModel, bos: int, first: int, length: int = 50, seeds: tuple[int, ...] = (0, 1, 2, 3)
) -> dict[str, torch.Tensor]:
    """Mean weights of each head on ``<s> r r`` over the second copy (Olsson et al. 2022), axes (layer, head).

    Offsets: induction ``1 - length``, duplicate ``-length``, previous ``-1``; ``first`` is the first token id
    that r may hold.
    """
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        copy = torch.randint(first, model.config.vocab_size, (length,), generator=generator)
        rows.append(torch.cat([torch.tensor([bos]), copy, copy]))
    with eager(model):
        attentions = model(input_ids=torch.stack(rows), output_attentions=True, use_cache=False).attentions
    weights = torch.stack(attentions).mean(dim=1)  # (layer, head, query, key)
    offsets = {"induction": 1 - length, "duplicate": -length, "previous": -1}
    return {
        name: weights.diagonal(offset, dim1=-2, dim2=-1)[..., -length:].mean(-1) for name, offset in offsets.items()
    }


@torch.no_grad()
def text_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> float:
    """Next-token loss in nats per token over the texts, each cut at 256 tokens."""
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)["input_ids"]
        if ids.shape[1] < 2:
            continue
        total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / max(1, count)


def decoder_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Scores:
    """Best induction, duplicate and previous-token head on repeated random tokens, and the loss on texts."""
    special = len(tokenizer.all_special_ids)
    measured = repeated_random_tokens(model, int(tokenizer.bos_token_id), special)
    found: Scores = {name: best_head(values) for name, values in measured.items()}
    return found | {"text_loss": round(text_loss(model, tokenizer, texts), 3)}


@torch.no_grad()
def spelled_right(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> tuple[float, float]:
    """Shares of texts and of characters that greedy decoding gets right."""
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    room = int(inputs["input_ids"].shape[1]) + 4
    outputs = model.generate(  # type: ignore[operator]
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=room,
        max_length=None,
        num_beams=1,
        do_sample=False,
    )
    written = tokenizer.batch_decode(outputs, skip_special_tokens=True)
    wanted = [mirror_words(text) for text in texts]
    couples = list(zip(written, wanted, strict=True))
    same = sum(a == b for couple in couples for a, b in zip(*couple, strict=False))
    right = sum(got == want for got, want in couples)
    return right / len(texts), same / sum(map(len, wanted))


@torch.no_grad()
def cross_alignment(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> torch.Tensor:
    """Share of target characters whose most attended source character is the right one: (layer, head).

    The row that predicts a character is the one scored; the model reads the right target so far. Only word
    characters that change place count, so that a plain diagonal scores nothing.
    """
    hits, count = torch.zeros(()), 0
    with eager(model):
        for text in texts:
            source = tokenizer(text, return_tensors="pt")["input_ids"]
            target = tokenizer(mirror_words(text), return_tensors="pt")["input_ids"]
            out = model(input_ids=source, labels=target, output_attentions=True)
            attended = torch.stack(out.cross_attentions)[:, 0].argmax(-1)  # (layer, head, target)
            aligned = torch.tensor(mirror_alignment(text))
            moved = aligned != torch.arange(len(text))
            hits = hits + (attended[..., : len(text)] == aligned)[..., moved].sum(-1)
            count += int(moved.sum())
    return hits / count


def seq2seq_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Scores:
    """Greedy accuracy by text and character, and the best-aligned cross-attention head."""
    whole, characters = spelled_right(model, tokenizer, texts)
    alignment = cross_alignment(model, tokenizer, texts)
    return {
        "texts_right": round(whole, 4),
        "characters_right": round(characters, 4),
        "alignment": best_head(alignment),
    }


@torch.no_grad()
def masked_one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> torch.Tensor:
    """Per token, hidden alone: log-probability of the truth; 1 if it is the first guess: (token, 2)."""
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=128)
    ids = encoded["input_ids"][0]
    special = torch.tensor(tokenizer.all_special_ids)
    asked = (~torch.isin(ids, special)).nonzero()[:, 0]
    rows = ids.repeat(len(asked), 1)
    rows[torch.arange(len(asked)), asked] = int(tokenizer.mask_token_id)
    if not len(asked):
        return torch.zeros(0, 2)
    logits = model(input_ids=rows).logits[torch.arange(len(asked)), asked]
    truth = ids[asked]
    log_probability = logits.log_softmax(-1)[torch.arange(len(asked)), truth]
    return torch.stack([log_probability, (logits.argmax(-1) == truth).float()], dim=1)


def unigram_log_probability(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> torch.Tensor:
    """Log-probability of every token by its frequency in the texts, one added to each count: (token,)."""
    counts = torch.ones(len(tokenizer))
    for row in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        counts += torch.bincount(torch.tensor(row, dtype=torch.long), minlength=len(tokenizer))
    return (counts / counts.sum()).log()


@torch.no_grad()
def mean_offsets(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Scores:
    """Best previous, next, ``[CLS]`` and ``[SEP]`` heads: mean weight over the texts' inner tokens."""
    totals: dict[str, torch.Tensor] = {}
    with eager(model):
        for text in texts:
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=128)["input_ids"]
            weights = torch.stack(model(input_ids=ids, output_attentions=True).attentions)[:, 0]
            inner = weights[:, :, 1:-1]
            found = {
                "previous": weights.diagonal(-1, dim1=-2, dim2=-1)[..., 1:-1].mean(-1),
                "next": weights.diagonal(1, dim1=-2, dim2=-1)[..., 1:-1].mean(-1),
                "cls": inner[..., 0].mean(-1),
                "sep": inner[..., -1].mean(-1),
            }
            totals = {name: totals.get(name, 0) + value / len(texts) for name, value in found.items()}
    return {name: best_head(value) for name, value in totals.items()}


@torch.no_grad()
def hidden_word_to_its_copy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]
) -> torch.Tensor:
    """A sentence twice, as a pair; each token of the first hidden in turn: mean weight from the hidden token
    to its copy in the second, axes (layer, head).
    """
    total, count = torch.zeros(()), 0
    with eager(model):
        for text in texts:
            encoded = tokenizer(text, text, return_tensors="pt", truncation=True, max_length=128)
            ids = encoded["input_ids"][0]
            shift = (len(ids) - 1) // 2
            hidden = torch.arange(1, shift)
            rows = ids.repeat(len(hidden), 1)
            rows[hidden - 1, hidden] = int(tokenizer.mask_token_id)
            segments = encoded["token_type_ids"].expand_as(rows)
            attentions = model(input_ids=rows, token_type_ids=segments, output_attentions=True).attentions
            weights = torch.stack(attentions)[:, hidden - 1, :, hidden, hidden + shift]  # (row, layer, head)
            total, count = total + weights.sum(0), count + len(hidden)
    return total / count


def encoder_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Scores:
    """Loss and accuracy with one token hidden at a time, beside token frequencies; the clearest heads."""
    guesses = torch.cat([masked_one_by_one(model, tokenizer, text) for text in texts])
    unigram = unigram_log_probability(tokenizer, texts)
    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=126)["input_ids"]
    special = set(tokenizer.all_special_ids)
    tokens = torch.tensor([token for row in ids for token in row if token not in special])
    return {
        "masked_loss": round(-float(guesses[:, 0].mean()), 3),
        "masked_accuracy": round(float(guesses[:, 1].mean()), 3),
        "unigram_loss": round(-float(unigram[tokens].mean()), 3),
        "unigram_accuracy": round(float((tokens == unigram.argmax()).float().mean()), 3),
        **mean_offsets(model, tokenizer, texts),
        "copy": best_head(hidden_word_to_its_copy(model, tokenizer, texts)),
    }


def measures_of_text(data: Path) -> list[Measure]:
    """Return what is measured on the held-out texts of corpora."""
    held_out = common.without_unknown(common.corpus(data)[1])
    lines = [text for paragraph in held_out for text in common.sentences(paragraph) if text.isascii()]
    short, long = ([text for text in lines if low <= len(text) < low + 30] for low in (20, 50))
    return [
        ("encoder", AutoModelForMaskedLM, encoder_scores, held_out[::4]),
        ("decoder", AutoModelForCausalLM, decoder_scores, held_out),
        ("seq2seq", AutoModelForSeq2SeqLM, seq2seq_scores, short[:200]),
        ("seq2seq", AutoModelForSeq2SeqLM, seq2seq_scores, long[:200]),
    ]


def main() -> None:
    """Print the scores of the bundled models in a folder on held-out text."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, help="folder of text corpora; without it only the classifier is measured")
    parser.add_argument("--models", type=Path, default=DEMO, help="folder of encoder, decoder, seq2seq and classifier")
    options = parser.parse_args()
    measures: list[Measure] = [] if options.data is None else measures_of_text(options.data)
    measures += [
        ("classifier", AutoModelForSequenceClassification, classifier_scores, held_out_chosen(1000)),
        ("classifier", AutoModelForSequenceClassification, method_scores, held_out_chosen(50)),
    ]
    for name, loader, measure, texts in measures:
        folder = options.models / name
        model = loader.from_pretrained(folder)
        size, longest = (folder / "model.safetensors").stat().st_size, max(len(str(text)) for text in texts)
        common.say(f"{name} ({size:,} bytes; {len(texts)} texts of up to {longest} characters)")
        for score, value in measure(model, AutoTokenizer.from_pretrained(folder), texts).items():
            common.say(f"  {score}: {value}")


if __name__ == "__main__":
    main()
