"""One text of the study: its prediction, the units that can be removed, and their values by each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array
from attncli.engine.explained import Explained
from attncli.engine.passes import Pass
from attncli.engine.text_units import TextUnit
from attncli.errors import UsageError
from attncli.inputs.rationales import Rationale
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.faithfulness.removal import TextRemover


@dataclass(frozen=True, eq=False)
class StudiedText:
    """One text of the study.

    number       its number among all texts
    predictions  its one prediction; the score is that which the methods explain
    units        what can be removed, by side: tokens, words or segments without the tokens that stay
    read         the same with the tokens that stay, and with units of which no token can be removed
    methods      names of the methods
    values       [method, unit] of all sides
    remover      gives the probability of the prediction without some units
    rationale    spans that people named as the reason for the prediction
    """

    number: int
    predictions: Predictions
    units: Mapping[Side, Sequence[TextUnit]]
    read: Mapping[Side, Sequence[TextUnit]]
    methods: tuple[str, ...]
    values: Array
    remover: TextRemover
    rationale: Rationale = ()

    @property
    def prepared(self) -> Pass:
        """The pass over this text alone."""
        return self.predictions.prepared

    @property
    def output(self) -> Explained:
        """The prediction that is explained."""
        return self.predictions.outputs[0]

    @property
    def flat_units(self) -> list[tuple[Side, TextUnit]]:
        """All units with their sides, in the order of the values."""
        return [(side, unit) for side, of_side in self.units.items() for unit in of_side]


def removable_units(
    predictions: Predictions, units: Mapping[Side, Sequence[TextUnit]], what: str
) -> dict[Side, list[TextUnit]]:
    """Return units without the tokens that stay, such as special tokens; raise UsageError if fewer than two are left.

    what  token, word or segment, for errors
    """
    stays = staying_tokens(predictions)
    removable: dict[Side, list[TextUnit]] = {side: [] for side in units}
    for side, of_side in units.items():
        for unit in of_side:
            if positions := tuple(position for position in unit.positions if not stays[side][position]):
                removable[side].append(replace(unit, positions=positions))
    count = sum(map(len, removable.values()))
    if count < 2:
        raise UsageError(
            f"{'no' if not count else 'one'} {what} can be removed, so there is nothing to compare: give a longer text "
            "(special tokens and the token that predicts stay)"
        )
    return removable


def staying_tokens(predictions: Predictions) -> dict[Side, Array]:
    """Return which tokens of each side are never removed, [token] bool: special tokens and those that predict.

    A classifier of a decoder reads the last token, so this stays; an embedding of all tokens needs none. On a side
    without such tokens, the last one stays.
    """
    (output,), text = predictions.outputs, predictions.text
    stays = {side: tokens.special.copy() for side, tokens in predictions.tokens.items()}
    predicting: Side = "source" if text.target is None or output.reads is not None else "target"
    if len(output.positions) < len(stays[predicting]):  # an embedding is made of all tokens
        stays[predicting][list(output.positions)] = True
    reads_last = not output.positions and text.target is None and not predictions.prepared.loaded.reads_both_ways
    for of_side in stays.values():
        of_side[-1] |= reads_last or not np.any(of_side)
    return stays
