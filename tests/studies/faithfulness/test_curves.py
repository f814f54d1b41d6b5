"""Curves of faithfulness: every number recomputed by one forward pass after another, and what is random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attncli
from attncli.studies.faithfulness.curves.compute import removed_units
from attncli.studies.faithfulness.curves.result import COMPARED, PERCENTS, Curves, better

CHOSEN = "I saw a chosen cat and some soup."
ROME = "good lord look upon the fair city of Rome before good lord look upon the fair city of"
METHODS = ("occlusion", "attention")


class ByHand:
    """A bundled model, called with one text after another."""

    def __init__(self, name: str, text: str) -> None:
        self.model = attncli.load(name, head="auto-head")
        self.text, self.is_decoder = text, name == "demo:decoder"
        tokenizer: Any = self.model.loaded.tokenizer
        encoded = tokenizer(text, return_special_tokens_mask=True)
        self.ids = torch.tensor(encoded["input_ids"])
        self.units = np.flatnonzero(np.array(encoded["special_tokens_mask"]) == 0)
        if self.is_decoder:
            self.units = self.units[:-1]  # the last token predicts
        embeddings: Any = self.model.loaded.model.get_input_embeddings()
        mask = tokenizer.pad_token_id if self.is_decoder else tokenizer.mask_token_id
        self.vectors = embeddings(self.ids).detach()
        self.baseline = embeddings.weight[mask].detach()
        self.label = int(self.logits(self.vectors).argmax())

    @torch.no_grad()
    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model.loaded.model(inputs_embeds=vectors[None]).logits[0]
        return logits[-1] if self.is_decoder else logits

    def probability(self, vectors: torch.Tensor) -> float:
        return float(self.logits(vectors).double().softmax(-1)[self.label])

    def without(self, removal: str, units: list[int]) -> float:
        """Return the probability of the prediction without some units, given by number."""
        vectors, positions = self.vectors.clone(), self.units[units]
        if removal == "mask":
            vectors[positions] = self.baseline
            return self.probability(vectors)
        return self.probability(vectors[np.setdiff1d(np.arange(len(vectors)), positions)])

    def orders(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the orders of the units by number."""
        attribution = self.model.attribute(self.text, METHODS, special="drop")
        count = len(self.units)
        orders = {name: np.argsort(-attribution.values(name)[:count], kind="stable") for name in METHODS}
        return {**orders, "position": np.arange(count)[::-1] if self.is_decoder else np.arange(count)}


@pytest.mark.parametrize(("name", "text"), [("demo:classifier", CHOSEN), ("demo:decoder", ROME)])
def test_each_number_is_that_of_passes_one_by_one(name: str, text: str) -> None:
    by_hand = ByHand(name, text)
    result = by_hand.model.faithfulness(text, METHODS)
    curves, count = result.curves, len(by_hand.units)
    assert (curves.methods, curves.removals) == ((*METHODS, "random", "position"), ("mask", "delete"))
    assert (result.texts[0].units, result.baseline) == (count, "pad" if by_hand.is_decoder else "mask")
    assert result.texts[0].probability == pytest.approx(by_hand.probability(by_hand.vectors), abs=1e-6)
    for number, removal in enumerate(curves.removals):
        for method, order in by_hand.orders().items():
            row = curves.methods.index(method)
            for column, percent in enumerate(PERCENTS):
                first = order[: int(np.ceil(percent * count / 100))].tolist()
                others = [unit for unit in range(count) if unit not in first]
                expected = by_hand.without(removal, first), by_hand.without(removal, others)
                got = curves.deletion[number, row, column, 0], curves.insertion[number, row, column, 0]
                assert got == pytest.approx(expected, abs=1e-5), (removal, method, percent)


