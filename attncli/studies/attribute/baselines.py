"""What stands for a token that is not there: the vector of another token, zeros or a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from attncli.capturing.word_vectors import Side
from attncli.errors import UsageError
from attncli.models import Loaded
from attncli.studies.attribute.predictions import Predictions

Tensor = torch.Tensor
_TOKENS: Mapping[str, str] = {"pad": "pad_token_id", "mask": "mask_token_id", "unk": "unk_token_id"}
_CHUNK = 8192


def chosen_baseline(loaded: Loaded, name: str) -> str:
    """Return the name of a baseline; `auto` is the mask token, a padding token of its own, or the mean of all vectors.

    Raise UsageError if the tokenizer lacks the token.
    """
    tokenizer = loaded.tokenizer
    if name in _TOKENS:
        if getattr(tokenizer, _TOKENS[name], None) is None:
            raise UsageError(f"the tokenizer of {loaded.name} has no {name} token: use --baseline zero or mean")
        return name
    if name != "auto":
        return name
    if getattr(tokenizer, "mask_token_id", None) is not None:
        return "mask"
    pad, others = getattr(tokenizer, "pad_token_id", None), ("eos_token_id", "bos_token_id", "unk_token_id")
    return "pad" if pad is not None and pad not in [getattr(tokenizer, other, None) for other in others] else "mean"


@torch.inference_mode()
def baseline_vectors(predictions: Predictions, name: str) -> tuple[Tensor, ...]:
    """Return the vectors of a text without its tokens, [token, width] for each side; special tokens stay.

    name  of `chosen_baseline`
    """
    replaced = []
    for (side, words), tokens in zip(predictions.word_vectors.items(), predictions.tokens.values(), strict=True):
        module = predictions.shadow.model.get_submodule(words.module)
        tokenizer = predictions.prepared.loaded.tokenizer
        if side == "target":
            tokenizer = predictions.prepared.loaded.target_tokenizer
        vector = _vector(module, words.vectors, tokenizer, name)
        special = torch.from_numpy(tokens.special.copy()).to(words.vectors.device)
        replaced.append(torch.where(special[:, None], words.vectors, vector))
    return tuple(replaced)


@torch.inference_mode()
def vectors_of_ids(predictions: Predictions, side: Side, ids: Tensor) -> Tensor:
    """Return the vectors that the model looks up for other tokens of a side, [..., token, width]."""
    words = predictions.word_vectors[side]
    module: Any = predictions.shadow.model.get_submodule(words.module)
    looked_up: Tensor = module(ids.reshape(-1, ids.shape[-1]).to(words.vectors.device))
    return looked_up.reshape(*ids.shape, -1).to(words.vectors)


def _vector(module: Any, like: Tensor, tokenizer: Any, name: str) -> Tensor:
    """Return the vector [width] of a baseline."""
    if name == "zero":
        return torch.zeros_like(like[0])
    if name in _TOKENS:
        of_token: Tensor = module(torch.tensor([[getattr(tokenizer, _TOKENS[name])]], device=like.device))
        return of_token[0, 0].to(like)
    total = torch.zeros(like.shape[1], dtype=torch.float64, device=like.device)
    count = int(module.num_embeddings)
    for start in range(0, count, _CHUNK):
        ids = torch.arange(start, min(count, start + _CHUNK), device=like.device)
        total += module(ids[None])[0].double().sum(0)
    return (total / count).to(like)
