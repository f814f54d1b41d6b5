"""Passes over one text with edits of its attention that leave out what the edits cannot change.

The layers below the lowest edited one are replaced by what they returned. In a causal model only the rows from the
first edited one on are computed (see `last_rows.py`). Whether both give the numbers of whole passes is the caller's to
check with `agrees`: it depends on the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from attncli.capturing.bound_edits import BoundEdits, bind
from attncli.capturing.edited_pass import EditHandler, edited_outputs, editing
from attncli.capturing.editor import Editor
from attncli.capturing.last_rows import CallKeeper, LastRows
from attncli.capturing.probe import ROUNDING, call_model
from attncli.capturing.recordings import Recording, expanded, layer_name, replaced
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan
from attncli.data import Kind, base_kind
from attncli.errors import is_out_of_memory
from attncli.inputs.batches import Batch, repeated
from attncli.models import Loaded

Tensor = torch.Tensor
SAME = 1e-4
"""How far logits may differ in float32, as a share of the largest."""


def _logits(outputs: Any) -> Tensor:
    logits: Tensor = outputs.logits
    return logits


class PartialPasses:
    """Passes over copies of one text, each with other edits of the weights in the rows from `first` on.

    first  the first row that is computed: all logits are those of the rows from there on
    """

    def __init__(self, loaded: Loaded, plan: CapturePlan, batch: Batch, first: int = 0, skips: bool = True) -> None:
        """Run the text once.

        first  the first row that is computed, if the model allows; else 0
        skips  whether layers below the lowest edited one are left out
        """
        self._loaded, self._plan, self._batch = loaded, plan, batch
        self._shadow = Shadow(loaded.model)
        self._keeper = CallKeeper()
        self.first = first if first and self._keeps_calls(first) else 0
        self._names = {(site.kind, site.layer): layer_name(site) for site in plan.sites}
        self._layers: Mapping[str, Any] = {}
        if skips:
            self._layers = self._record_layers()

    def _record_layers(self) -> dict[str, Any]:
        """Return the outputs of the layers for the computed rows; the first row is 0 if a pass from it fails."""
        recording, names = Recording(), {name for name in self._names.values() if name}
        own = bind(self._plan, list(self._batch.inputs), self._loaded.edits, self._loaded.name)
        try:
            with self._shadow.restored(), recording.of(self._shadow.model, names):
                self.outputs(own, 1)
        except Exception as error:  # modules of any architecture, run in another way than their author expected
            if not self.first or is_out_of_memory(error):
                raise
            self.first = 0
            return self._record_layers()
        return recording.layers(names)

    def lowest(self, kind: Kind, layers: Iterable[int]) -> int:
        """Return the place of the lowest of some layers among those that can be left out; 0 if none can."""
        names, order = [self._names.get((kind, layer), "") for layer in layers], list(self._layers)
        return min((order.index(name) if name in order else 0 for name in names), default=0)

    def outputs(self, edits: BoundEdits, count: int, lowest: int = 0) -> Any:
        """Return the outputs of one pass over `count` copies of the text, with the logits of the computed rows.

        lowest  place of the lowest edited layer: those below it are not computed
        """
        below = list(self._layers)[:lowest]
        forwards = {name: partial(expanded, self._layers[name], count) for name in below}
        handler: Any = EditHandler(Editor(self._plan, edits.weights, count))
        if self.first:
            handler = LastRows(self._keeper.calls, edits.weights, self.first)
        _, caller = self._loaded.callers[self._plan.caller]
        with (
            torch.inference_mode(),
            replaced(self._shadow, forwards),
            editing(self._shadow, self._plan, edits, handler),
        ):
            return call_model(self._shadow.of(caller), self._copies(count), all_logits=True)

    @torch.inference_mode()
    def agrees(self, edits: BoundEdits, lowest: int, rows: slice, read: Callable[[Any], Tensor] = _logits) -> bool:
        """Return whether a pass with edits gives the logits of a whole pass at some rows of the text.

        read  a function that returns the logits among the outputs of a pass, or hidden states in their place
        """
        expected = read(edited_outputs(self._loaded, self._plan, self._batch, edits, shadow=self._shadow))
        try:
            computed = read(self.outputs(edits, 1, lowest))
        except Exception as error:  # modules of any architecture, run in another way than their author expected
            if is_out_of_memory(error):
                raise
            return False
        if expected.dim() == 3:
            expected, computed = expected[:, rows], computed[:, rows.start - self.first : rows.stop - self.first]
        if computed.shape != expected.shape:
            return False
        allowed = max(SAME, ROUNDING.get(expected.dtype, 0)) * float(expected.abs().max())
        return float((computed.double() - expected.double()).abs().max()) <= allowed

    def _copies(self, count: int) -> Batch:
        batch = self._batch
        if self.first:
            tokens = len(batch.inputs[0].source)
            positions = torch.arange(tokens, device=self._loaded.device)[None]
            tensors = {"position_ids": positions, **batch.tensors}
            batch = replace(batch, tensors={name: tensor[:, self.first :] for name, tensor in tensors.items()})
        return repeated(batch, count)

    def _keeps_calls(self, first: int) -> bool:
        """Return whether the last rows can be computed from kept keys and values, which are kept if so."""
        batch, sites, tokens = self._batch, self._plan.sites, len(self._batch.inputs[0].source)
        plain = all(
            site.function == "dispatch" and site.route == "stream" and base_kind(site.kind) == "decoder"
            for site in sites
        )
        shapes = {tuple(tensor.shape) for tensor in batch.tensors.values()}
        if self._loaded.edits or self._loaded.is_encoder_decoder or not plain or shapes != {(1, tokens)}:
            return False
        _, caller = self._loaded.callers[self._plan.caller]
        nothing = BoundEdits({}, {})
        with (
            torch.inference_mode(),
            replaced(self._shadow, {}),
            editing(self._shadow, self._plan, nothing, self._keeper),
        ):
            call_model(self._shadow.of(caller), batch)
        return {site.key for site in sites} <= set(self._keeper.calls) and self._keeper.ends_from(first)
