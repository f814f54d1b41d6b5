"""The values that the methods give to the tokens, words or segments of one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array
from attncli.engine.progress import Track
from attncli.engine.text_units import TextUnit
from attncli.stream import Sink
from attncli.studies.attribute.baselines import baseline_vectors, chosen_baseline
from attncli.studies.attribute.gradients import Integrated, at_the_text, integrated_gradients
from attncli.studies.attribute.methods import METHODS, WITH_BASELINE
from attncli.studies.attribute.occlusion import occlusion
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.attribute.relevance import MeanAttention, RolledOut, attention_x_gradient
from attncli.studies.attribute.result import AttributionMethod
from attncli.studies.attribute.shapley import shapley

if TYPE_CHECKING:
    import torch

BySide = Mapping[Side, Array]
"""[token] of each side; a side that is missing has values of 0."""


@dataclass(eq=False)
class Values:
    """The values of the methods for one text; what several methods need is computed once.

    units  those of each side, in the order of the values
    """

    predictions: Predictions
    options: AttributeOptions
    units: Mapping[Side, Sequence[TextUnit]]
    track: Track
    attention: MeanAttention | None = field(init=False)
    rollout: RolledOut | None = field(init=False)
    _at_the_text: dict[str, list[tuple[torch.Tensor, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        methods = self.options.methods
        self.attention = MeanAttention(self.predictions) if "attention" in methods else None
        self.rollout = RolledOut(self.predictions) if "rollout" in methods else None

    @property
    def sinks(self) -> list[Sink]:
        """The sinks that must have received the attention of the text before the methods give values."""
        return [sink for reader in (self.attention, self.rollout) if reader is not None for sink in reader.sinks]

    def all(self) -> tuple[tuple[AttributionMethod, ...], Array]:
        """Return the methods, and their values [method, output, unit]; NaN for units that an output does not read."""
        methods, raw = zip(*map(self.of, self.options.methods), strict=True)
        return methods, _only_read(self.predictions, self.units, np.stack(raw))

    def of(self, name: str) -> tuple[AttributionMethod, Array]:
        """Return a method and its values [output, unit]."""
        method = AttributionMethod(name, METHODS[name].signed)
        if name in WITH_BASELINE:
            baseline = chosen_baseline(self.predictions.prepared.loaded, self.options.baseline)
            vectors = baseline_vectors(self.predictions, baseline)
            method = replace(method, baseline=baseline)
            if name == "occlusion":
                return method, occlusion(self.predictions, vectors, self.units, self.track)
            if name == "shapley":
                samples, seed = self.options.samples, self.options.seed
                return method, shapley(self.predictions, vectors, self.units, samples, seed, self.track)
            steps, allowed = self.options.steps, self.options.allow_delta
            integrated = integrated_gradients(self.predictions, vectors, steps, allowed, self.track)
            return _with_delta(method, integrated), self._of_vectors([result.values for result in integrated])
        if name == "attention-x-gradient":
            return method, self._merged(attention_x_gradient(self.predictions))
        if name == "value-norm-rollout":
            return method, self._merged(RolledOut.of_norms(self.predictions, self.track).values())
        if METHODS[name].reads == "gradients":
            self._at_the_text = self._at_the_text or at_the_text(self.predictions)
            return method, self._of_vectors(self._at_the_text[name])
        reader = self.attention if name == "attention" else self.rollout
        assert reader is not None
        return method, self._merged(reader.values())

    def _of_vectors(self, values: Sequence[tuple[torch.Tensor, ...]]) -> Array:
        sides = self.predictions.word_vectors
        return self._merged(
            [dict(zip(sides, (part.cpu().numpy() for part in of_output), strict=True)) for of_output in values]
        )

    def _merged(self, values: Sequence[BySide]) -> Array:
        """Return values [output, unit]: the sum over the tokens of each unit."""
        zeros = {side: np.zeros(len(tokens)) for side, tokens in self.predictions.tokens.items()}
        return np.array(
            [
                [
                    (of_output.get(side, zeros[side]))[list(unit.positions)].sum()
                    for side in self.units
                    for unit in self.units[side]
                ]
                for of_output in values
            ]
        )


def _only_read(predictions: Predictions, units: Mapping[Side, Sequence[TextUnit]], raw: Array) -> Array:
    """Return values [method, output, unit] with NaN for units that a prediction does not read at all."""
    parts = []
    for side, of_side in units.items():
        read = predictions.read(side)
        parts += [read[:, list(unit.positions)].any(1) for unit in of_side]
    kept: Array = np.where(np.stack(parts, 1), raw, np.nan)
    return kept


def _with_delta(method: AttributionMethod, integrated: Sequence[Integrated]) -> AttributionMethod:
    return replace(
        method,
        steps=tuple(result.steps for result in integrated),
        change=tuple(result.change for result in integrated),
        delta=tuple(result.delta for result in integrated),
    )
