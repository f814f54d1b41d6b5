"""Forward passes of a model whose attention is edited: for its outputs, and while it generates.

`edited_outputs` is the entry point for analyses that change attention and read what the model makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.bound_edits import BoundEdits, available_heads, bind
from attncli.capturing.edited_heads import edited_heads
from attncli.capturing.editor import Editor
from attncli.capturing.intercept import Args, CallKey, Handler, KwArgs, Trace, intercepted
from attncli.capturing.probe import call_model
from attncli.capturing.scales import with_scales
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan
from attncli.data import Input, base_kind
from attncli.data.edits import Edit, heads_of_edit
from attncli.errors import UsageError
from attncli.inputs.batches import Batch
from attncli.models import Loaded

Tensor = torch.Tensor


class EditHandler:
    """A handler that edits calls and lets the model compute all others."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def dispatched(self, key: CallKey, function: Callable[..., Any], args: Args, kwargs: KwArgs) -> Any:
        if not self._editor.edits(key):
            return function(*args, **kwargs)
        if self._editor.streams(key):
            output = self._editor.attend(key, AttentionCall.from_dispatch(function, args, kwargs))
            return output.transpose(1, 2).contiguous(), None
        return self._editor.through_softmax(key, function, args, kwargs)

    def sdpa(self, key: CallKey, function: Callable[..., Tensor], args: Args, kwargs: KwArgs) -> Tensor:
        if not self._editor.edits(key):
            return function(*args, **kwargs)
        return self._editor.attend(key, AttentionCall.from_sdpa(*args, **kwargs))

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> Tensor:
        return self._editor.softmax(key, scores, weights)

    def inner_softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        return self._editor.inner_softmax(scores, weights)


def edited_outputs(
    loaded: Loaded,
    plan: CapturePlan,
    batch: Batch,
    edits: BoundEdits | None = None,
    *,
    gradients: bool = False,
    shadow: Shadow | None = None,
    inside: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
    **options: bool,
) -> Any:
    """Return the outputs of one forward pass of a model, as the model returns them, with edited attention.

    batch      texts without padding, all of the same length (`unpadded`)
    edits      edits of single calls, from `bind` or `bind_rows`, or made by the caller with `WeightEdit` and
               `OutputEdit`: tensors in them may need gradients; None for the edits of the model (`Loaded.edits`)
    gradients  whether gradients of the outputs can be computed; parameters get none unless they need them
    shadow     the copy of the modules that runs, for several calls by one thread; None for a new one
    inside     a context in which the pass runs; it receives the modules, and may add hooks that it removes again
    options    arguments of the forward function, such as output_hidden_states
    The model is not changed, also on error. The outputs have the logits of all tokens.
    """
    if edits is None:
        edits = bind(plan, with_scales(batch, plan.scales).inputs, loaded.edits, loaded.name)
    modules = shadow or Shadow(loaded.model)
    editor = Editor(plan, edits.weights, len(batch.inputs))
    mode = torch.enable_grad() if gradients else torch.inference_mode()
    restored = nullcontext() if shadow is None else shadow.restored()
    _, caller = loaded.callers[plan.caller]
    # without edits of weights, no call of attention needs to be handed to an editor
    edited = (
        editing(modules, plan, edits, EditHandler(editor)) if edits.weights else _edited_heads(modules, plan, edits)
    )
    with mode, restored, inside(modules.model), edited:
        return call_model(modules.of(caller), batch, all_logits=True, **options)


@contextmanager
def editing(shadow: Shadow, plan: CapturePlan, edits: BoundEdits, handler: Handler) -> Iterator[Trace]:
    """Hand the attention calls of a shadow to a handler, and edit outputs of its heads, inside the `with` block."""
    with intercepted(shadow, handler, functions=_needs_functions(plan)) as trace, _edited_heads(shadow, plan, edits):
        yield trace


def _edited_heads(shadow: Shadow, plan: CapturePlan, edits: BoundEdits) -> AbstractContextManager[object]:
    """Return a context in which the outputs of heads are edited."""
    return edited_heads(shadow.model, {(site.kind, site.layer): site for site in plan.sites}, edits.outputs)


def _needs_functions(plan: CapturePlan) -> bool:
    """Return whether softmax and torch's attention must be intercepted, besides the dispatch of Transformers."""
    return any(site.function != "dispatch" or site.route == "eager" for site in plan.sites)


def with_edited_writer(loaded: Loaded, plan: CapturePlan) -> Loaded:
    """Return a model that generates with its edits; itself if it has none."""
    return replace(loaded, writer=partial(_edited_writer, loaded, plan)) if loaded.edits else loaded


@contextmanager
def _edited_writer(loaded: Loaded, plan: CapturePlan, text: Input) -> Iterator[PreTrainedModel]:
    """Give a copy of a model whose attention is edited while it generates after a text, inside the `with` block.

    Tokens between which attention is blocked are found in the text; those that are generated are only in `all`.
    """
    for edit in loaded.edits:
        _check_writes(edit, plan, loaded.name)
    shadow, edits = Shadow(loaded.model), bind(plan, [text], loaded.edits, loaded.name)
    editor = Editor(plan, edits.weights, 1)
    with editing(shadow, plan, edits, EditHandler(editor)) as trace:
        handle = shadow.model.register_forward_pre_hook(_begin_step(editor, trace), with_kwargs=True)
        try:
            yield shadow.model
        finally:
            handle.remove()


def _check_writes(edit: Edit, plan: CapturePlan, where: str) -> None:
    """Raise UsageError if an edit needs all tokens of a text at once, and the decoder writes them one by one."""
    kinds = {base_kind(kind) for kind, _ in heads_of_edit(edit, available_heads(plan), where)}
    if kinds == {"encoder"}:
        return
    if edit.action == "mean" and edit.values is None:
        raise UsageError(f"{edit.spec}: tokens that are not written yet have no mean: give texts with --mean-file")
    if edit.action in ("replace", "patch"):
        raise UsageError(f"{edit.spec}: its values are those of another length than of the text that the model writes")


def _begin_step(editor: Editor, trace: Trace) -> Callable[..., None]:
    """Return a hook that tells the editor how many tokens earlier steps of `generate` have read."""

    def begin(module: nn.Module, args: object, kwargs: Mapping[str, Any]) -> None:
        # versions of Transformers name the argument differently
        cache = next((value for value in kwargs.values() if hasattr(value, "get_seq_length")), None)
        editor.start = 0 if cache is None else int(cache.get_seq_length())
        trace.restart()

    return begin
