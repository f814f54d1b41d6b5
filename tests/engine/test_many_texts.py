"""Many texts: batches within a budget of tokens, the same numbers as single texts, and progress."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import attncli
from attncli import models
from attncli.data import Statistics, Text
from attncli.engine.measuring import categories
from attncli.engine.progress import Advance, interleave_lengths
from attncli.engine.request import Request
from attncli.inputs.encode import encode
from attncli.models.loading import load

WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "two", "dogs", "ran", "over", "three", "hills")


def lines(count: int, seed: int = 0) -> list[Text]:
    chance = random.Random(seed)
    return [Text(" ".join(chance.choices(WORDS, k=chance.randint(1, 12)))) for _ in range(count)]


def few_lengths(count: int) -> list[Text]:
    """Return texts of 2, 5 and 9 words, so that batches have several texts."""
    chance = random.Random(0)
    return [Text(" ".join(chance.choices(WORDS, k=(2, 5, 9)[at % 3]))) for at in range(count)]


def model_of(name: str, minilm: Path, dtype: torch.dtype) -> attncli.Model:
    loaded = load(str(minilm) if name == "minilm" else f"demo:{name}", device="cpu")
    return attncli.Model(models.wrap_model(loaded.model.to(dtype), loaded.tokenizer))


def measured(model: attncli.Model, texts: list[Text], batch_tokens: int = 4096) -> Statistics:
    if model.loaded.is_encoder_decoder:
        texts = [Text(text.text, target=text.text[::-1]) for text in texts]
    found = model.run(texts, metrics="all", keep_maps=False, batch_tokens=batch_tokens).statistics
    assert found is not None
    return found


def one_by_one(model: attncli.Model, texts: list[Text]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean and spread over texts by the two-pass formulas, from runs of single texts."""
    alone = [measured(model, [text]) for text in texts]
    tables = {name: np.array([found[name].values for found in alone]) for name in alone[0].heads}
    masked = {name: np.ma.masked_invalid(table) for name, table in tables.items() if name not in categories()}
    return (
        {name: table.mean(0).filled(np.nan) for name, table in masked.items()},
        {name: table.std(0).filled(np.nan) for name, table in masked.items()},
    )


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq", pytest.param("minilm", marks=pytest.mark.real)])
def test_any_order_and_batching_gives_the_numbers_of_single_texts(name: str, minilm: Path) -> None:
    model, texts = model_of(name, minilm, torch.float64), few_lengths(9)
    means, spreads = one_by_one(model, texts)
    for seed, budget in ((1, 1), (2, 40), (3, 4096)):
        found = measured(model, random.Random(seed).sample(texts, len(texts)), budget)
        for metric, expected in means.items():
            np.testing.assert_allclose(found[metric].values, expected, rtol=1e-12, atol=1e-12, err_msg=metric)
            np.testing.assert_allclose(found.std[metric].values, spreads[metric], rtol=1e-9, atol=1e-8, err_msg=metric)


@pytest.mark.parametrize("name", ["encoder", "minilm"])
def test_in_float32_batches_differ_by_rounding_alone(name: str, minilm: Path) -> None:
    model, texts = model_of(name, minilm, torch.float32), few_lengths(9)
    means, _ = one_by_one(model, texts)
    found = measured(model, texts[::-1])
    for metric, expected in means.items():
        np.testing.assert_allclose(found[metric].values, expected, rtol=1e-4, atol=1e-5, err_msg=metric)


@pytest.mark.parametrize("budget", [1, 7, 50, 4096])
def test_batches_keep_to_the_budget_and_hold_each_text_once(budget: int) -> None:
    loaded = models.load("demo:encoder", device="cpu")
    batches = list(encode(loaded, lines(300), batch_tokens=budget))
    assert all(batch.source_mask.all() for batch in batches)
    assert all(batch.source_mask.numel() <= budget or len(batch.inputs) == 1 for batch in batches)
    assert sorted(one.index for batch in batches for one in batch.inputs) == list(range(300))
    for batch in batches:
        for one, ids in zip(batch.inputs, batch.tensors["input_ids"].tolist(), strict=True):
            assert one.source.ids.tolist() == ids == loaded.tokenizer(one.text.text)["input_ids"]


def test_the_longest_text_goes_first_and_lengths_are_mixed() -> None:
    loaded = models.load("demo:encoder", device="cpu")
    batches = list(encode(loaded, [Text("cat " * n) for n in range(1, 101)]))
    order = [batch.lengths[0] for batch in interleave_lengths(batches)]
    assert order[0] == max(order)
    assert sorted(order) == sorted(batch.lengths[0] for batch in batches)
    for start in range(0, 100, 20):
        assert np.mean(order[start : start + 20]) == pytest.approx(np.mean(order), rel=0.1)


class RecordedProgress:
    """A `Track` that records its calls."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[float, str, list[float]]] = {}

    @contextmanager
    def __call__(self, what: str, total: float, unit: str) -> Iterator[Advance]:
        steps: list[float] = []
        self.calls[what] = (total, unit, steps)
        yield steps.append


@pytest.mark.parametrize("name", ["decoder", "seq2seq"])
@pytest.mark.parametrize("options", [{}, {"layer": 1, "head": "0,2"}, {"words": True}], ids=str)
def test_progress_counts_tokens_and_moves_within_one_text(name: str, options: dict[str, object]) -> None:
    model, progress = attncli.load(f"demo:{name}"), RecordedProgress()
    text = Text("one two three", target="three two one" if name == "seq2seq" else None)
    request = Request.of({"metrics": "all", "keep_maps": False, **options})  # type: ignore[typeddict-item]
    model.gather([text], request, progress)
    [one] = model.run(text, layer=0).inputs
    total, unit, steps = progress.calls["reading"]
    assert (total, unit) == (len(one.source) + len(one.target or ()), "tokens")
    assert sum(steps) == pytest.approx(total)
    assert len(steps) >= (1 if options.get("layer") else 3)


def test_progress_counts_generated_texts() -> None:
    model, progress = attncli.load("demo:seq2seq"), RecordedProgress()
    texts = [Text("one two"), Text("two", target="owt"), Text("three")]
    model.gather(texts, Request.of({"metrics": ["sink"], "keep_maps": False}), progress)
    assert progress.calls["writing"] == (2, "texts", [1, 1])
