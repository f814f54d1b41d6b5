"""Weights of heads, by which the heads of a layer are combined into one map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attncli.data.measures import Selection
from attncli.data.tokens import Kind, kind_order
from attncli.errors import UsageError
from attncli.paths import model_title

LayerId = tuple[Kind, int]
HeadId = tuple[Kind, int, int]
_SHOWN = 4
"""Number of heads that an error names."""


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """How the heads of a model are combined: all weights together sum to 1 for each kind.

    heads   (kind, layer) → head → weight in the map of the layer; they sum to 1 in each layer
    layers  (kind, layer) → weight of the layer in a mean over layers; they sum to 1 over the layers of a kind
    notes   what the reader should know
    """

    heads: Mapping[LayerId, Mapping[int, float]]
    layers: Mapping[LayerId, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """Numbers that say how much each head counts, such as its importance; negative ones count as 0.

    where   how messages name them, such as `--aggregate weights:importance.json`
    values  (kind, layer, head) → number
    model   name of the model that they are of; "" if that is not known
    """

    where: str
    values: Mapping[HeadId, float]
    model: str = ""

    @property
    def sha256(self) -> str:
        """The hash of the numbers, which names them in digests."""
        listed = [[*head, self.values[head]] for head in sorted(self.values)]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def check_model(self, model: str, available: Mapping[LayerId, Sequence[int]] | None) -> None:
        """Raise UsageError if the numbers are of another model: of another name, or with heads that this one has not.

        available  all heads of the model; None if they are not known
        """
        if self.model and model_title(self.model) != model_title(model):
            raise UsageError(
                f"{self.where} is of {model_title(self.model)}, this is {model_title(model)}: measure the importance "
                "of this model, or give a table without the name of a model, importance.csv"
            )
        known = None if available is None else {(*layer, head) for layer, heads in available.items() for head in heads}
        unknown = [] if known is None else [head for head in self.values if head not in known]
        if unknown:
            raise UsageError(
                f"{self.where} is of another model: {model_title(model)} has no {_named(unknown)}; measure the "
                "importance of this model"
            )

    def of(self, heads: Selection) -> LayerWeights:
        """Return the weights of the chosen heads; raise UsageError if the numbers lack one, or are all 0 for a kind.

        In a layer without a number above 0, all heads count equally, and the layer has the weight 0 in a mean.
        """
        chosen = [(kind, layer, head) for (kind, layer), numbers in heads.items() for head in numbers]
        if missing := [head for head in chosen if head not in self.values]:
            raise UsageError(
                f"{self.where} has no number for {_named(missing)}: measure the importance of all heads that are "
                "combined, or choose heads with --kind, --layer and --head"
            )
        sums = {
            (kind, layer): sum(max(0.0, self.values[kind, layer, head]) for head in numbers)
            for (kind, layer), numbers in heads.items()
        }
        totals: dict[Kind, float] = {}
        for (kind, _), total in sums.items():
            totals[kind] = totals.get(kind, 0.0) + total
        for kind in sorted(totals, key=kind_order):
            if totals[kind] <= 0:
                raise UsageError(f"{self.where} has no number above 0 for the chosen {kind} heads: none of them counts")
        by_layer = {layer: self._of_layer(layer, numbers, sums[layer]) for layer, numbers in heads.items()}
        shares = {layer: total / totals[layer[0]] for layer, total in sums.items()}
        without = [layer for layer, total in sums.items() if total == 0]
        return LayerWeights(by_layer, shares, self._notes(chosen, without))

    def _of_layer(self, layer: LayerId, heads: Sequence[int], total: float) -> dict[int, float]:
        """Return the weights of the heads of a layer whose numbers above 0 sum to `total`; they sum to 1."""
        if total == 0:
            return dict.fromkeys(heads, 1 / len(heads))
        return {head: max(0.0, self.values[*layer, head]) / total for head in heads}

    def _notes(self, chosen: Sequence[HeadId], without: Sequence[LayerId]) -> tuple[str, ...]:
        negative = sum(self.values[head] < 0 for head in chosen)
        name = self.where.rpartition("weights:")[2]
        notes = [f"heads are combined by {name}: {negative} of {len(chosen)} have a negative number, which counts as 0"]
        if without:
            layers = ", ".join(f"{kind} layer {layer}" for kind, layer in without[:_SHOWN])
            more = f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
            notes.append(f"no head of {layers}{more} has a number above 0: its heads count equally")
        return tuple(notes)


def _named(heads: Sequence[HeadId]) -> str:
    """Return heads as errors name them.

    >>> _named([("decoder", 1, 2), ("decoder", 1, 3)])
    'decoder heads 1.2, 1.3'
    """
    kind = heads[0][0]
    names = [f"{layer}.{head}" for of_kind, layer, head in heads if of_kind == kind][:_SHOWN]
    more = f" and {len(heads) - len(names)} more" if len(heads) > len(names) else ""
    return f"{kind} head{'s' if len(names) > 1 else ''} {', '.join(names)}{more}"
