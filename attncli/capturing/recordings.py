"""What a model computes for one text, kept so that passes with edits of upper layers need not compute it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map
from transformers.utils.generic import ModelOutput

from attncli.capturing.bound_edits import BoundEdits
from attncli.capturing.gates import LayerKey
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import LAYER_PATH, Site

Tensor = torch.Tensor
Tensors = Mapping[str, Tensor]
_PLACE = object()
"""Stands in an output for the tensor that is computed again."""


@dataclass(frozen=True)
class AttentionModule:
    """The module of a layer that computes its attention, so that it can be replaced by what it returned.

    name       its qualified name
    projected  whether it returns what the output projection returns; else what the projection reads
    """

    name: str
    projected: bool


@dataclass(frozen=True, eq=False)
class KeptAttention:
    """What the attention of one layer computed for one text, up to the output projection.

    module      the module that is replaced
    projection  qualified name of the output projection
    read        what the projection read, [1, query, width]
    output      what the module returned, with a place for its main tensor
    """

    module: AttentionModule
    projection: str
    read: Tensor
    output: Any

    def again(self, model: nn.Module, rows: int) -> Any:
        """Return the output of the module for `rows` equal texts; gates act on what the projection reads."""
        main = self.read.expand(rows, *self.read.shape[1:])
        if self.module.projected:
            main = model.get_submodule(self.projection)(main)
        return tree_map(lambda value: main if value is _PLACE else _expand(value, rows), self.output)


@dataclass(frozen=True, eq=False)
class RecordedText:
    """One text and what the layers of the model returned for it.

    tensors    arguments of the forward pass, for one text
    layers     qualified name of each layer → its output, in the order of the calls
    stacks     qualified name of each stack under the head (mostly one) → its output, in the order of the calls
    hidden     the last hidden states, [1, token, width], which the head of the model takes as input; None without them
    output     output of the whole model; None if it was run up to the head
    heads      outputs of the heads of each layer, [1, query, head, dim], in the order of the calls
    attention  what the attention of each layer computed, where it can be replaced
    edits      edits of the attention of the model, which all passes follow; None without edits
    """

    tensors: Tensors
    layers: Mapping[str, Any]
    stacks: Mapping[str, Any]
    hidden: Tensor | None
    output: Any
    heads: Mapping[LayerKey, Tensor]
    attention: Mapping[LayerKey, KeptAttention]
    edits: BoundEdits | None = None

    @property
    def read(self) -> str | None:
        """The name of the stack that the head reads; None if there is none."""
        return next(reversed([*self.stacks]), None)


@dataclass(eq=False)
class Recording:
    """What the modules of a model return during a pass, by their names, in the order of the calls.

    outputs  name → the output of each call
    reads    name → the first argument of each call
    stacks   name → the last output of a stack of layers
    """

    outputs: dict[str, list[Any]] = field(default_factory=dict)
    reads: dict[str, list[Any]] = field(default_factory=dict)
    stacks: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def of(
        self, model: nn.Module, returning: Iterable[str], reading: Iterable[str] = (), caller: object = None
    ) -> Iterator[None]:
        """Keep what modules return and read, inside the `with` block.

        returning  names of modules whose outputs are kept
        reading    names of modules whose arguments are kept
        caller     the module that runs the model; if given, outputs of stacks of layers inside it are kept too
        """
        returning, reading = set(returning), set(reading)
        with ExitStack() as hooks:
            for name, module in model.named_modules():
                if name in returning:
                    hooks.callback(module.register_forward_hook(partial(self._keep_output, name)).remove)
                elif name and caller is not None and module is not caller:
                    hooks.callback(module.register_forward_hook(partial(self._keep_stack, name)).remove)
                if name in reading:
                    hooks.callback(module.register_forward_pre_hook(partial(self._keep_read, name)).remove)
            yield

    def _keep_output(self, name: str, module: nn.Module, args: object, output: Any) -> None:
        self.outputs.setdefault(name, []).append(output)

    def _keep_stack(self, name: str, module: nn.Module, args: object, output: Any) -> None:
        if isinstance(output, ModelOutput) and getattr(output, "last_hidden_state", None) is not None:
            self.stacks[name] = output

    def _keep_read(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.reads.setdefault(name, []).append(args[0] if args else None)

    def single(self, name: str) -> Any:
        """Return the output of a module that was called once; None for other modules."""
        outputs = self.outputs.get(name, ())
        return outputs[0] if len(outputs) == 1 else None

    def outer_stacks(self) -> dict[str, Any]:
        """Return the stacks that are no part of another one."""
        names = tuple(f"{name}." for name in self.stacks)
        return {name: output for name, output in self.stacks.items() if not name.startswith(names)}

    def layers(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the outputs of layers in the order of the calls; none if a layer was called several times."""
        names = set(names)
        kept = {name: outputs for name, outputs in self.outputs.items() if name in names}
        return {name: outputs[0] for name, outputs in kept.items()} if all(len(o) == 1 for o in kept.values()) else {}


