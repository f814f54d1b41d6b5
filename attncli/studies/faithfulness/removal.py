"""Removal of parts of a text: the probability of the prediction without them, in one of three ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from attncli.capturing import edited_outputs
from attncli.capturing.fast_passes import kept_rows
from attncli.capturing.word_vectors import Side
from attncli.data import Array
from attncli.data.cached import cached_property
from attncli.engine.explained import Explained, checked_logits
from attncli.engine.text_units import TextUnit
from attncli.errors import ModelError
from attncli.inputs.batches import Batch, repeated
from attncli.studies.attribute.baselines import baseline_vectors, vectors_of_ids
from attncli.studies.attribute.predictions import Predictions, precision_advice

Tensor = torch.Tensor
Cells = Mapping[Side, Array]
"""[pass, token] bool of each side: the tokens that are removed."""


@dataclass(eq=False)
class TextRemover:
    """Removes units of one text.

    predictions  of the text; their one score is that which is returned
    units        what can be removed, by side
    baseline     name of the vectors that `mask` puts in their place, of `chosen_baseline`
    pools        ids of the tokens that `resample` draws from, by side
    draws, seed  how many times `resample` draws, and its seed
    """

    predictions: Predictions
    units: Mapping[Side, Sequence[TextUnit]]
    baseline: str
    pools: Mapping[Side, Array]
    draws: int
    seed: int

    def scores(self, removal: str, removed: Array) -> Array:
        """Return the score of the prediction without some units, [pass] float64.

        removal  mask, delete or resample
        removed  [pass, unit] bool
        Raise ModelError if a score is not finite.
        """
        rows, numbers = np.unique(removed, axis=0, return_inverse=True)
        cells = self._cells(rows)
        if removal == "delete":
            scores = self._deleted(cells)
        elif removal == "mask":
            scores = self._replaced(cells, self._baseline)
        else:
            scores = np.mean([self._replaced(cells, vectors) for vectors in self._drawn], axis=0)
        if not np.isfinite(scores).all():
            loaded = self.predictions.prepared.loaded
            raise ModelError(
                f"{type(loaded.model).__name__} in {loaded.dtype} gives no finite number for this text"
                f"{precision_advice(loaded)}"
            )
        of_passes: Array = scores[numbers.ravel()]
        return of_passes

    def _cells(self, removed: Array) -> dict[Side, Array]:
        """Return the tokens that are removed with the units, [pass, token] for each side."""
        cells, start = {}, 0
        for side, tokens in self.predictions.tokens.items():
            of_side = np.zeros((len(removed), len(tokens)), bool)
            for number, unit in enumerate(self.units.get(side, ()), start):
                of_side[:, list(unit.positions)] |= removed[:, number, None]
            start += len(self.units.get(side, ()))
            cells[side] = of_side
        return cells

    @cached_property
    def _baseline(self) -> tuple[Tensor, ...]:
        return baseline_vectors(self.predictions, self.baseline)

    @cached_property
    def _drawn(self) -> list[tuple[Tensor, ...]]:
        """Vectors of drawn tokens for each draw, [token, width] for each side: the same for all methods."""
        generator = np.random.default_rng((self.seed, self.predictions.text.index))
        drawn = []
        for _ in range(self.draws):
            ids = {
                side: torch.from_numpy(generator.choice(self.pools[side], len(self.predictions.tokens[side])))
                for side in self.predictions.word_vectors
            }
            drawn.append(tuple(vectors_of_ids(self.predictions, side, of_side) for side, of_side in ids.items()))
        return drawn

    @torch.inference_mode()
    def _replaced(self, cells: Cells, replacement: Sequence[Tensor]) -> Array:
        """Return the score [pass] of the text with other vectors in some cells; many passes share a batch."""
        vectors, step, parts = self.predictions.vectors, self.predictions.copies(gradients=False), []
        masks = [torch.from_numpy(cells[side]).to(vectors[0].device)[:, :, None] for side in self.predictions.tokens]
        for start in range(0, len(masks[0]), step):
            given = [
                torch.where(mask[start : start + step], other, own)
                for mask, other, own in zip(masks, replacement, vectors, strict=True)
            ]
            parts.append(self.predictions.scores(given)[:, 0].double().cpu().numpy())
        return np.concatenate(parts)

    def _deleted(self, cells: Cells) -> Array:
        """Return the score [pass] of the text read without some cells; texts of the same length share a batch."""
        count, step = len(next(iter(cells.values()))), self.predictions.copies(gradients=False)
        lengths = np.stack([(~of_side).sum(1) for of_side in cells.values()], 1)
        scores = np.full(count, np.nan)
        for length in np.unique(lengths, axis=0):
            alike = np.flatnonzero((lengths == length).all(1))
            for start in range(0, len(alike), step):
                part = alike[start : start + step]
                scores[part] = self._shortened({side: ~of_side[part] for side, of_side in cells.items()})
        return scores

    @torch.inference_mode()
    def _shortened(self, kept: Cells) -> Array:
        """Return the score [pass] of texts that keep some tokens, all the same number of them."""
        predictions, (output,) = self.predictions, self.predictions.outputs
        loaded, plan = predictions.prepared.loaded, predictions.prepared.plan
        batch = _kept_tokens(predictions.prepared.batches[0], kept, bool(loaded.edits or plan.scales))
        predicting: Side = "source" if predictions.text.target is None or output.reads is not None else "target"
        moved = [_moved(output, of_pass) for of_pass in kept[predicting]]
        rows = [] if output.reads is not None else sorted({row for one in moved for row in one.rows})
        outputs = edited_outputs(loaded, plan, batch, shadow=predictions.fast, inside=partial(kept_rows, rows))
        logits = checked_logits(loaded, outputs, output.similar is not None)
        if rows and logits.shape[1] == len(rows):
            moved = [replace(one, rows=tuple(map(rows.index, one.rows))) for one in moved]
        scores = [one.score(logits[row, None], predictions.score) for row, one in enumerate(moved)]
        return torch.cat(scores).cpu().numpy()


def _moved(output: Explained, kept: Array) -> Explained:
    """Return a prediction whose tokens have moved, as tokens before them are deleted."""
    places = np.cumsum(kept) - 1
    if output.reads is not None:
        # the answer of a question: its ids are positions
        ends = tuple(int(places[position]) for position in output.ids)
        return replace(output, ids=ends, reads=ends)
    return replace(output, rows=tuple(int(places[row]) for row in output.rows))


def _kept_tokens(batch: Batch, kept: Cells, names_tokens: bool) -> Batch:
    """Return a batch of texts that keep some tokens of the one text of a batch.

    names_tokens  whether the tokens of the texts are needed, not only their ids
    """
    count = len(kept["source"])
    columns = {side: torch.from_numpy(of_side) for side, of_side in kept.items()}
    several = repeated(batch, count)
    tensors = {}
    for name, tensor in several.tensors.items():
        chosen = columns["target" if name.startswith("decoder_") and "target" in columns else "source"]
        fits = tensor.shape[:2] == chosen.shape
        tensors[name] = tensor[chosen.to(tensor.device)].reshape(count, -1) if fits else tensor
    masks = {side: torch.ones((count, int(of_side[0].sum())), dtype=torch.bool) for side, of_side in columns.items()}
    inputs = several.inputs
    if names_tokens:
        (text,) = batch.inputs
        inputs = tuple(
            replace(
                text,
                source=text.source.take(np.flatnonzero(kept["source"][row])),
                target=text.target.take(np.flatnonzero(kept["target"][row])) if text.target is not None else None,
                scaled={},
            )
            for row in range(count)
        )
    return replace(
        several,
        inputs=inputs,
        tensors=tensors,
        source_mask=masks["source"].to(batch.source_mask.device),
        target_mask=masks["target"].to(batch.source_mask.device) if "target" in masks else None,
    )
