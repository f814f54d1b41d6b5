"""The effect of removing heads, text by text and layer by layer; what is done is kept and not computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch

from attncli.capturing.bound_edits import available_heads
from attncli.capturing.gates import Gate, LayerKey, ungated
from attncli.capturing.recordings import RecordedText
from attncli.capturing.reruns import Reruns
from attncli.data import Array
from attncli.data.edits import heads_of_edit
from attncli.engine.passes import Pass
from attncli.engine.progress import Track
from attncli.engine.rounding import rounding_notes
from attncli.errors import ModelError, UsageError
from attncli.models.tasks import Task, task_of
from attncli.studies.importance.options import ImportanceOptions
from attncli.studies.importance.outcomes import ClassOutcome, LanguageOutcome, Outcome, StateOutcome
from attncli.studies.importance.units import PredictedText, Unit, predicted_texts, units_of

Tensor = torch.Tensor
TOKENS_AT_ONCE = 1024
"""Tokens of all rows of one pass: larger batches leave the cache of a processor, and are slower."""
MEASURES: Mapping[Task, tuple[str, ...]] = {
    **dict.fromkeys(("causal-lm", "masked-lm", "seq2seq-lm"), LanguageOutcome.measures),
    "classification": ClassOutcome.measures,
    "base": StateOutcome.measures,
}


class Progress(Protocol):
    """Results that are kept as they come, so that an interrupted run continues."""

    def done(self) -> Iterator[Mapping[str, Any]]:
        """Return what earlier calls have kept."""

    def keep(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry of plain values."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The effects of all units on all texts.

    effects        measure → [unit, text]
    losses         [text] loss of the unedited model in nats; NaN without one
    contributions  [unit, text] share of the lengths of what the heads of the layer write to the residual stream
    heads          number of heads of each layer
    zeroed         heads that an edit of the model has set to 0
    notes          what a reader should know of the measurement
    """

    task: Task
    units: tuple[Unit, ...]
    effects: Mapping[str, Array]
    losses: Array
    contributions: Array
    heads: Mapping[LayerKey, int]
    zeroed: Mapping[LayerKey, Sequence[int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Ablation:
    """Measures the effects of one run.

    max_bytes  memory for logits; None for no limit
    """

    prepared: Pass
    options: ImportanceOptions
    max_bytes: int | None
    reruns: Reruns = field(init=False)
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        loaded, plan = self.prepared.loaded, self.prepared.plan
        self.task = "base" if plan.caller else task_of(loaded)
        if self.options.method == "gradient" and self.task == "base":
            raise UsageError(
                f"{type(loaded.model).__name__} has no head, so there is no loss for --method gradient: use zero or "
                "mean, or load a head with --model-head"
            )
        self.reruns = Reruns(loaded, plan)
        self.refused = {key: reason for key, reason in ungated(plan).items() if key in self.prepared.heads}
        self.units = units_of(self.prepared.heads, self.reruns.sites, self.options.unit)
        if not self.units:
            raise ModelError(f"{loaded.name}: {next(iter(self.refused.values()))}")
        self.texts = predicted_texts(loaded, self.prepared.batches, self.task, self.options)

    @torch.no_grad()
    def measure(self, progress: Progress, track: Track) -> Measured:
        """Return the effects of all units on all texts; units that `progress` has are not computed again."""
        shape = len(self.units), len(self.texts)
        effects = {name: np.full(shape, np.nan) for name in self._measures}
        losses, contributions = np.full(len(self.texts), np.nan), np.full(shape, np.nan)
        done: set[tuple[int, tuple[int, ...] | None]] = set()
        for entry in progress.done():
            text = entry["text"]
            if "loss" in entry:
                losses[text], contributions[:, text] = _number(entry["loss"]), entry["contributions"]
                done.add((text, None))
            else:
                for name, values in entry["effects"].items():
                    effects[name][entry["units"], text] = values
                done.add((text, tuple(entry["units"])))
        means = self.means(range(len(self.texts))) if self.options.method == "mean" else {}
        with track("removing heads", shape[0] * shape[1], "heads") as advance:
            for number, text in enumerate(self.texts):
                waiting = [part for part in self._parts() if (number, part) not in done]
                advance(shape[0] - sum(map(len, waiting)))
                if not waiting and (number, None) in done:
                    continue
                recorded = self.reruns.record(text.tensors, text.text)
                outcome = self.outcome(text, recorded)
                if (number, None) not in done:
                    losses[number], contributions[:, number] = outcome.loss, self._contributions(recorded)
                    loss = None if np.isnan(outcome.loss) else outcome.loss
                    progress.keep({"text": number, "loss": loss, "contributions": contributions[:, number].tolist()})
                for part in waiting:
                    values = self._effects(outcome, part, means)
                    for name, of_part in values.items():
                        effects[name][list(part), number] = of_part
                    plain = {name: of_part.tolist() for name, of_part in values.items()}
                    progress.keep({"text": number, "units": list(part), "effects": plain})
                    advance(len(part))
        heads = {key: site.heads for key, site in self.reruns.sites.items()}
        return Measured(self.task, tuple(self.units), effects, losses, contributions, heads, self._zeroed, self.notes)

    @property
    def _zeroed(self) -> dict[LayerKey, list[int]]:
        """The heads that an edit of the model has set to 0, by layer."""
        loaded, zeroed = self.prepared.loaded, dict[LayerKey, list[int]]()
        for edit in loaded.edits:
            if edit.action == "zero":
                for layer, heads in heads_of_edit(edit, available_heads(self.prepared.plan), loaded.name).items():
                    zeroed.setdefault(layer, []).extend(heads)
        return zeroed

    @property
    def notes(self) -> tuple[str, ...]:
        """Which layers are left out, and whether the model rounds coarsely."""
        left_out = (f"{reason}; it is left out" for reason in self.refused.values())
        return (*left_out, *rounding_notes(self.prepared.loaded))

    @property
    def _measures(self) -> tuple[str, ...]:
        return ("gradient",) if self.options.method == "gradient" else MEASURES[self.task]

    def _parts(self) -> list[tuple[int, ...]]:
        """Return the units that are computed together: those of a layer, or all at once for gradients."""
        if self.options.method == "gradient":
            return [tuple(range(len(self.units)))]
        layers = groupby(range(len(self.units)), key=lambda number: self.units[number].layer)
        return [tuple(numbers) for _, numbers in layers]

    def outcome(self, text: PredictedText, recorded: RecordedText) -> Outcome:
        """Return what the model computes for a text, which has been recorded."""
        if self.task == "base":
            return StateOutcome(self.reruns, recorded)
        if self.task == "classification":
            return ClassOutcome(self.reruns, recorded)
        return LanguageOutcome(self.reruns, recorded, text.positions, text.targets, self.max_bytes)

    def _effects(self, outcome: Outcome, part: Sequence[int], means: Mapping[LayerKey, Tensor]) -> dict[str, Array]:
        """Return the effects of some units of a layer, measure → [unit]."""
        units = [self.units[number] for number in part]
        if self.options.method == "gradient":
            of_heads = outcome.gradients()
            return {"gradient": np.array([of_heads[unit.layer][list(unit.heads)].sum() for unit in units])}
        tokens = sum(tensor.shape[1] for name, tensor in outcome.tensors.items() if name.endswith("input_ids"))
        step = max(1, TOKENS_AT_ONCE // tokens)
        values: dict[str, list[Array]] = {}
        for start in range(0, len(units), step):
            some = units[start : start + step]
            layer = some[0].layer
            factor = torch.ones(len(some), self.reruns.sites[layer].heads, device=self.reruns.device)
            for row, unit in enumerate(some):
                factor[row, list(unit.heads)] = 0
            for name, of_rows in outcome.effects({layer: Gate(factor, means.get(layer))}, len(some)).items():
                values.setdefault(name, []).append(of_rows)
        return {name: np.concatenate(of_rows) for name, of_rows in values.items()}

    def means(self, texts: Iterable[int]) -> dict[LayerKey, Tensor]:
        """Return the mean output of each head over all tokens of some texts, [head, dim] for each layer.

        texts  their numbers
        """
        sums: dict[LayerKey, Tensor] = {}
        counts: dict[LayerKey, int] = {}

        def add(key: LayerKey, output: Tensor) -> None:
            total = output.double().sum((0, 1))
            sums[key] = sums[key] + total if key in sums else total
            counts[key] = counts.get(key, 0) + output.shape[0] * output.shape[1]

        for number in texts:
            text = self.texts[number]
            self.reruns.observe(text.tensors, add, text.text)
        return {key: total / counts[key] for key, total in sums.items()}

    def _contributions(self, recorded: RecordedText) -> Array:
        """Return the share of each unit in the lengths of what the heads of its layer write, [unit].

        A head writes o W_O at a token, o its output; lengths are summed over tokens.
        """
        lengths: dict[LayerKey, Array] = {}
        for key, output in recorded.heads.items():
            site = self.reruns.sites[key]
            assert site.projection is not None
            module = self.reruns.model.get_submodule(site.projection.name)
            matrix = site.projection.matrix(module, output, output.shape[2] * output.shape[3])
            by_head = matrix.view(site.heads, output.shape[3], -1)
            written = [
                float((output[0, :, head].to(matrix.dtype) @ by_head[head]).norm(dim=-1).double().sum())
                for head in range(site.heads)
            ]
            lengths[key] = np.array(written)
        shares = {key: of_heads / (of_heads.sum() or 1.0) for key, of_heads in lengths.items()}  # a layer may be zeroed
        return np.array([shares[unit.layer][list(unit.heads)].sum() for unit in self.units])


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