def test_the_means_are_those_of_the_curves() -> None:
    generator = np.random.default_rng(0)
    deletion, insertion = generator.random((2, 1, 3, len(PERCENTS), 8))
    deletion[:, :, 0] = 0.9
    curves = Curves(("rollout", "random", "position"), ("delete",), deletion, insertion)
    columns = [PERCENTS.index(percent) for percent in COMPARED]
    assert curves.means["comprehensiveness"] == pytest.approx(0.9 - deletion[0][:, columns].mean((1, 2)))
    assert curves.means["sufficiency"] == pytest.approx(0.9 - insertion[0][:, columns].mean((1, 2)))
    area = sum(
        (before + after) / 2 * (to - start) / 100
        for before, after, start, to in zip(
            deletion[0, 0, :-1, 3], deletion[0, 0, 1:, 3], PERCENTS[:-1], PERCENTS[1:], strict=True
        )
    )
    assert curves.of_texts["deletion_area"][3 * 3] == pytest.approx(area)
    difference = curves.differences
    (row,) = np.flatnonzero((difference["measure"] == "sufficiency") & (difference["baseline"] == "random"))
    changes = (insertion[0, 1] - insertion[0, 0])[columns].mean(0)
    assert difference["difference"][row] == pytest.approx(changes.mean())
    assert difference["low"][row] < changes.mean() < difference["high"][row]


@pytest.mark.parametrize(
    ("change", "better", "word"),
    [(0.3, True, "for rollout by +0.3"), (0.0, None, "no clear difference for rollout"), (-0.3, False, "lower")],
)
def test_the_summary_says_which_methods_beat_a_random_order(change: float, better: bool | None, word: str) -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, (1, 3, len(PERCENTS), 12))
    deletion = np.full((2, 3, len(PERCENTS), 12), 0.5) + np.concatenate([noise, noise])
    deletion[0, 0, 1:] -= change
    curves = Curves(("rollout", "random", "position"), ("mask", "delete"), deletion, deletion[:, [1, 1, 1]])
    rows = curves.differences
    chosen = (rows["removal"] == "mask") & (rows["measure"] == "comprehensiveness") & (rows["baseline"] == "random")
    assert rows["better"][chosen].tolist() == [better]
    first, *_, removals = curves.sentences
    assert first.startswith("Removal mask, 12 texts: comprehensiveness")
    assert word in first
    if change:
        assert ("not clearly better than an order by position" in first) == (change < 0)
    assert ("The removals disagree on comprehensiveness of rollout" in removals) == bool(change)


def test_a_clear_difference_needs_the_interval_and_the_adjusted_p_value() -> None:
    ends = np.array([[0.1, 0.2], [-0.2, -0.1], [0.1, 0.2], [-0.1, 0.2], [np.nan, np.nan]])
    p_adjusted = np.array([0.05, 0.01, 0.06, 0.01, np.nan])
    assert better(np.ones(5), ends, p_adjusted).tolist() == [True, False, None, None, None]
    assert better(-np.ones(5), ends, p_adjusted).tolist() == [False, True, None, None, None]


def test_a_similarity_is_no_probability_and_has_positions_from_the_start() -> None:
    model = attncli.load("demo:encoder", head="base")
    result = model.faithfulness("a man eats bread", "attention", "similarity:food", removal="delete", draws=1)
    assert result.curves.response == "similarity"
    without_first = model.faithfulness("man eats bread", "attention", "similarity:food", removal="delete", draws=1)
    removed = result.curves.deletion[0, result.curves.methods.index("position"), PERCENTS.index(10), 0]
    assert removed == pytest.approx(without_first.texts[0].probability, abs=1e-5)


def test_few_texts_have_no_intervals_and_say_so() -> None:
    curves = Curves(("rollout", "random", "position"), ("mask",), *np.full((2, 1, 3, len(PERCENTS), 5), 0.5))
    assert np.isnan(curves.means["sufficiency_low"]).all()
    assert curves.sentences[0].startswith("5 texts: too few for intervals")


def test_removed_units_are_the_first_of_the_order() -> None:
    deletion, insertion = removed_units(np.array([2, 0, 1]), 3)
    assert deletion[[0, 1, 7, 12]].tolist() == [
        [False, False, False],
        [False, False, True],
        [True, False, True],
        [True, True, True],
    ]
    assert (insertion == ~deletion).all()


def test_random_numbers_follow_the_seed(classifier: attncli.Model) -> None:
    def resampled(seed: int) -> Curves:
        texts = [CHOSEN, "The chosen lever and soup."]
        return classifier.faithfulness(texts, "attention", seed=seed, draws=2, removal="resample").curves

    first, again, other = map(resampled, (0, 0, 1))
    np.testing.assert_array_equal(first.deletion, again.deletion)
    assert (first.deletion[:, :, 5] != other.deletion[:, :, 5]).any()
    assert first.deletion[0, :, 0] == pytest.approx(other.deletion[0, :, 0])
