"""Passes over one text in which the weights of chosen heads are others, and what the model predicts then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from attncli.capturing import Site, bind
from attncli.capturing.edited_weights import Span, WeightEdit
from attncli.capturing.gates import LayerKey
from attncli.data.cached import cached_property
from attncli.engine.explained import Explained, predicted_names
from attncli.errors import ModelError
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.faithfulness.needed.distances import output_distribution, total_variation

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class EditableRows:
    """The weights of chosen heads of one layer on one text.

    weights  [head, row, key] float64, each row summing to 1; 0 for rows without weight
    mass     [head, row, 1] the sum of each row as the model has it: below 1 beside a learned sink
    visible  [head, row, key] bool
    """

    weights: Tensor
    mass: Tensor
    visible: Tensor

    @classmethod
    def of(cls, weights: Tensor, visible: Tensor) -> EditableRows:
        """Return the weights as the model has them, [head, row, key] in any dtype."""
        weights = weights.double() * visible
        mass = weights.sum(-1, keepdim=True)
        return cls(weights / mass.clamp_min(torch.finfo(torch.float64).tiny), mass, visible)

    @cached_property
    def free(self) -> Tensor:
        """Which rows [head, row] can have other weights: those that see two keys or more and have weight."""
        return (self.visible.sum(-1) > 1) & (self.mass[..., 0] > 0)

    @property
    def uniform(self) -> Tensor:
        """Weights that are equal for all visible keys of a row, [head, row, key]."""
        return self.visible / self.visible.sum(-1, keepdim=True).clamp_min(1).double()


@dataclass(frozen=True, eq=False)
class EditedPrediction:
    """What a model predicts for copies of a text with other weights.

    explained      the prediction that is explained, with its rows in the logits
    distribution   [copy, prediction, token or label]
    ln_probability [copy] of what is explained
    names          what is predicted instead, for each copy
    """

    explained: Explained
    distribution: Tensor
    ln_probability: Tensor
    names: tuple[str, ...]

    def distance(self, other: EditedPrediction) -> Tensor:
        """Return the total variation distance of each copy from the only copy of another prediction, [copy]."""
        return total_variation(self.explained, self.distribution, other.distribution)


@dataclass(eq=False)
class _Kept:
    """The weights of some heads in one pass, in blocks of rows as the model used them."""

    heads: Sequence[int]
    blocks: list[Tensor] = field(default_factory=list)

    def keep(self, weights: Tensor, rows: Span, keys: Span) -> Tensor:
        self.blocks.append(weights[0, list(self.heads)].detach().clone())
        return weights

    @property
    def rows(self) -> Tensor:
        return torch.cat(self.blocks, 1)


MakeEdit = Callable[[LayerKey, Site, Tensor], WeightEdit]
"""Returns the edit of a layer from its key, its site and which heads are chosen, [1, head, 1, 1] bool."""


@dataclass(frozen=True, eq=False)
class HeadPasses:
    """Passes over the text of predictions, with edits of the weights of the selected heads."""

    predictions: Predictions

    @cached_property
    def sites(self) -> dict[LayerKey, Site]:
        """The layers with chosen heads; raise ModelError if the weights of one cannot be edited."""
        prepared = self.predictions.prepared
        sites = {(site.kind, site.layer): site for site in prepared.plan.sites}
        chosen = {key: sites[key] for key, heads in prepared.heads.items() if heads}
        for site in chosen.values():
            if site.no_edits:
                raise ModelError(f"--needed: weights of {site.label} cannot be edited: {site.no_edits}")
        return chosen

    def heads(self, key: LayerKey) -> list[int]:
        """Return the chosen heads of a layer."""
        return list(self.predictions.prepared.heads[key])

    def predict(self, make: MakeEdit | None, copies: int = 1, *, gradients: bool = False) -> EditedPrediction:
        """Return what the model predicts for copies of the text.

        make  makes the edit of each layer; None for none but those of the model
        """
        edits = {} if make is None else {key: [make(key, site, self._where(key))] for key, site in self.sites.items()}
        return self._predict(edits, copies, gradients)

    def rows(self) -> tuple[dict[LayerKey, EditableRows], EditedPrediction, EditedPrediction]:
        """Return the weights of the chosen heads, the prediction of the model, and that with uniform attention."""
        plain, prediction = self._kept({})
        uniform = {key: [WeightEdit("uniform", self._where(key))] for key in self.sites}
        spread, of_uniform = self._kept(uniform)
        rows = {key: EditableRows.of(plain[key], spread[key] > 0) for key in self.sites}
        return rows, prediction, of_uniform

    def _kept(self, edits: Mapping[LayerKey, Sequence[WeightEdit]]) -> tuple[dict[LayerKey, Tensor], EditedPrediction]:
        """Return the weights of the chosen heads in a pass with edits, [head, row, key], and what is predicted."""
        kept = {key: _Kept(self.heads(key)) for key in self.sites}
        keeping = {
            key: [*edits.get(key, ()), WeightEdit("replace", self._where(key), change=kept[key].keep)]
            for key in self.sites
        }
        prediction = self._predict(keeping, 1, False)
        return {key: of_layer.rows for key, of_layer in kept.items()}, prediction

    def _where(self, key: LayerKey) -> Tensor:
        where = torch.zeros((1, self.sites[key].heads, 1, 1), dtype=torch.bool)
        where[:, self.heads(key)] = True
        return where

    def _predict(
        self, edits: Mapping[LayerKey, Sequence[WeightEdit]], copies: int, gradients: bool
    ) -> EditedPrediction:
        predictions, loaded = self.predictions, self.predictions.prepared.loaded
        own = bind(predictions.prepared.plan, [predictions.text] * copies, loaded.edits, loaded.name)
        edited = own.followed_by((self.sites[key], of_layer) for key, of_layer in edits.items())
        logits, (explained, *_) = predictions.logits_of(copies, gradients=gradients, edits=edited)
        return EditedPrediction(
            explained,
            output_distribution(explained, logits),
            explained.ln_probability(logits).detach(),
            () if gradients else tuple(predicted_names(loaded, explained, logits)),
        )


def given_weights(passes: HeadPasses, weights: Mapping[LayerKey, Tensor]) -> MakeEdit:
    """Return the maker of edits that replace weights by given ones, [copy, chosen head, row, key] for each layer."""

    def make(key: LayerKey, site: Site, where: Tensor) -> WeightEdit:
        given = weights[key]
        whole = given.new_zeros((len(given), site.heads, *given.shape[2:]))
        heads = torch.tensor(passes.heads(key), device=given.device)
        return WeightEdit("replace", where, weights=whole.index_copy(1, heads, given))

    return make
