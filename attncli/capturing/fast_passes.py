"""Shortcuts of passes of which only some logits are needed: no weights are captured, no edits change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from attncli.capturing.probe import agree
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan
from attncli.models import Loaded

FAST = "sdpa"
"""The attention of torch, which keeps no weights."""


def fast_shadow(loaded: Loaded, plan: CapturePlan, logits: torch.Tensor, run: Callable[[Shadow], Any]) -> Shadow | None:
    """Return a copy of the modules with the fast attention of torch; None if the model gives other logits with it.

    logits  those of a pass with eager attention
    run     a function of a copy that returns the outputs of the same pass
    """
    if loaded.edits or not plan.compiles or not getattr(loaded.model, "_supports_sdpa", False):
        return None
    shadow = Shadow(loaded.model, FAST)
    try:
        fast = run(shadow)
    except Exception:  # code of any architecture
        return None
    return shadow if agree(fast, logits) else None


def output_module(model: Any) -> nn.Module | None:
    """Return the module that computes the logits of tokens from hidden states; None if there is none."""
    head = model.get_output_embeddings()
    return head if isinstance(head, nn.Module) else None


@contextmanager
def kept_rows(rows: Sequence[int], model: nn.Module) -> Iterator[None]:
    """Let a model compute the logits of some rows only, if its last module computes them for each row by itself.

    The caller sees by the shape of the logits whether it did.
    """
    head = output_module(model)
    if head is None or not rows:
        yield
        return

    def select(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if len(args) != 1 or args[0].dim() != 3 or args[0].shape[1] <= max(rows):
            return None
        return (args[0][:, list(rows)],)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
