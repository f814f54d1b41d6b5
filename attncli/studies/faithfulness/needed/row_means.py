"""Means over the rows of chosen heads that can have other weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from attncli.capturing.gates import LayerKey
from attncli.errors import UsageError
from attncli.studies.attribute.relevance import predicting_rows
from attncli.studies.faithfulness.needed.distances import Tensor, farthest, jensen_shannon
from attncli.studies.faithfulness.needed.head_passes import EditableRows, HeadPasses


@dataclass(frozen=True, eq=False)
class RowMeans:
    """Means over the rows of the chosen heads of all layers on one text.

    layers      the weights of the model
    predicting  [head, row] bool: the rows from which the prediction is computed and that can have other weights
    """

    layers: Mapping[LayerKey, EditableRows]
    predicting: Mapping[LayerKey, Tensor]

    @classmethod
    def of(cls, passes: HeadPasses, layers: Mapping[LayerKey, EditableRows]) -> RowMeans:
        """Return the means for a text; raise UsageError if no row predicts that sees two keys."""
        of_kind = predicting_rows(passes.predictions, passes.predictions.outputs[0])
        predicting = {}
        for key, of_layer in layers.items():
            reads = torch.zeros_like(of_layer.free)
            if key[0] in of_kind:
                reads[:, torch.from_numpy(of_kind[key[0]]).to(reads.device)] = True
            predicting[key] = reads & of_layer.free
        if not any(bool(rows.any()) for rows in predicting.values()):
            raise UsageError(
                "--needed: the rows that predict see one key, so they have no other weights: select another --kind, or "
                "give a longer text or --target"
            )
        return cls(layers, predicting)

    @property
    def free(self) -> dict[LayerKey, Tensor]:
        """Which rows [head, row] can have other weights."""
        return {key: of_layer.free for key, of_layer in self.layers.items()}

    def divergence(self, weights: Mapping[LayerKey, Tensor], predicting: bool = False) -> float:
        """Return the mean Jensen-Shannon divergence of other weights [head, row, key] from those of the model.

        predicting  whether only the rows count from which the prediction is computed
        NaN if no row can have other weights.
        """
        return self._mean(lambda key, of: jensen_shannon(of.weights, weights[key].double()), predicting)

    def largest_divergence(self) -> float:
        """Return the mean divergence of the farthest weights there are, whatever the output."""
        return self._mean(lambda _, of: farthest(of.weights, of.visible), False)

    def largest_weight(self) -> float:
        """Return the mean over the rows that predict of the largest weight of a row."""
        return self._mean(lambda _, of: (of.weights * of.mass).amax(-1), True)

    def _mean(self, of_rows: Callable[[LayerKey, EditableRows], Tensor], predicting: bool) -> float:
        chosen = self.predicting if predicting else self.free
        count = sum(int(of_layer.sum()) for of_layer in chosen.values())
        total = sum(float(of_rows(key, of_layer)[chosen[key]].sum()) for key, of_layer in self.layers.items())
        return total / count if count else float("nan")
