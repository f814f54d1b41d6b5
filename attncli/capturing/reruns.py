"""Passes over one text with edited heads, many edits in one batch, that begin at the layer of the edit.

`Reruns.record` runs a text once and keeps the output of each layer. A later pass replaces the layers below an edited
one by what they returned, so that they are not computed again, and gives each row of its batch another gate. The pass
of a language model stops before the vocabulary: `Reruns.logits` computes the logits of some tokens at a time.

If the attention of the model is edited, all passes follow the edits; gates act on the edited outputs of heads.

Both shortcuts are checked on the first tokens of a text, for each layer, and left out where a model does not allow them
(layers that share a module, or that hand more to later layers than their output).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from attncli.capturing.bound_edits import BoundEdits, bind
from attncli.capturing.canvas import canvas_input
from attncli.capturing.edited_pass import EditHandler, editing
from attncli.capturing.editor import Editor
from attncli.capturing.gates import Gate, LayerKey, gate_sites, gated, head_outputs
from attncli.capturing.probe import ROUNDING
from attncli.capturing.recordings import (
    RecordedText,
    Tensor,
    Tensors,
    expanded,
    keeper,
    logits_of,
    stack_keeper,
    with_states,
)
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import LAYER_PATH, CapturePlan, Site
from attncli.data import Input
from attncli.errors import is_out_of_memory
from attncli.inputs.batches import accepted_arguments
from attncli.models import Loaded

PROBE_TOKENS = 12
SAME = 1e-3
"""How far two computations of hidden states or logits may differ in float32, as a share of the largest number."""


class _StackReached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass at the output of the layers, before the head of the model."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


class Reruns:
    """Passes of a model with edited heads.

    sites   the layers whose heads can be edited
    splits  whether hidden states and logits can be computed apart
    A copy of the modules runs: the model itself is never changed.
    """

    def __init__(self, loaded: Loaded, plan: CapturePlan) -> None:
        self._shadow = Shadow(loaded.model)
        self._plan, self._edits, self._name = plan, loaded.edits, loaded.name
        self._caller: Callable[..., Any] = self._shadow.of(loaded.callers[plan.caller][1])
        self.model: nn.Module = self._shadow.model
        self.sites: dict[LayerKey, Site] = gate_sites(plan)
        self._layer_names = {key: _layer_name(site) for key, site in self.sites.items()}
        self._cuts: frozenset[str] | None = None
        self.splits = False
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
            self._find_shortcuts(tensors if whole else {name: _begin(tensors[name]) for name in tensors}, edits)

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
        outputs = {name: expanded(output, rows) for name, output in recorded.stacks.items()}
        outputs[read] = with_states(outputs[read], hidden)
        with self._replaced(outputs):
            logits: Tensor = logits_of(self._run(recorded.tensors, rows))
        return logits

    @contextmanager
    def _edited(
        self, recorded: RecordedText, gates: Mapping[LayerKey, Gate], rows: int, shortcut: bool
    ) -> Iterator[None]:
        """Gate heads, and replace the layers below the first of them by what they returned."""
        below = self._below(recorded, gates) if shortcut else {}
        outputs = {name: expanded(output, rows) for name, output in below.items()}
        with self._replaced(outputs), self._editing(recorded.edits, rows), gated(self.model, self.sites, gates):
            yield

    def _below(self, recorded: RecordedText, gates: Mapping[LayerKey, Gate]) -> dict[str, Any]:
        """Return the outputs of the layers below the highest cut at or below all gates."""
        edited, names = {self._layer_names[key] for key in gates}, list(recorded.layers)
        if not edited or not edited <= set(names):
            return {}
        first = min(map(names.index, edited))
        cut = next((number for number in range(first, 0, -1) if names[number] in (self._cuts or ())), 0)
        return {name: recorded.layers[name] for name in names[:cut]}

    def _record(self, tensors: Tensors, edits: BoundEdits | None) -> RecordedText:
        layers: dict[str, list[Any]] = {}
        stacks: dict[str, Any] = {}
        with self._shadow.restored(), self._editing(edits, 1), ExitStack() as hooks:
            for name, module in self.model.named_modules():
                if name in self._layer_names.values():
                    hooks.callback(module.register_forward_hook(keeper(layers, name)).remove)
                elif name and module is not self._caller:
                    hooks.callback(module.register_forward_hook(stack_keeper(stacks, name)).remove)
            output = self._run(tensors, 1, stop=self._read)
        # a stack in another one is a part of it
        outer = {name: kept for name, kept in stacks.items() if not any(name.startswith(f"{o}.") for o in stacks)}
        once = {name: kept[0] for name, kept in layers.items() if len(kept) == 1}
        if len(once) < len(layers):
            once = {}
        if self._read is not None:
            return RecordedText(tensors, once, outer, output.last_hidden_state, None, edits)
        states = getattr(output, "last_hidden_state", None)
        if states is not None:  # the model has no head
            outer = {}
        elif outer:
            states = [*outer.values()][-1].last_hidden_state
        return RecordedText(tensors, once, outer, states, output, edits)

    def _find_shortcuts(self, tensors: Tensors, edits: BoundEdits | None) -> None:
        """Find the layers at which a pass can begin, and whether the head reads only hidden states."""
        recorded = self._record(tensors, edits)
        if recorded.hidden is None:
            return
        cuts = set()
        for key, name in self._layer_names.items():
            if name not in recorded.layers:
                continue
            self._cuts = frozenset({name})
            gates = {key: Gate(torch.ones(2, self.sites[key].heads))}
            if self._agrees(recorded.hidden, partial(self.hidden, recorded, gates, 2)):
                cuts.add(name)
        self._cuts = frozenset(cuts)
        logits = logits_of(recorded.output)
        if recorded.stacks and logits is not None and logits.shape[:2] == recorded.hidden.shape[:2]:
            some = slice(1, None) if logits.shape[1] > 1 else slice(None)
            hidden = recorded.hidden
            self.splits = self._agrees(logits[:, some], lambda: self.logits(recorded, hidden[:, some]))
        self._read = recorded.read if self.splits else None

    @torch.no_grad()
    def begins_right(self, recorded: RecordedText) -> bool:
        """Return whether a pass from the last layer gives the hidden states of the recording, at full length too."""
        if recorded.hidden is None or not recorded.layers:
            return True
        last = [key for key, name in self._layer_names.items() if name == [*recorded.layers][-1]]
        gates = {key: Gate(torch.ones(1, self.sites[key].heads)) for key in last[:1]}
        return self._agrees(recorded.hidden, lambda: self.hidden(recorded, gates, 1))

    def _agrees(self, expected: Tensor, compute: Callable[[], Tensor]) -> bool:
        """Return whether a computation works, and gives the same numbers."""
        try:
            computed = compute()
        except Exception as error:  # modules of any architecture, run in another way than their author expected
            if is_out_of_memory(error):
                raise
            return False
        if computed.shape[1:] != expected.shape[1:]:
            return False
        return float((computed - expected).abs().max()) <= self._same * float(expected.abs().max())

    def _run(self, tensors: Tensors, rows: int, stop: str | None = None) -> Any:
        """Return the output of the model for `rows` copies of a text, or that of the stack `stop`."""
        arguments: dict[str, Any] = {name: tensor.repeat(rows, 1) for name, tensor in tensors.items()}
        arguments = accepted_arguments(self._caller, arguments)
        arguments |= accepted_arguments(self._caller, canvas_input(self._caller, arguments))
        arguments |= accepted_arguments(self._caller, {"use_cache": False, "return_dict": True})
        if stop is None:
            return self._caller(**arguments)
        handle = self.model.get_submodule(stop).register_forward_hook(_stop)
        try:
            self._caller(**arguments)
        except _StackReached as reached:
            return reached.output
        finally:
            handle.remove()
        raise AssertionError(f"{stop} did not run")

    @contextmanager
    def _replaced(self, outputs: Mapping[str, Any]) -> Iterator[None]:
        """Replace modules by what they returned, for one pass: what the pass changes is restored too."""
        with self._shadow.restored():
            for name, output in outputs.items():
                vars(self.model.get_submodule(name))["forward"] = lambda *_, output=output, **__: output
            yield


def _stop(module: nn.Module, args: object, output: Any) -> None:
    raise _StackReached(output)


def _layer_name(site: Site) -> str:
    """Return the qualified name of the layer that holds a site; "" if its name has none."""
    assert site.projection is not None
    match = LAYER_PATH.match(site.projection.name)
    return f"{match[1]}.{match[2]}" if match else ""


def _begin(tensor: Tensor) -> Tensor:
    return tensor[:, :PROBE_TOKENS]
