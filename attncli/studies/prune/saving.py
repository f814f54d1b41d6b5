"""The model without heads as a folder: which heads go, a check that it computes the same, and its speed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attncli.capturing.gates import Gate, LayerKey
from attncli.capturing.recordings import logits_of
from attncli.data import Array
from attncli.errors import ModelError
from attncli.models.pruned import (
    Files,
    check_prunable,
    load_pruned,
    save_irregular,
    save_smaller,
    save_zeroed,
    smaller_config,
)
from attncli.models.pruned_layers import PrunedLayer
from attncli.store.model_folder import write_model_folder
from attncli.studies.importance.compute import Ablation
from attncli.studies.prune.compute import Removal

_WRITERS = {"zeroed": save_zeroed, "smaller": save_smaller, "irregular": save_irregular}
ROUNDS = 7
"""Turns in which both models are timed."""
TOLERANCE = 1e-3
"""How far the outputs of the saved model may be from those of the edited one, as a share of the largest number."""


@dataclass(frozen=True, eq=False)
class Saver:
    """Saves the model of an ablation in one form."""

    ablation: Ablation
    form: str

    def check(self) -> None:
        """Raise ModelError if the model cannot be saved without heads."""
        check_prunable(self.ablation.prepared.loaded, self._layers(range(len(self.ablation.units))))
        for site in self.ablation.reruns.sites.values():
            if site.projection is not None and site.projection.calls > 1:
                raise ModelError(
                    f"{self.ablation.prepared.loaded.name} cannot be saved without heads: its layers share "
                    f"{site.projection.name}"
                )
        if self.form == "smaller":  # refused before the heavy work if no number of heads is accepted
            self.even(range(len(self.ablation.units)), 1)

    def even(self, order: Sequence[int], count: int) -> tuple[Removal, str]:
        """Return the units to remove so that every layer loses equally many key heads, and a note about rounding.

        order  the units, the least important first; `count` of them would be removed
        Of each layer those go that come first in the order. Raise ModelError if the configuration of the model accepts
        no smaller number.
        """
        ablation = self.ablation
        layers = self._layers(range(len(ablation.units)))
        name, config = ablation.prepared.loaded.name, type(ablation.prepared.loaded.model.config).__name__
        advice = "save with --form irregular"
        if len({(layer.heads, layer.kv_heads) for layer in layers}) != 1 or len({key[0] for key in self._keys}) != 1:
            raise ModelError(f"{name}: its layers have different heads or kinds, so no number says them all; {advice}")
        if len(layers) != len(ablation.prepared.plan.sites) or any(
            len(layer.removed) < layer.heads for layer in layers
        ):
            raise ModelError(f"{name}: --form smaller needs all heads of all layers; leave out --layer and --head")
        groups = layers[0].kv_heads
        wanted = groups * (1 - count / len(order))
        candidates = sorted(range(1, groups), key=lambda kept: (abs(kept - wanted), -kept))
        model = ablation.prepared.loaded.model
        kept = next((number for number in candidates if smaller_config(model, layers[0], number) is not None), None)
        if kept is None:
            raise ModelError(f"{name}: {config} accepts no smaller number of heads with the same head size; {advice}")
        removal = self._first_groups(order, groups - kept)
        note = f"every layer keeps {kept} of {groups} key heads: {len(removal)} of {len(order)} removed"
        nearest = candidates[0]
        if kept != nearest:
            note += f"; {config} does not accept {nearest} key heads in each layer"
        elif len(removal) != count:
            note += f", not {count}, as all layers lose equally many"
        return removal, note

    def _first_groups(self, order: Sequence[int], lost: int) -> Removal:
        """Return the units of the `lost` key heads of each layer whose last unit comes first in the order."""
        place = {unit: number for number, unit in enumerate(order)}
        members: dict[LayerKey, dict[int, list[int]]] = {}
        for number, unit in enumerate(self.ablation.units):
            site = self.ablation.reruns.sites[unit.layer]
            group = unit.heads[0] // (site.heads // (site.kv_heads or site.heads))
            members.setdefault(unit.layer, {}).setdefault(group, []).append(number)
        removed: list[int] = []
        for groups in members.values():
            ranked = sorted(groups.values(), key=lambda units: float(np.mean([place[unit] for unit in units])))
            removed += [unit for units in ranked[:lost] for unit in units]
        return frozenset(removed)

    @property
    def _keys(self) -> list[LayerKey]:
        return list(dict.fromkeys(unit.layer for unit in self.ablation.units))

    def _layers(self, units: Sequence[int] | Removal) -> list[PrunedLayer]:
        """Return the attention modules that lose heads."""
        removed: dict[LayerKey, list[int]] = {}
        for number in sorted(units):
            unit = self.ablation.units[number]
            removed.setdefault(unit.layer, []).extend(unit.heads)
        layers = []
        for key, heads in removed.items():
            site = self.ablation.reruns.sites[key]
            assert site.projection is not None
            counts = site.heads, site.kv_heads or site.heads
            layers.append(PrunedLayer(site.name, site.projection.name, *counts, tuple(sorted(heads))))
        return layers

    def save(self, removal: Removal, folder: Path, text: int) -> Mapping[str, Any]:
        """Write the model without the heads of `removal`; return what was saved.

        text  number of the text on which the saved model is compared with the edited one, and timed
        Raise ModelError if the saved model does not compute what the edited one does.
        """
        loaded, layers = self.ablation.prepared.loaded, self._layers(removal)
        kept: dict[str, Any] = {}

        def write(path: Path) -> Files:
            return _WRITERS[self.form](loaded, layers, path)

        def check(path: Path) -> None:
            implementation = self.ablation.reruns.implementation
            saved: Any = load_pruned(str(path), dtype=loaded.model.dtype, attn_implementation=implementation)
            saved.to(loaded.device)
            try:
                kept["difference"] = self._difference(saved, removal, text)
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
                if isinstance(error, ModelError):
                    raise
                raise ModelError(
                    f"{type(saved).__name__} does not run in the form {self.form}: use --form zeroed"
                ) from error
            kept["parameters"], kept["bytes"] = saved.num_parameters(), _bytes(saved)
            kept["speed"] = self._speed(saved, text)

        size = write_model_folder(folder, write, check)
        return {
            "folder": folder.name,
            "form": self.form,
            "heads_removed": sum(len(layer.removed) for layer in layers),
            "heads_with_zeros": sum(len(layer.removed if self.form == "zeroed" else layer.padding) for layer in layers),
            "parameters": [loaded.model.num_parameters(), kept["parameters"]],
            "bytes": [_bytes(loaded.model), kept["bytes"]],
            "folder_bytes": size,
            "difference": kept["difference"],
            "speed": kept["speed"],
        }

    @torch.no_grad()
    def _difference(self, saved: Any, removal: Removal, text: int) -> float:
        """Return the largest difference of the saved model's output to that of the edited model."""
        reruns, tensors = self.ablation.reruns, self.ablation.texts[text].tensors
        gates = {}
        for layer in self._layers(removal):
            key = next(key for key, site in reruns.sites.items() if site.name == layer.module)
            factor = torch.ones(1, layer.heads, device=reruns.device)
            factor[0, list(layer.removed)] = 0
            gates[key] = Gate(factor)
        edited = _numbers(reruns.outputs(reruns.record(tensors), gates, 1, shortcut=False))
        found = _numbers(self._run(saved, tensors))
        difference = float((found - edited).abs().max())
        if found.shape != edited.shape or not difference <= self._tolerance * float(edited.abs().max()):
            raise ModelError(
                f"the saved model would differ from the edited one by {difference:.3g}: {type(saved).__name__} cannot "
                f"be saved as {self.form}; use --form zeroed"
            )
        return difference

    @property
    def _tolerance(self) -> float:
        return TOLERANCE if self.ablation.prepared.loaded.dtype == "float32" else 30 * TOLERANCE

    def _run(self, model: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
        return model(**tensors, return_dict=True)

    @torch.no_grad()
    def _speed(self, saved: Any, text: int) -> dict[str, Any]:
        """Return the tokens per second of both models on a text, timed in turns, and their ratio with its spread."""
        tensors = self.ablation.texts[text].tensors
        tokens = sum(tensor.shape[1] for name, tensor in tensors.items() if name.endswith("input_ids"))
        models = [self.ablation.reruns.model, saved]
        seconds = np.array([[self._seconds(model, tensors) for model in models] for _ in range(ROUNDS + 1)])[1:]
        ratio: Array = seconds[:, 0] / seconds[:, 1]
        before, after = (tokens / np.median(seconds, 0)).tolist()
        of_ratio = {"ratio": float(np.median(ratio)), "low": float(ratio.min()), "high": float(ratio.max())}
        return {"tokens": tokens, "before": before, "after": after, **of_ratio, "rounds": ROUNDS}

    def _seconds(self, model: Any, tensors: Mapping[str, torch.Tensor]) -> float:
        start = time.perf_counter()
        _numbers(self._run(model, tensors)).sum().item()  # waits for a GPU
        return time.perf_counter() - start


def _numbers(output: Any) -> torch.Tensor:
    """Return the logits of an output, or its last hidden states, in float32 at least."""
    for name in ("start_logits", "last_hidden_state"):
        if getattr(output, "logits", None) is None and getattr(output, name, None) is not None:
            return getattr(output, name).float()  # type: ignore[no-any-return]
    return logits_of(output)  # type: ignore[no-any-return]


def _bytes(model: torch.nn.Module) -> int:
    """Return the bytes of all parameters of a model."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
