"""Passes over one text with edited heads, many edits in one batch, that begin at the layer of the edit.

`Reruns.record` runs a text once and keeps the output of each layer. A later pass replaces the layers below an edited
one by what they returned, so that they are not computed again, and gives each row of its batch another gate. The pass
of a language model stops before the vocabulary: `Reruns.logits` computes the logits of some tokens at a time.

Both shortcuts are checked on the first tokens of a text, for each layer, and left out where a model does not allow them
(layers that share a module, or that hand more to later layers than their output).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from transformers.utils.generic import ModelOutput

from attncli.capturing.canvas import canvas_input
from attncli.capturing.gates import Gate, LayerKey, gate_sites, gated, head_outputs
from attncli.capturing.probe import ROUNDING
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import LAYER_PATH, CapturePlan, Site
from attncli.errors import is_out_of_memory
from attncli.inputs.batches import accepted_arguments
from attncli.models import Loaded

Tensor = torch.Tensor
Tensors = Mapping[str, Tensor]
PROBE_TOKENS = 12
SAME = 1e-3
"""How far two computations of hidden states or logits may differ in float32, as a share of the largest number."""


class _StackReached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass at the output of the layers, before the head of the model."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


@dataclass(frozen=True, eq=False)
class RecordedText:
    """One text and what the layers of the model returned for it.

    tensors  arguments of the forward pass, for one text
    layers   qualified name of each layer → its output, in the order of the calls
    stacks   qualified name of each stack under the head (mostly one) → its output, in the order of the calls
    hidden   the last hidden states, [1, token, width], which the head of the model takes as input; None without them
    output   output of the whole model; None if it was run up to the head
    """

    tensors: Tensors
    layers: Mapping[str, Any]
    stacks: Mapping[str, Any]
    hidden: Tensor | None
    output: Any

    @property
    def read(self) -> str | None:
        """The name of the stack that the head reads; None if there is none."""
        return next(reversed([*self.stacks]), None)


class Reruns:
    """Passes of a model with edited heads.

    sites   the layers whose heads can be edited
    splits  whether hidden states and logits can be computed apart
    A copy of the modules runs: the model itself is never changed.
    """

    def __init__(self, loaded: Loaded, plan: CapturePlan) -> None:
        self._shadow = Shadow(loaded.model)
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
    def observe(self, tensors: Tensors, visit: Callable[[LayerKey, Tensor], None]) -> None:
        """Run a text and show the outputs of the heads of each layer, [1, query, head, dim], to `visit`."""

        def show(key: LayerKey, output: Tensor) -> Tensor:
            visit(key, output)
            return output

        self._prepare(tensors)
        with self._shadow.restored(), head_outputs(self.model, self.sites, show):
            self._run(tensors, 1, stop=self._read)

    @torch.no_grad()
    def record(self, tensors: Tensors) -> RecordedText:
        """Return a text with the outputs of all layers; `tensors` are arguments for it alone, without padding."""
        self._prepare(tensors)
        return self._record(tensors)

    def _prepare(self, tensors: Tensors) -> None:
        if self._cuts is None:
            self._cuts = frozenset()
            self._find_shortcuts({name: _begin(tensor) for name, tensor in tensors.items()})

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
        outputs = {name: _expanded(output, rows) for name, output in recorded.stacks.items()}
        outputs[read] = _with_states(outputs[read], hidden)
        with self._replaced(outputs):
            logits: Tensor = logits_of(self._run(recorded.tensors, rows))
        return logits

    @contextmanager
    def _edited(
        self, recorded: RecordedText, gates: Mapping[LayerKey, Gate], rows: int, shortcut: bool
    ) -> Iterator[None]:
        """Gate heads, and replace the layers below the first of them by what they returned."""
        below = self._below(recorded, gates) if shortcut else {}
        outputs = {name: _expanded(output, rows) for name, output in below.items()}
        with self._replaced(outputs), gated(self.model, self.sites, gates):
            yield

    def _below(self, recorded: RecordedText, gates: Mapping[LayerKey, Gate]) -> dict[str, Any]:
        """Return the outputs of the layers below the highest cut at or below all gates."""
        edited, names = {self._layer_names[key] for key in gates}, list(recorded.layers)
        if not edited or not edited <= set(names):
            return {}
        first = min(map(names.index, edited))
        cut = next((number for number in range(first, 0, -1) if names[number] in (self._cuts or ())), 0)
        return {name: recorded.layers[name] for name in names[:cut]}

    def _record(self, tensors: Tensors) -> RecordedText:
        layers: dict[str, list[Any]] = {}
        stacks: dict[str, Any] = {}
        with self._shadow.restored(), ExitStack() as hooks:
            for name, module in self.model.named_modules():
                if name in self._layer_names.values():
                    hooks.callback(module.register_forward_hook(_keeper(layers, name)).remove)
                elif name and module is not self._caller:
                    hooks.callback(module.register_forward_hook(_stack_keeper(stacks, name)).remove)
            output = self._run(tensors, 1, stop=self._read)
        # a stack in another one is a part of it
        outer = {name: kept for name, kept in stacks.items() if not any(name.startswith(f"{o}.") for o in stacks)}
        once = {name: kept[0] for name, kept in layers.items() if len(kept) == 1}
        if len(once) < len(layers):
            once = {}
        if self._read is not None:
            return RecordedText(tensors, once, outer, output.last_hidden_state, None)
        states = getattr(output, "last_hidden_state", None)
        if states is not None:  # the model has no head
            outer = {}
        elif outer:
            states = [*outer.values()][-1].last_hidden_state
        return RecordedText(tensors, once, outer, states, output)

    def _find_shortcuts(self, tensors: Tensors) -> None:
        """Find the layers at which a pass can begin, and whether the head reads only hidden states."""
        recorded = self._record(tensors)
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


def _keeper(kept: dict[str, list[Any]], name: str) -> Callable[..., None]:
    return lambda module, args, output: kept.setdefault(name, []).append(output)


def _stack_keeper(stacks: dict[str, Any], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, args: object, output: Any) -> None:
        if isinstance(output, ModelOutput) and getattr(output, "last_hidden_state", None) is not None:
            stacks[name] = output

    return keep


def _layer_name(site: Site) -> str:
    """Return the qualified name of the layer that holds a site; "" if its name has none."""
    assert site.projection is not None
    match = LAYER_PATH.match(site.projection.name)
    return f"{match[1]}.{match[2]}" if match else ""


def _begin(tensor: Tensor) -> Tensor:
    return tensor[:, :PROBE_TOKENS]


def _expanded(output: Any, rows: int) -> Any:
    """Return an output of one text as the output of `rows` equal texts."""

    def expand(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[0] != 1:
            return value
        return value.expand(rows, *value.shape[1:])

    return tree_map(expand, output)


def _with_states(output: Any, hidden: Tensor) -> Any:
    changed = type(output)(**output)
    changed["last_hidden_state"] = hidden
    return changed


def logits_of(output: Any) -> Any:
    """Return the logits of an output, in float32 at least; None if it has none."""
    logits = getattr(output, "logits", None)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)) if isinstance(logits, Tensor) else None