def layer_name(site: Site) -> str:
    """Return the qualified name of the layer that holds a site; "" if its name has none."""
    match = LAYER_PATH.match(site.projection.name if site.projection else site.name)
    return f"{match[1]}.{match[2]}" if match else ""


def attention_modules(model: nn.Module, sites: Mapping[LayerKey, Site], run: Callable[[], Any]) -> dict[LayerKey, Any]:
    """Return the module of each layer that computes its attention, for layers that have one.

    run  runs the modules on a short text
    """
    layers = {key: layer_name(site) for key, site in sites.items()}
    inside = tuple({f"{name}." for name in layers.values() if name})
    names = [name for name, _ in model.named_modules() if inside and name.startswith(inside)]
    recording = Recording()
    with recording.of(model, names, names):
        run()
    found = {}
    for key, site in sites.items():
        module = _attention_module(recording, site, layers[key])
        if module is not None:
            found[key] = module
    return found


def _attention_module(recording: Recording, site: Site, layer: str) -> AttentionModule | None:
    assert site.projection is not None
    name = site.projection.name
    reads, written, owner = recording.reads.get(name, ()), recording.single(name), name.rpartition(".")[0]
    if not layer or written is None or len(reads) != 1 or not name.startswith(f"{layer}."):
        return None
    if owner != layer and _holds(recording.single(owner), written):
        return AttentionModule(owner, True)
    before = [
        other
        for other in recording.outputs
        if other.startswith(f"{layer}.") and not f"{name}.".startswith(f"{other}.")
        if _holds(recording.single(other), reads[0])
    ]
    return AttentionModule(min(before, key=len), False) if before else None


def _holds(output: Any, tensor: Any) -> bool:
    """Return whether a tensor is in the output of a module."""
    return any(_is(leaf, tensor) for leaf in tree_leaves(output))


def _is(leaf: Any, tensor: Any) -> bool:
    both = isinstance(leaf, Tensor) and isinstance(tensor, Tensor)
    return both and leaf.shape == tensor.shape and (leaf is tensor or torch.equal(leaf, tensor))


def kept_attention(recording: Recording, module: AttentionModule, site: Site) -> KeptAttention | None:
    """Return what a pass kept of the attention of a layer; None if it worked differently.

    Of the other tensors that the module returned, those are kept that the layer returns too: weights take much memory.
    """
    assert site.projection is not None
    name = site.projection.name
    output, reads = recording.single(module.name), recording.reads.get(name, ())
    if output is None or len(reads) != 1:
        return None
    main = recording.single(name) if module.projected else reads[0]
    if not _holds(output, main):
        return None
    of_layer = {id(leaf) for leaf in tree_leaves(recording.single(layer_name(site)))}

    def kept(value: Any) -> Any:
        if _is(value, main):
            return _PLACE
        return value if not isinstance(value, Tensor) or id(value) in of_layer else None

    return KeptAttention(module, name, reads[0], tree_map(kept, output))


@contextmanager
def replaced(shadow: Shadow, forwards: Mapping[str, Callable[[], Any]]) -> Iterator[None]:
    """Replace the forward functions of modules, for one pass: what the pass changes is restored too."""
    with shadow.restored():
        for name, forward in forwards.items():
            vars(shadow.model.get_submodule(name))["forward"] = lambda *_, forward=forward, **__: forward()
        yield


def expanded(output: Any, rows: int) -> Any:
    """Return an output of one text as the output of `rows` equal texts."""
    return tree_map(partial(_expand, rows=rows), output)


def _expand(value: Any, rows: int) -> Any:
    if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[0] != 1:
        return value
    return value.expand(rows, *value.shape[1:])


def with_states(output: Any, hidden: Tensor) -> Any:
    """Return the output of a stack with other last hidden states."""
    changed = type(output)(**output)
    changed["last_hidden_state"] = hidden
    return changed


def logits_of(output: Any) -> Any:
    """Return the logits of an output, in float32 at least; None if it has none."""
    logits = getattr(output, "logits", None)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)) if isinstance(logits, Tensor) else None
