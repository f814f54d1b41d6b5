"""A linear model of the response: a weight for each segment, and how well the sum of weights predicts.

As in ContextCite (Cohen-Wang et al. 2024), the response is the logit of the probability of the prediction, and with
more subsets than are taken the weights are those of LASSO: few segments get a weight that is not 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.knockout.compute import rank_correlation

PENALTY = 0.01
"""Penalty of LASSO on the logit per predicted token, for columns of variance 1, as in ContextCite."""
FOLDS = 5
FEWEST = 8
"""Least number of subsets of which some can be held out."""
_NO_CHANGE = 1e-6
_DIGITS = 6
_LARGEST = -np.finfo(np.float64).eps


def logit_of(ln_probability: Array) -> Array:
    """Return ln p - ln(1 - p); a probability of 1 counts as the largest below it.

    >>> logit_of(np.log([0.5, 0.2])).round(3).tolist()
    [0.0, -1.386]
    """
    bounded = np.minimum(ln_probability, _LARGEST)
    logit: Array = bounded - np.log(-np.expm1(bounded))
    return logit


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A linear model of the response.

    weights      [segment]
    intercept    its response without any segment
    sparse       whether it is fitted by LASSO, else by least squares
    r2           share of the variance of the responses that it explains, for the subsets that it was fitted to
    r2_held_out  the same for subsets that it was not fitted to
    lds          linear datamodeling score: Spearman's correlation of its responses with those of the model, for
                 subsets that it was not fitted to
    Numbers are NaN if the response is the same for all subsets, and those of held-out subsets with fewer than 8.
    """

    weights: Array
    intercept: float
    sparse: bool
    r2: float
    r2_held_out: float
    lds: float

    @classmethod
    def of(cls, kept: Array, responses: Array, tokens: int, sparse: bool, seed: int) -> Surrogate:
        """Return the linear model of the responses [subset] to subsets [subset, segment] bool.

        tokens  number of predicted tokens: responses are divided by it for the penalty of LASSO
        sparse  whether to use LASSO
        seed    seed of the folds: the subsets of each are predicted by a fit to the others
        """
        weights, intercept = fit(kept, responses, tokens, sparse)
        held_out = np.full(len(kept), np.nan)
        if len(kept) >= FEWEST:
            folds = np.random.default_rng(seed).permutation(len(kept)) % FOLDS
            for fold in range(FOLDS):
                of_others = fit(kept[folds != fold], responses[folds != fold], tokens, sparse)
                held_out[folds == fold] = kept[folds == fold] @ of_others[0] + of_others[1]
        changes = bool(np.ptp(responses) > _NO_CHANGE)
        known = changes and len(kept) >= FEWEST
        return cls(
            weights,
            intercept,
            sparse,
            explained_share(responses, kept @ weights + intercept) if changes else float("nan"),
            explained_share(responses, held_out) if known else float("nan"),
            # rounded: equal responses would differ in their last digits
            rank_correlation(responses.round(_DIGITS), held_out.round(_DIGITS)) if known else float("nan"),
        )


def fit(kept: Array, responses: Array, tokens: int, sparse: bool) -> tuple[Array, float]:
    """Return the weights [segment] and the intercept of a linear model; arguments as for `Surrogate.of`."""
    members = kept.astype(np.float64)
    if not sparse:
        solved = np.linalg.lstsq(np.column_stack([members, np.ones(len(members))]), responses, rcond=None)[0]
        return solved[:-1], float(solved[-1])
    means, scales = members.mean(0), members.std(0)
    scales = np.where(scales > 0, scales, 1.0)
    model = _lasso()(alpha=PENALTY).fit((members - means) / scales, responses / tokens)
    weights: Array = model.coef_ / scales * tokens
    return weights, float(model.intercept_) * tokens - float(means @ weights)


def explained_share(responses: Array, predicted: Array) -> float:
    """Return R²: 1 minus the squared error of predictions as a share of the variance; below 0 if the mean is better.

    >>> explained_share(np.array([1.0, 2, 3]), np.array([1.0, 2, 4]))
    0.5
    """
    return float(1 - ((responses - predicted) ** 2).sum() / ((responses - responses.mean()) ** 2).sum())


def _lasso() -> type:
    """Return the class of scikit-learn; raise UsageError if it is not installed."""
    try:
        from sklearn.linear_model import Lasso
    except ImportError as error:
        raise UsageError(
            "a sample of the subsets of segments needs scikit-learn: pip install 'attncli[analyses]', or give fewer "
            "segments or more --subsets"
        ) from error
    chosen: type = Lasso
    return chosen
