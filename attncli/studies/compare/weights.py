"""How much the matrices of each head differ between two models: W_Q, W_K, W_V and W_O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from attncli.capturing.head_weights import head_matrices
from attncli.data import Array, Selection
from attncli.data.selection import format_ranges
from attncli.engine.runner import Runner

MATRICES = ("W_Q", "W_K", "W_V", "W_O")
_COLUMNS: tuple[tuple[str, Any], ...] = (
    *(("kind", object), ("layer", int), ("head", int), ("matrix", object)),
    *(("norm", float), ("change", float)),
)


@dataclass
class WeightChanges:
    """Changes of the matrices of heads from A to B.

    rows     kind, layer, head, matrix, norm and change
    missing  layers in which a matrix is not found in both models, by kind and matrix
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    missing: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    @classmethod
    def between(cls, a: Runner, b: Runner, capture: str, heads: Selection) -> "WeightChanges":
        """Return the changes of the matrices of some heads; a matrix of another size counts as not found."""
        changes = cls()
        sides = [
            (runner.loaded, {(site.kind, site.layer): site for site in runner.plan(capture).sites}) for runner in (a, b)
        ]
        for (kind, layer), numbers in heads.items():
            matrices = [head_matrices(loaded, sites[kind, layer]) for loaded, sites in sides]
            for name in MATRICES:
                of_a, of_b = (of_side.get(name) for of_side in matrices)
                if of_a is None or of_b is None or of_a.shape != of_b.shape:
                    changes.missing.setdefault((kind, name), []).append(layer)
                    continue
                for head in numbers:
                    changes.rows.append((kind, layer, head, name, *_norm_and_change(of_a[head], of_b[head])))
        return changes

    def table(self) -> Mapping[str, Array]:
        """Return the columns of all rows, the largest change first.

        norm    ‖W‖ in A, the square root of the sum of its squares
        change  ‖W_B - W_A‖ / ‖W_A‖: 0 if the matrices are equal; NaN if W_A is 0
        """
        rows = sorted(self.rows, key=lambda row: -np.nan_to_num(row[-1], nan=-1.0))
        return {name: np.array([row[place] for row in rows], dtype) for place, (name, dtype) in enumerate(_COLUMNS)}

    def notes(self) -> tuple[str, ...]:
        """Return which matrices are not compared."""
        layers: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for (kind, name), numbers in self.missing.items():
            layers.setdefault((kind, tuple(numbers)), []).append(name)
        return tuple(
            f"{', '.join(names)} of {kind} layers {format_ranges(numbers)} are not compared: they have no module of "
            "their own with the same heads in both models"
            for (kind, numbers), names in layers.items()
        )


def _norm_and_change(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
    a, b = first.double().cpu(), second.double().cpu()
    norm = float(a.norm())
    return norm, float((b - a).norm()) / norm if norm else np.nan
