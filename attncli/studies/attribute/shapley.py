"""Shapley values: the mean change of the score when a unit joins others, over random orders of all units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from attncli.capturing.word_vectors import Side
from attncli.data import Array
from attncli.engine.progress import Track
from attncli.engine.text_units import TextUnit
from attncli.studies.attribute.predictions import Predictions

Tensor = torch.Tensor


def random_orders(count: int, samples: int, seed: int) -> list[Array]:
    """Return random orders of the numbers from 0 up to `count`."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(count) for _ in range(samples)]


@torch.inference_mode()
def shapley(
    predictions: Predictions,
    baseline: Sequence[Tensor],
    units: Mapping[Side, Sequence[TextUnit]],
    samples: int,
    seed: int,
    track: Track,
) -> Array:
    """Return the Shapley value of each unit, [output, unit], estimated by `samples` orders.

    units  those of each side, in the order of the result; those of special tokens alone have 0
    The values of each order sum to the score of the text minus that of the baseline, and so does their mean.
    """
    every = [(number, unit.positions) for number, side in enumerate(units) for unit in units[side]]
    special = [tokens.special for tokens in predictions.tokens.values()]
    players = [row for row, (side, positions) in enumerate(every) if not special[side][list(positions)].all()]
    orders = random_orders(len(players), samples, seed)
    joins = [[every[players[number]] for number in order] for order in orders]
    scores = _scores(predictions, baseline, joins, track).reshape(samples, len(players), -1)
    first = predictions.scores([vectors[None] for vectors in baseline])[0].cpu().numpy()
    changes = np.diff(scores, axis=1, prepend=np.broadcast_to(first, (samples, 1, len(first))))
    values = np.zeros((len(predictions.outputs), len(every)))
    for order, of_order in zip(orders, changes, strict=True):
        values[:, np.array(players)[order]] += of_order.T / samples
    return values


def _scores(
    predictions: Predictions,
    baseline: Sequence[Tensor],
    joins: Sequence[Sequence[tuple[int, tuple[int, ...]]]],
    track: Track,
) -> Array:
    """Return the scores [pass, output] after each unit has joined, for one order after another."""
    step, parts = predictions.copies(gradients=False), []
    total = sum(map(len, joins))
    waiting = _joined(predictions, baseline, joins)
    with track("sampling", total, "passes") as advance:
        for start in range(0, total, step):
            some = [next(waiting) for _ in range(min(step, total - start))]
            vectors = [torch.stack(of_side) for of_side in zip(*some, strict=True)]
            parts.append(predictions.scores(vectors).cpu().numpy())
            advance(len(some))
    return np.concatenate(parts)


def _joined(
    predictions: Predictions, baseline: Sequence[Tensor], joins: Sequence[Sequence[tuple[int, tuple[int, ...]]]]
) -> Iterator[list[Tensor]]:
    """Yield the vectors of each side, with one more unit of the text than before."""
    for order in joins:
        current = [vectors.clone() for vectors in baseline]
        for side, positions in order:
            current[side][list(positions)] = predictions.vectors[side][list(positions)]
            yield [vectors.clone() for vectors in current]
