"""What a callback measures of a model in training, which stays as it is: its mode, its gradients, random states."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from attncli.api.model import Model, load
from attncli.capturing.bound_edits import available_heads
from attncli.data import Kind, Selection, Text
from attncli.data.named_heads import resolve_heads
from attncli.engine.execution import Execution
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.models import check_unsharded, holds_model
from attncli.plotting.render import render
from attncli.store.events import StepEvents
from attncli.studies.log.events import step_events
from attncli.studies.log.options import SnapshotOptions
from attncli.studies.log.result import Snapshot
from attncli.studies.log.snapshot import take_snapshot


@dataclass(frozen=True)
class Observation:
    """What was measured at one step.

    events  what TensorBoard and other tools show of the snapshot
    notes   what a reader should know, such as layers whose weights are not finite
    """

    snapshot: Snapshot
    events: StepEvents
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Observer:
    """Measures a model in training on some texts.

    heads     the heads that are shown by themselves, as `3.1` or `4`; empty for none
    pictures  whether their heatmaps on the first text are drawn
    """

    texts: tuple[Text, ...]
    options: SnapshotOptions = field(default_factory=SnapshotOptions)
    heads: tuple[str, ...] = ()
    pictures: bool = True

    def measure(self, model: Any, tokenizer: Any, step: int) -> Observation:
        """Return what the heads of the model show now; raise an error of attncli if the model cannot be measured."""
        if not holds_model(model):
            raise UsageError(f"expected a Transformers model, got {type(model).__name__}")
        check_unsharded(model)
        with unchanged_states(model):
            mine = load(model, tokenizer=tokenizer)
            if mine.loaded.tokenizer is None:
                raise UsageError("the callback reads texts, so it needs the tokenizer: give tokenizer=…")
            chosen = self._chosen(mine)
            execution = Execution(Request(), self.texts, load=lambda: mine)
            run, snapshot = take_snapshot(execution, self.options, step, mine.loaded.class_name)
            pictures = self._pictures(mine, chosen) if self.pictures else {}
            events = step_events(snapshot, step, chosen, pictures)
            return Observation(snapshot, events, tuple(dict.fromkeys((*run.info.notes, *snapshot.notes))))

    def _chosen(self, model: Model) -> Selection:
        """Return the heads that are shown by themselves; raise UsageError if the model does not have one of them."""
        available = available_heads(model.plan())
        return resolve_heads(self.heads, available, model.loaded.class_name) if self.heads else {}

    def _pictures(self, model: Model, chosen: Selection) -> Mapping[str, bytes]:
        """Return the heatmaps of the chosen heads on the first text, by their tags."""
        pictures = {}
        by_kind: dict[Kind, dict[int, tuple[int, ...]]] = {}
        for (kind, layer), heads in chosen.items():
            by_kind.setdefault(kind, {})[layer] = heads
        for kind, layers in by_kind.items():
            numbers = sorted({head for heads in layers.values() for head in heads})
            run = model.run([self.texts[0]], kind=kind, layer=list(layers), head=numbers)
            for layer, heads in layers.items():
                for head in heads:
                    figure = run.heatmap(layer, head, kind=kind)
                    pictures[f"attention/{kind}/head-{layer}.{head}/map"] = render(figure, "png")
        return pictures


@contextmanager
def unchanged_states(model: Any) -> Iterator[None]:
    """Return a context without gradients, after which all random numbers continue as if nothing had happened."""
    states = random.getstate(), np.random.get_state()
    devices = {part.device.index for part in _parameters(model) if part.device.type == "cuda"}
    try:
        with torch.random.fork_rng(sorted(devices)), torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _parameters(model: Any) -> Iterator[nn.Parameter]:
    return model.parameters() if isinstance(model, nn.Module) else iter(())
