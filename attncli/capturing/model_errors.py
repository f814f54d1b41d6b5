"""What users read about a model whose forward pass fails."""

from __future__ import annotations

import torch

from attncli.inputs.batches import Batch
from attncli.models import Loaded
from attncli.models.load_errors import first_line


def model_label(loaded: Loaded) -> str:
    """Return the class and the architecture of a model, as errors name it."""
    return f"{type(loaded.model).__name__} ({loaded.architecture})"


def forward_failure(loaded: Loaded, batch: Batch, error: Exception) -> str:
    """Return one line about a failed forward pass, with its likely cause if one is known."""
    summary = first_line(error)[:200]
    vocabulary, largest = _vocabulary_size(loaded), int(batch.tensors["input_ids"].max())
    if isinstance(error, IndexError) and vocabulary is not None and largest >= vocabulary:
        return f"token id {largest} is beyond the model's {vocabulary} embeddings: does the tokenizer fit the model?"
    if loaded.model.dtype != torch.float32 and ("dtype" in summary or "scalar type" in summary):
        return f"{summary}; the model may compute only in float32, try --dtype float32"
    return summary


def _vocabulary_size(loaded: Loaded) -> int | None:
    try:
        return getattr(loaded.model.get_input_embeddings(), "num_embeddings", None)
    except NotImplementedError:
        return None
