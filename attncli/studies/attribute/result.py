"""How much each token counts for a prediction, by one or several methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attncli.arguments import checks_arguments
from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.tokens import Array, Kind, Tokens, read_only
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Side = Literal["source", "target"]


@dataclass(frozen=True)
class AttributedOutput:
    """A prediction that is explained.

    name         the token, text or label
    rows         positions of the tokens that predict it; empty for a label
    score        the number that is explained
    probability  its probability; NaN for a number
    """

    name: str
    rows: tuple[int, ...]
    score: float
    probability: float


@dataclass(frozen=True)
class AttributionMethod:
    """A method, and how it went.

    signed    whether values can be below 0: the token makes the prediction less probable
    baseline  what replaced tokens; None for a method without one
    steps     for each output the steps of integrated gradients; empty for other methods
    change    for each output the score of the text minus that of the baseline
    delta     for each output the sum of all values minus `change`: the error of the integration
    """

    name: str
    signed: bool
    baseline: str | None = None
    steps: tuple[int, ...] = ()
    change: tuple[float, ...] = ()
    delta: tuple[float, ...] = ()


@dataclass(frozen=True)
class AttributedUnit:
    """A token, word or segment that is compared with others.

    side       source, or target for what a decoder of an encoder-decoder reads
    name       its text, or the name of the segment
    label      the name in pictures
    positions  positions of its tokens
    shown      positions of what stands for it in `Attribution.tokens`: a word there, or the same tokens
    """

    side: Side
    name: str
    label: str
    positions: tuple[int, ...]
    shown: tuple[int, ...]


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Tabulated):
    """How much each token, word or segment counts for one or several predictions.

    explain  what was asked for, such as next or label:POSITIVE
    score    which number of the prediction is explained: ln-probability, logit, probability, or number
    unit     what is compared: token, word or segment
    tokens   the tokens of each side; words where words are compared
    kinds    for each side a kind of attention whose keys are its tokens
    raw      [method, output, unit] float64 as the method gives them; NaN for what the prediction does not read
    """

    explain: str
    score: str
    unit: str
    outputs: tuple[AttributedOutput, ...]
    methods: tuple[AttributionMethod, ...]
    units: tuple[AttributedUnit, ...]
    tokens: Mapping[Side, Tokens]
    kinds: tuple[Kind, ...]
    raw: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", read_only(self.raw, np.float64))

    @property
    def shared(self) -> Array:
        """[method, output, unit] share of the sum of absolute values, with the sign; NaN where all are 0."""
        total = np.nansum(np.abs(self.raw), axis=2, keepdims=True)
        shares: Array = self.raw / np.where(total > 0, total, np.nan)
        return shares

    def shares(self, method: str, output: int = 0) -> Array:
        """Return the share of each unit in the sum of absolute values, with the sign of the value, [unit]."""
        return self._of(self.shared, method, output)

    def values(self, method: str, output: int = 0) -> Array:
        """Return the value of each unit as the method gives it, [unit]."""
        return self._of(self.raw, method, output)

    def _of(self, values: Array, method: str, output: int) -> Array:
        names = [entry.name for entry in self.methods]
        if method not in names:
            raise UsageError(f"no values by the method '{method[:60]}': {did_you_mean(method, names)}")
        if not 0 <= output < len(self.outputs):
            raise UsageError(f"expected an output from 0 to {len(self.outputs) - 1}, got {output}")
        of_method: Array = values[names.index(method), output]
        return of_method

    def table(self) -> dict[str, Array]:
        """Return a row per method, output and unit, in the order of the text.

        Columns: method, output (its number), prediction, side, position (of the first token), name, tokens (how many),
        value (as the method gives it), share (of the sum of the absolute values of one method and output).
        """
        methods, outputs, units = self.raw.shape
        names = np.array([entry.name for entry in self.methods], dtype=object)
        predictions = np.array([output.name for output in self.outputs], dtype=object)
        of_units = {
            "side": np.array([unit.side for unit in self.units], dtype=object),
            "position": np.array([unit.positions[0] for unit in self.units]),
            "name": np.array([unit.name for unit in self.units], dtype=object),
            "tokens": np.array([len(unit.positions) for unit in self.units]),
        }
        return {
            "method": np.repeat(names, outputs * units),
            "output": np.tile(np.repeat(np.arange(outputs), units), methods),
            "prediction": np.tile(np.repeat(predictions, units), methods),
            **{name: np.tile(column, methods * outputs) for name, column in of_units.items()},
            "value": self.raw.reshape(-1),
            "share": self.shared.reshape(-1),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return `table` as a pandas table."""
        return frame_of(self.table())

    def about(self) -> dict[str, Any]:
        """Return the predictions and the methods as plain values, for the document."""
        return {
            "explained": {"explain": self.explain, "score": self.score, "unit": self.unit},
            "outputs": [
                {
                    "output": number,
                    "prediction": output.name,
                    "rows": list(output.rows),
                    "score": output.score,
                    "probability": None if np.isnan(output.probability) else output.probability,
                }
                for number, output in enumerate(self.outputs)
            ],
            "methods": [
                {
                    "method": method.name,
                    "signed": method.signed,
                    "baseline": method.baseline,
                    "steps": list(method.steps),
                    "score_change": list(method.change),
                    "delta": list(method.delta),
                }
                for method in self.methods
            ],
        }

    def _lines(self) -> Iterable[str]:
        names = ", ".join(repr(output.name) for output in self.outputs[:4])
        yield f"Attribution of {names} ({self.explain}): {counted(len(self.units), self.unit)}"
        for method in self.methods:
            shares = np.nan_to_num(self.shares(method.name))
            first = int(np.argmax(np.abs(shares)))
            yield f"{method.name}: most by {self.units[first].name!r}, {shares[first]:+.2f} of all"
