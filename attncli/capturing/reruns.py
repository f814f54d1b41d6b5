"""Passes over one text with edited heads, many edits in one batch, that begin at the layer of the edit.

`Reruns.record` runs a text once and keeps the output of each layer. A later pass replaces the layers below an edited
one, and the attention of this one, by what they returned, so that they are not computed again, and gives each row of
its batch another gate. The pass of a language model stops before the vocabulary: `Reruns.logits` computes the logits of
some tokens at a time. Attention is computed by torch where that gives the same hidden states.

If the attention of the model is edited, all passes compute it, edited; gates act on the edited outputs of heads.

All shortcuts are checked on the first tokens of a text, for each layer, and left out where a model does not allow them
(layers that share a module, or that hand more to later layers than their output).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from attncli.capturing.bound_edits import BoundEdits, bind
from attncli.capturing.edited_pass import EditHandler, editing
from attncli.capturing.editor import Editor
from attncli.capturing.gates import Gate, LayerKey, gate_sites, gated, head_outputs
from attncli.capturing.probe import ROUNDING
from attncli.capturing.recordings import (
    AttentionModule,
    RecordedText,
    Recording,
    attention_modules,
    expanded,
    kept_attention,
    layer_name,
    logits_of,
    replaced,
    with_states,
)
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan, Site
from attncli.capturing.text_pass import gives, run_text
from attncli.data import Input
from attncli.models import Loaded

Tensor = torch.Tensor
Tensors = Mapping[str, Tensor]
PROBE_TOKENS = 12
SAME, FAST_SAME = 1e-3, 1e-4
"""How far two computations of hidden states or logits may differ in float32, as a share of the largest number; and how
far torch's attention may move them."""
FAST = "sdpa"
"""The faster way to compute attention, which shows no weights: gates need none."""


