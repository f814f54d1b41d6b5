"""Is attention needed: how the output changes with other weights of chosen heads, and how far these can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.data.cached import cached_property
from attncli.data.described import Described, counted
from attncli.data.tokens import read_only
from attncli.engine.paired_tests import intervals
from attncli.store.tables import records
from attncli.studies.faithfulness.protocol import Columns, PartResult

LARGEST = float(np.log(2))
"""The largest Jensen-Shannon divergence of two rows."""
MEANS = {
    "max_weight": "largest weight of a row that predicts",
    "permuted_tvd": "permuted weights: change of the output",
    "uniform_tvd": "uniform weights: change of the output",
    "adversarial_jsd": "adversarial weights: divergence",
    "adversarial_jsd_predicting": "the same, rows that predict",
    "largest_jsd": "largest divergence there is",
    "adversarial_tvd": "adversarial weights: change of the output",
}
SEED_MEANS = {
    "seed_jsd": "other seeds: divergence of matched heads",
    "seed_jsd_predicting": "the same, rows that predict",
    "seed_jsd_same_number": "the same, heads of the same number",
    "seed_tvd": "other seeds: change of the output",
    "beyond_seeds": "adversarial minus other seeds: divergence",
    "beyond_seeds_predicting": "the same, rows that predict",
}


@dataclass(frozen=True, eq=False, repr=False)
class Needed(Described, PartResult):
    """How the output of a model changes with other weights of chosen heads.

    heads         the chosen heads by kind and layer, and how many the model has
    permutations  number of permutations of each text
    steps         number of steps of the search for adversarial weights; 0 if there was none
    epsilon       largest total variation distance of an output that counts as nearly the same
    of_texts      a row per text as columns, see `attncli explain faithfulness`; no adversarial columns without steps
    of_seeds      a row per model of another seed and text; no rows without such models
    """

    heads: tuple[tuple[str, int, tuple[int, ...], int], ...]
    permutations: int
    steps: int
    epsilon: float
    of_texts: Columns
    of_seeds: Columns = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("of_texts", "of_seeds"):
            columns = {key: read_only(column, column.dtype) for key, column in getattr(self, name).items()}
            object.__setattr__(self, name, columns)

    @property
    def texts(self) -> int:
        """The number of texts."""
        return len(self.of_texts["text"])

    @property
    def seed_models(self) -> tuple[str, ...]:
        """The names of the models of other seeds."""
        return tuple(dict.fromkeys(self.of_seeds["model"].tolist())) if self.of_seeds else ()

    @property
    def seeds_in_words(self) -> str:
        """How many models of other seeds there are, in words."""
        count = len(self.seed_models)
        return "1 model of another seed" if count == 1 else f"{count} models of other seeds"

    @property
    def chosen(self) -> str:
        """The chosen heads in words.

        >>> layers = (("encoder", 0, (0, 1), 2), ("encoder", 1, (1,), 2))
        >>> Needed(layers, 1, 0, 0.05, {}).chosen, Needed(layers[:1], 1, 0, 0.05, {}).chosen
        ('3 heads (0.0-1, 1.1)', 'both heads of layer 0')
        """
        return heads_in_words(self.heads)

    @cached_property
    def means(self) -> dict[str, Array]:
        """A row per number: the mean over texts with its 95 % interval; of other seeds over texts and models."""
        named = {name: self.of_texts[name] for name in MEANS if name in self.of_texts} | self._seeds_by_text
        low, high = intervals(np.stack([values.astype(float) for values in named.values()])).T
        return {
            "number": np.array(list(named), dtype=object),
            "texts": np.array([int((~np.isnan(values.astype(float))).sum()) for values in named.values()]),
            "mean": np.array([_mean(values.astype(float)) for values in named.values()]),
            "low": low,
            "high": high,
        }

    @property
    def _seeds_by_text(self) -> dict[str, Array]:
        """The numbers of the models of other seeds, the mean over them for each text; none without such models."""
        if not self.of_seeds:
            return {}
        shape = len(self.seed_models), self.texts
        names = ("jsd", "jsd_predicting", "jsd_same_number", "tvd")
        numbers = {f"seed_{name}": self.of_seeds[name].reshape(shape).mean(0) for name in names}
        for end in ("", "_predicting") if self.steps else ():
            numbers[f"beyond_seeds{end}"] = self.of_texts[f"adversarial_jsd{end}"] - numbers[f"seed_jsd{end}"]
        return numbers

    def mean(self, name: str) -> str:
        """Return a mean with its interval in words: `0.31 [0.25, 0.38]`."""
        row = self.means["number"].tolist().index(name)
        mean, low, high = (float(self.means[column][row]) for column in ("mean", "low", "high"))
        return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"

    @property
    def sentences(self) -> Sequence[str]:
        return tuple(self._sentences())

    def _sentences(self) -> Iterator[str]:
        texts = "on this text" if self.texts == 1 else f"mean over {self.texts} texts"
        yield (
            f"Permuting the weights of {self.chosen} changes the output by a total variation distance of "
            f"{self.mean('permuted_tvd')} (median of {counted(self.permutations, 'permutation')}, {texts}); uniform "
            f"weights change it by {self.mean('uniform_tvd')}."
        )
        if self.steps:
            yield (
                f"Weights at a Jensen-Shannon divergence of {self.mean('adversarial_jsd')} from the model's "
                f"({self.mean('adversarial_jsd_predicting')} in the rows that predict; the largest there is: "
                f"{self.mean('largest_jsd')}) give nearly the same output: it changes by at most {self.epsilon:g}, and "
                f"{self._same_texts}."
            )
        if self.of_seeds:
            yield (
                f"The yardstick, {self.seeds_in_words} with matched heads: a divergence of {self.mean('seed_jsd')} "
                f"({self.mean('seed_jsd_predicting')} in the rows that predict), and outputs that differ by "
                f"{self.mean('seed_tvd')}."
            )
            if self.steps:
                yield (
                    f"Adversarial weights minus other seeds, on the same text: a divergence of "
                    f"{self.mean('beyond_seeds')} ({self.mean('beyond_seeds_predicting')} in the rows that predict)."
                )
        else:
            yield (
                "The yardstick is missing: how much attention varies between models of other seeds. Give such models "
                "with --seed-models."
            )

    @property
    def _same_texts(self) -> str:
        """On how many texts the model predicts the same with adversarial weights, in words."""
        same = int(self.of_texts["adversarial_same"].sum())
        if self.texts == 1:
            return "the prediction stays" if same else "the prediction becomes another one"
        return f"the prediction stays on {same} of {self.texts} texts"

    @property
    def notes(self) -> Sequence[str]:
        if not self.steps:
            return ()
        return (
            "adversarial weights are found for each text by itself"
            + (f", in {len(self.heads)} layers at once" if len(self.heads) > 1 else "")
            + ": this is easier than to train a model that attends otherwise, and there need not be such a model "
            "(Wiegreffe and Pinter 2019)",
        )

    def tables(self) -> Mapping[str, Columns]:
        """Return a row per text, a row per number, and a row per model of another seed and text."""
        tables = {"faithfulness-needed": self.of_texts, "faithfulness-needed-means": self.means}
        return {**tables, "faithfulness-needed-seeds": self.of_seeds} if self.of_seeds else tables

    def document(self) -> Mapping[str, Any]:
        """Return which heads were changed and how, and the tables as lists of rows."""
        return {
            "heads": [{"kind": kind, "layer": layer, "heads": list(numbers)} for kind, layer, numbers, _ in self.heads],
            "permutations": self.permutations,
            "adversarial_steps": self.steps,
            "epsilon": self.epsilon,
            "seed_models": list(self.seed_models),
            "yardstick": "models of other seeds" if self.of_seeds else "missing: give --seed-models",
            "means": list(records(self.means)),
            "texts": list(records(self.of_texts)),
            "seeds": list(records(self.of_seeds)) if self.of_seeds else [],
        }

    def _lines(self) -> Iterator[str]:
        yield f"Other weights of {self.chosen} on {counted(self.texts, 'text')}"
        changes = [f"permuted {self.mean('permuted_tvd')}", f"uniform {self.mean('uniform_tvd')}"]
        yield f"change of the output: {', '.join(changes)}"
        if self.steps:
            yield f"adversarial weights: divergence {self.mean('adversarial_jsd')}, change at most {self.epsilon:g}"


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def heads_in_words(layers: Sequence[tuple[str, int, tuple[int, ...], int]]) -> str:
    """Return heads in words: `all 4 heads of layer 2`, or names.

    layers  (kind, layer, numbers of the heads, number of heads of the layer)
    """
    count = sum(len(numbers) for _, _, numbers, _ in layers)
    if all(len(numbers) == of for _, _, numbers, of in layers):
        where = f"of layer {layers[0][1]}" if len(layers) == 1 else f"of {len(layers)} layers"
        quantity = {1: "the head", 2: "both heads"}.get(count, f"all {count} heads")
        return f"{quantity} {where}"
    several = len({kind for kind, *_ in layers}) > 1
    names = [f"{f'{kind} ' if several else ''}{layer}.{_runs(numbers)}" for kind, layer, numbers, _ in layers]
    shown = ", ".join([*names[:6], *(["…"] if len(names) > 6 else [])])
    return f"head {shown}" if count == 1 else f"{count} heads ({shown})"


def _runs(numbers: Sequence[int]) -> str:
    """Return numbers with ranges: `0-2` or `0+2`."""
    consecutive = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{numbers[0]}-{numbers[-1]}" if consecutive else "+".join(map(str, numbers))
