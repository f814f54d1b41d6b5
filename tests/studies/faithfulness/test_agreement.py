"""Agreement between methods, and with people's rationales: against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

import attncli
from attncli.studies.faithfulness.agreement.compute import overlaps, rank_correlations
from attncli.studies.faithfulness.agreement.result import Agreement
from attncli.studies.faithfulness.rationales.compute import area_under_roc, average_precision, first_hit, token_f1


@pytest.mark.parametrize("units", [2, 7, 300])
def test_rank_correlations_are_those_of_scipy_also_with_ties(units: int) -> None:
    generator = np.random.default_rng(units)
    values = np.stack([generator.random(units), generator.integers(0, 3, units), generator.integers(-9, 9, units)])
    values[1, :2] = 0, 1
    tau, rho = rank_correlations(values)
    for row, column in [(0, 1), (1, 2), (0, 2)]:
        assert tau[row, column] == pytest.approx(kendalltau(values[row], values[column]).statistic, nan_ok=True)
        assert rho[row, column] == pytest.approx(spearmanr(values[row], values[column]).statistic, nan_ok=True)
    same = rank_correlations(np.stack([values[0], -values[0], np.ones(units)]))
    assert [matrix[0, 1] for matrix in same] == pytest.approx([-1, -1])
    assert np.isnan([matrix[0, 2] for matrix in same]).all()


def test_the_overlap_is_a_share_of_the_first_units() -> None:
    orders = [np.array([3, 1, 0, 2]), np.array([1, 2, 3, 0])]
    assert overlaps(orders, 2).tolist() == [[1, 0.5], [0.5, 1]]
    assert overlaps(orders, 1)[0, 1] == 0


@pytest.mark.parametrize("seed", range(4))
def test_rationales_are_scored_as_scikit_learn_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, gold = generator.integers(0, 6, 25).astype(float), generator.random(25) < 0.3
    assert average_precision(values, gold) == pytest.approx(average_precision_score(gold, values))
    assert area_under_roc(values, gold) == pytest.approx(roc_auc_score(gold, values))
    order = generator.permutation(25)
    chosen = np.isin(np.arange(25), order[: gold.sum()])
    assert token_f1(order, gold) == pytest.approx(f1_score(gold, chosen))
    assert first_hit(order, gold) == gold[order[0]]
    none, every = np.zeros(25, bool), np.ones(25, bool)
    assert np.isnan([average_precision(values, none), area_under_roc(values, every), first_hit(order, none)]).all()


def test_pairs_have_means_over_the_texts_that_have_a_value() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (3, 3, 3, 9))
    values[:, 0, 1, 8] = np.nan
    pairs = Agreement(("rollout", "attention", "position"), values, np.full(9, 0.1)).pairs
    assert (pairs["method"][0], pairs["other"][0], pairs["spearman_texts"][0]) == ("rollout", "attention", 8)
    assert pairs["spearman"][0] == pytest.approx(values[1, 0, 1, :8].mean())
    assert pairs["kendall_low"][1] < values[0, 0, 2].mean() < pairs["kendall_high"][1]


def test_gold_spans_of_python_name_the_units(classifier: attncli.Model) -> None:
    text = "I saw a chosen cat and some soup."
    spans = [[(15, 18)], ["chosen"], []]
    result = classifier.faithfulness([text] * 3, "occlusion", removal="mask", draws=1, rationales=spans)
    found = result.parts["rationales"]
    assert found.share.tolist() == [pytest.approx(1 / 9), pytest.approx(1 / 9), 0]  # type: ignore[attr-defined]
    top1 = found.values[3, 0]  # type: ignore[attr-defined]
    assert (top1[:2].tolist(), np.isnan(top1[2])) == ([1, 0], True)
    assert found.notes == ("1 text without a rationale: left out of the comparison",)