class Reruns:
    """Passes of a model with edited heads.

    sites           the layers whose heads can be edited
    splits          whether hidden states and logits can be computed apart
    implementation  how Transformers computes attention in these passes
    A copy of the modules runs: the model itself is never changed.
    """

    def __init__(self, loaded: Loaded, plan: CapturePlan) -> None:
        self._shadow = Shadow(loaded.model)
        self._plan, self._edits, self._name = plan, loaded.edits, loaded.name
        self._caller: Callable[..., Any] = self._shadow.of(loaded.callers[plan.caller][1])
        self.model: nn.Module = self._shadow.model
        self.sites: dict[LayerKey, Site] = gate_sites(plan)
        self._layer_names = {key: layer_name(site) for key, site in self.sites.items()}
        self._cuts: frozenset[str] | None = None
        self._attention: dict[LayerKey, AttentionModule] = {}
        self.splits = False
        self.implementation = "eager"
        self._compared = PROBE_TOKENS
        self._read: str | None = None
        self.device = loaded.device
        self._same = max(SAME, ROUNDING.get(loaded.model.dtype, 0))

    @torch.no_grad()
    def observe(self, tensors: Tensors, visit: Callable[[LayerKey, Tensor], None], text: Input | None = None) -> None:
        """Run a text and show the outputs of the heads of each layer, [1, query, head, dim], to `visit`.

        tensors, text  as for `record`
        """

        def show(key: LayerKey, output: Tensor) -> Tensor:
            visit(key, output)
            return output

        edits = self._bound(text)
        self._prepare(tensors, edits)
        with self._shadow.restored(), self._editing(edits, 1), head_outputs(self.model, self.sites, show):
            self._run(tensors, 1, stop=self._read)

    @torch.no_grad()
    def record(self, tensors: Tensors, text: Input | None = None) -> RecordedText:
        """Return a text with the outputs of all layers.

        tensors  arguments of the forward pass for it alone, without padding
        text     the text itself, in which edits of the model find their tokens; not needed without edits
        """
        edits = self._bound(text)
        self._prepare(tensors, edits)
        tokens = max(tensor.shape[1] for tensor in tensors.values())
        if tokens > self._compared:  # what is equal for few tokens may differ for many, such as windows
            self._compared = tokens
            self._attend_fast(tensors)
        return self._record(tensors, edits)

    def _bound(self, text: Input | None) -> BoundEdits | None:
        """Return the edits of the model for a text; None if it has no edits."""
        if not self._edits:
            return None
        assert text is not None  # edits find their tokens in it
        return bind(self._plan, [text], self._edits, self._name)

    def _editing(self, edits: BoundEdits | None, rows: int) -> AbstractContextManager[Any]:
        """Return a context in which one pass of `rows` rows follows the edits; gates in it act after them."""
        if edits is None:
            return nullcontext()
        return editing(self._shadow, self._plan, edits, EditHandler(Editor(self._plan, edits.weights, rows)))

    def _prepare(self, tensors: Tensors, edits: BoundEdits | None) -> None:
        if self._cuts is None:
            self._cuts = frozenset()
            # given weights and outputs fit the whole text only
            whole = any(edit.values is not None and edit.action != "mean" for edit in self._edits)
            first = tensors if whole else {name: tensor[:, :PROBE_TOKENS] for name, tensor in tensors.items()}
            self._attend_fast(first, choose=True)
            self._find_shortcuts(first, edits)

    def _attend_fast(self, tensors: Tensors, choose: bool = False) -> None:
        """Let torch compute attention where this gives the hidden states of eager attention for a text.

        choose  whether nothing has been decided yet
        """
        fits = getattr(self.model, "_supports_sdpa", False) and self._same == SAME and not self._edits
        if not (fits if choose else self.implementation == FAST):
            return
        self._shadow.attend_with("eager")
        self.implementation, hidden = "eager", self._record(tensors, None).hidden
        if hidden is None:
            return
        self._shadow.attend_with(FAST)
        if self._agrees(hidden, lambda: self._record(tensors, None).hidden, FAST_SAME):
            self.implementation = FAST
        else:
            self._shadow.attend_with("eager")

    def hidden(
        self, recorded: RecordedText, gates: Mapping[LayerKey, Gate], rows: int, shortcut: bool = True
    ) -> Tensor:
        """Return the last hidden states with gates, [row, token, width]; row i has the gates of row i.

        shortcut  whether layers below the first gate may be taken from the recording
        """
        with self._edited(recorded, gates, rows, shortcut):
            states: Tensor = self._run(recorded.tensors, rows, stop=recorded.read).last_hidden_state
        return states

    def outputs(self, recorded: RecordedText, gates: Mapping[LayerKey, Gate], rows: int, shortcut: bool = True) -> Any:
        """Return the output of the whole model with gates, for `rows` rows."""
        with self._edited(recorded, gates, rows, shortcut):
            return self._run(recorded.tensors, rows)

    def logits(self, recorded: RecordedText, hidden: Tensor) -> Tensor:
        """Return the logits of the head for some hidden states, [row, token, vocabulary], in float32 at least."""
        rows, read = len(hidden), recorded.read
        assert read is not None
        forwards = {name: partial(expanded, output, rows) for name, output in recorded.stacks.items()}
        forwards[read] = partial(with_states, forwards[read](), hidden)
        with replaced(self._shadow, forwards):
            logits: Tensor = logits_of(self._run(recorded.tensors, rows))
        return logits

    @contextmanager
    def _edited(
        self, recorded: RecordedText, gates: Mapping[LayerKey, Gate], rows: int, shortcut: bool
    ) -> Iterator[None]:
        """Gate heads, and replace what comes before the first of them by what it returned."""
        forwards = self._known(recorded, gates, rows) if shortcut else {}
        edits = self._editing(recorded.edits, rows)
        with replaced(self._shadow, forwards), edits, gated(self.model, self.sites, gates):
            yield

    def _known(self, recorded: RecordedText, gates: Mapping[LayerKey, Gate], rows: int) -> dict[str, Callable[[], Any]]:
        """Return what computes the outputs of modules that no gate changes, by the names of the modules.

        These are the layers below the highest cut at or below all gates, and the attention of the lowest layer with a
        gate.
        """
        edited, names = {self._layer_names[key] for key in gates}, list(recorded.layers)
        if not edited or not edited <= set(names):
            return {}
        first = min(map(names.index, edited))
        cut = next((number for number in range(first, 0, -1) if names[number] in (self._cuts or ())), 0)
        forwards: dict[str, Any] = {name: partial(expanded, recorded.layers[name], rows) for name in names[:cut]}
        for key in recorded.heads:
            if self._layer_names[key] == names[first]:
                kept = recorded.attention.get(key)
                if kept is not None and key in self._attention:
                    forwards[kept.module.name] = partial(kept.again, self.model, rows)
                if key in gates:  # what follows in the layer reads what the gate changes
                    break
        return forwards

    def _record(self, tensors: Tensors, edits: BoundEdits | None) -> RecordedText:
        heads: dict[LayerKey, Tensor] = {}

        def keep(key: LayerKey, output: Tensor) -> Tensor:
            heads[key] = output
            return output

        projections = {key: site.projection.name for key, site in self.sites.items() if site.projection}
        layers = {name for name in self._layer_names.values() if name}
        returning = {*layers, *(module.name for module in self._attention.values())}
        returning |= {projections[key] for key, module in self._attention.items() if module.projected}
        recording = Recording()
        with (
            self._shadow.restored(),
            self._editing(edits, 1),
            recording.of(self.model, returning, [projections[key] for key in self._attention], self._caller),
            head_outputs(self.model, self.sites, keep),
        ):
            output = self._run(tensors, 1, stop=self._read)
        attention = {
            key: kept
            for key, module in self._attention.items()
            if (kept := kept_attention(recording, module, self.sites[key])) is not None
        }
        of_layers, stacks = recording.layers(layers), recording.outer_stacks()
        states = getattr(output, "last_hidden_state", None)
        if self._read is not None:
            output = None
        elif states is not None:  # the model has no head
            stacks = {}
        elif stacks:
            states = [*stacks.values()][-1].last_hidden_state
        return RecordedText(tensors, of_layers, stacks, states, output, heads, attention, edits)

    def _find_shortcuts(self, tensors: Tensors, edits: BoundEdits | None) -> None:
        """Find the layers at which a pass can begin, and whether the head reads only hidden states."""
        if not self._edits:
            with self._shadow.restored():
                self._attention = attention_modules(self.model, self.sites, lambda: self._run(tensors, 1))
        recorded = self._record(tensors, edits)
        if recorded.hidden is None:
            return
        cuts = set()
        for key, name in self._layer_names.items():
            self._cuts = frozenset({name})
            if name in recorded.layers and (self._begins_at(recorded, key) or self._begins_at(recorded, key)):
                cuts.add(name)
        self._cuts = frozenset(cuts)
        self._check_attention(recorded)
        logits = logits_of(recorded.output)
        if recorded.stacks and logits is not None and logits.shape[:2] == recorded.hidden.shape[:2]:
            some = slice(1, None) if logits.shape[1] > 1 else slice(None)
            hidden = recorded.hidden
            self.splits = self._agrees(logits[:, some], lambda: self.logits(recorded, hidden[:, some]))
        self._read = recorded.read if self.splits else None

    def _begins_at(self, recorded: RecordedText, key: LayerKey) -> bool:
        """Return whether a pass from a layer gives the recorded states; without kept attention the next time if not."""
        assert recorded.hidden is not None
        gates = {key: Gate(torch.ones(2, self.sites[key].heads))}
        same = self._agrees(recorded.hidden, partial(self.hidden, recorded, gates, 2))
        if not same:
            self._attention.pop(key, None)
        return same

    def _check_attention(self, recorded: RecordedText) -> None:
        """Keep attention only if gates act on what is kept: compared with whole passes, for a layer of each kind."""
        for key in {key[0]: key for key in self._attention}.values():
            gates = {key: Gate(torch.zeros(1, self.sites[key].heads))}
            expected = self.hidden(recorded, gates, 1, shortcut=False)
            if not self._agrees(expected, partial(self.hidden, recorded, gates, 1)):
                self._attention = {}
                return

    @torch.no_grad()
    def begins_right(self, recorded: RecordedText) -> bool:
        """Return whether a pass from the last layer gives the hidden states of the recording, at full length too."""
        if recorded.hidden is None or not recorded.layers:
            return True
        last = [key for key, name in self._layer_names.items() if name == [*recorded.layers][-1]]
        gates = {key: Gate(torch.ones(1, self.sites[key].heads)) for key in last[:1]}
        return self._agrees(recorded.hidden, lambda: self.hidden(recorded, gates, 1))

    def _agrees(self, expected: Tensor, compute: Callable[[], Tensor | None], same: float | None = None) -> bool:
        return gives(compute, expected, same or self._same)

    def _run(self, tensors: Tensors, rows: int, stop: str | None = None) -> Any:
        return run_text(self.model, self._caller, tensors, rows, stop)
