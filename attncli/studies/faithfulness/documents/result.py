"""Which segments predictions depend on: left out in all subsets or a sample, read by attention, and blocked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.cached import cached_property
from attncli.data.labels import label
from attncli.store.tables import records
from attncli.studies.faithfulness.protocol import Columns, PartResult

MEASURES = ("attention", "knockout", "left_out", "weight", "shapley")
"""The numbers of a segment. All but attention are losses of the logit, or of the number that is predicted."""
_LONGEST_NAME = 40
NO_EFFECT = 0.1
"""A segment with a smaller weight counts as one that the prediction does not depend on."""
POOR_FIT = 0.5
"""Below this rank correlation on held-out subsets, a note says that weights tell little."""


@dataclass(frozen=True)
class RemovalEffects:
    """What leaving segments out of one text does, for one removal.

    subsets   number of subsets that were left out
    fit       least-squares for all subsets, lasso for a sample
    empty     the response without any segment
    left_out  [segment] loss without it alone
    weights   [segment] of the linear model
    shapley   [segment] exact Shapley values; NaN if only a sample of the subsets was left out
    r2, r2_held_out, lds  of the linear model, see `Surrogate`
    """

    subsets: int
    fit: str
    empty: float
    left_out: tuple[float, ...]
    weights: tuple[float, ...]
    shapley: tuple[float, ...]
    r2: float
    r2_held_out: float
    lds: float


@dataclass(frozen=True)
class TextDocuments:
    """The segments of one text.

    number      number of the text
    prediction  the token, text or label
    segments    their names; `sides` and `tokens` are their sides and numbers of tokens
    stay        names of the segments that stay
    attention   [segment] share of the attention from the rows that predict
    knockout    [segment] loss when these rows cannot read it in any layer; NaN where that cannot be computed
    full        the response to the whole text
    removals    effects by the name of the removal
    """

    number: int
    prediction: str
    segments: tuple[str, ...]
    sides: tuple[str, ...]
    tokens: tuple[int, ...]
    stay: tuple[str, ...]
    attention: tuple[float, ...]
    knockout: tuple[float, ...]
    full: float
    removals: Mapping[str, RemovalEffects]

    def of(self, removal: str) -> dict[str, Array]:
        """Return each number of `MEASURES`, [segment]."""
        effects = self.removals[removal]
        values = (self.attention, self.knockout, effects.left_out, effects.weights, effects.shapley)
        return {name: np.array(of_name) for name, of_name in zip(MEASURES, values, strict=True)}

    def largest(self, removal: str, measure: str) -> int:
        """Return the number of the segment with the largest value."""
        return int(np.argmax(self.of(removal)[measure]))


@dataclass(frozen=True, eq=False)
class Documents(PartResult):
    """The segments of all texts.

    response  what is measured: logit, or number
    """

    texts: tuple[TextDocuments, ...]
    removals: tuple[str, ...]
    response: str

    @classmethod
    def of(cls, measured: Sequence[Mapping[str, Any]], removals: Sequence[str]) -> Documents:
        """Return the result of plain values, as `measured` returns them for each text."""
        texts, response = [], "logit"
        for entry in map(_known, measured):
            response = entry.pop("response")
            effects = [RemovalEffects(**_known(of)) for of in entry.pop("removals")]
            texts.append(
                TextDocuments(number=entry.pop("text"), **entry, removals=dict(zip(removals, effects, strict=True)))
            )
        return cls(tuple(texts), tuple(removals), response)

    def tables(self) -> Mapping[str, Columns]:
        """Return a row per text, removal and segment, and the linear models of each text and removal."""
        return {"faithfulness-documents": self.segments, "faithfulness-documents-fit": self.fits}

    @cached_property
    def segments(self) -> dict[str, Array]:
        """A row per text, removal and segment with the numbers of `MEASURES`."""
        rows = [
            {"text": number, "removal": removal, "segment": name, "side": side, "tokens": tokens}
            | {measure: float(values[place]) for measure, values in text.of(removal).items()}
            for number, text, removal in self._texts_and_removals()
            for place, (name, side, tokens) in enumerate(zip(text.segments, text.sides, text.tokens, strict=True))
        ]
        return _columns(rows)

    @cached_property
    def fits(self) -> dict[str, Array]:
        """A row per text and removal: the responses to the whole text and to none of the segments, and the fit."""
        rows = [
            {"text": number, "removal": removal, "segments": len(text.segments), "response": text.full}
            | {"without_all": effects.empty, "subsets": effects.subsets, "fit": effects.fit}
            | {name: getattr(effects, name) for name in ("r2", "r2_held_out", "lds")}
            for number, text, removal in self._texts_and_removals()
            for effects in (text.removals[removal],)
        ]
        return _columns(rows)

    def _texts_and_removals(self) -> Iterator[tuple[int, TextDocuments, str]]:
        return ((text.number, text, removal) for text in self.texts for removal in self.removals)

    def document(self) -> Mapping[str, Any]:
        """Return both tables as lists of rows, and the segments that stay."""
        return {
            "response": self.response,
            "stay": [list(text.stay) for text in self.texts],
            "segments": list(records(self.segments)),
            "fits": list(records(self.fits)),
        }

    @property
    def sentences(self) -> Sequence[str]:
        """One sentence per removal: the segment that the prediction needs, and whether attention names it."""
        if len(self.texts) == 1:
            return [_sentence(self.texts[0], removal, self.response) for removal in self.removals]
        return [self._over_texts(removal) for removal in self.removals]

    def _over_texts(self, removal: str) -> str:
        agree = sum(text.largest(removal, "weight") == text.largest(removal, "attention") for text in self.texts)
        scores = np.array([text.removals[removal].lds for text in self.texts])
        known = scores[np.isfinite(scores)]
        fit = f", mean rank correlation of the linear models on held-out subsets {known.mean():.2f}" * bool(len(known))
        return (
            f"Segments, {removal}: in {agree} of {len(self.texts)} texts the segment that the prediction depends on "
            f"most also gets most attention{fit}."
        )

    @property
    def notes(self) -> Sequence[str]:
        """Notes about linear models that predict little."""
        poor = [
            f"{f'text {number}, ' if len(self.texts) > 1 else ''}{removal} ({text.removals[removal].lds:.2f})"
            for number, text, removal in self._texts_and_removals()
            if text.removals[removal].lds < POOR_FIT
        ]
        if not poor:
            return ()
        shown = "; ".join(poor[:3]) + (f" and {len(poor) - 3} more" if len(poor) > 3 else "")
        return (
            "segments act together: a weight for each predicts held-out subsets badly, so weights say little "
            f"(rank correlation below {POOR_FIT}: {shown})",
        )


def _sentence(text: TextDocuments, removal: str, response: str) -> str:
    effects, values = text.removals[removal], text.of(removal)
    first, read = text.largest(removal, "weight"), text.largest(removal, "attention")
    names = [label(name, width=_LONGEST_NAME) for name in text.segments]
    attention = f"gets most attention too ({values['attention'][first]:.2f})"
    if read != first:
        attention = (
            f"gets {values['attention'][first]:.2f} of the attention, '{names[read]}' most "
            f"({values['attention'][read]:.2f})"
        )
    what = f"{'the logit of' if response == 'logit' else 'the number'} '{label(text.prediction, width=_LONGEST_NAME)}'"
    if effects.weights[first] < NO_EFFECT:
        return (
            f"Segments, {removal}: {what} depends on none of the {len(text.segments)} segments: "
            f"each raises it by less than {NO_EFFECT}."
        )
    fit = f"R² {effects.r2:.2f}" if effects.r2 == effects.r2 else "no change to explain"
    alone = effects.left_out[first]
    less = f"{abs(alone):.2f} {'less' if alone >= 0 else 'more'}"
    held_out = f", rank correlation on held-out subsets {effects.lds:.2f}" if effects.lds == effects.lds else ""
    return (
        f"Segments, {removal}: {what} depends most on '{names[first]}' "
        f"(weight {effects.weights[first]:.2f}, {less} without it alone; linear model: "
        f"{fit}{held_out}), which {attention}."
    )


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: np.array(values, object if isinstance(values[0], str) else None) for name, values in columns.items()}


def _known(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with NaN for None, and lists as tuples."""
    return {name: _value(value) for name, value in entry.items()}


def _value(value: Any) -> Any:
    if value is None:
        return float("nan")
    return tuple(_value(item) for item in value) if isinstance(value, list) else value
