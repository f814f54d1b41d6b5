"""The canvas of a diffusion model of text: the slots that its decoder fills at once, after the tokens of a prompt."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

CANVAS, SEED = "decoder_input_ids", 0


def canvas_length(caller: Callable[..., Any]) -> int:
    """Return the number of slots of the canvas of a model; 0 for other models."""
    length = getattr(getattr(caller, "config", None), "canvas_length", None)
    return length if isinstance(length, int) else 0


def canvas_input(caller: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the ids of the canvas of a model, the same random ones for every text; nothing if they are given.

    The model itself would draw other ids in every pass.
    """
    length, ids = canvas_length(caller), inputs.get("input_ids")
    if not length or CANVAS in inputs or ids is None:
        return {}
    vocabulary = caller.config.get_text_config().vocab_size  # type: ignore[attr-defined]  # `canvas_length` read it
    canvas = torch.randint(vocabulary, (1, length), generator=torch.Generator().manual_seed(SEED))
    return {CANVAS: canvas.expand(len(ids), -1).to(ids.device)}


def canvas_notes(caller: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what users should know about the canvas of a pass; nothing for models without one."""
    if not canvas_length(caller) or CANVAS in inputs:
        return ()
    return (
        f"the {canvas_length(caller)} slots of the canvas hold random tokens of seed {SEED}, the same for every text, "
        "as before the first step of generation",
    )
