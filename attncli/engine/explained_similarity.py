"""The similarity of two texts as a prediction: the cosine of their embeddings, as sentence-transformers computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attncli.capturing import edited_outputs
from attncli.data import Text
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.errors import ModelError
from attncli.models import Loaded
from attncli.models.checkpoint import list_weights

Tensor = torch.Tensor


def _weighted(states: Tensor) -> Tensor:
    weights = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
    return (states * weights[None, :, None]).sum(1) / weights.sum()


_POOLED: Mapping[str, tuple[Callable[[Tensor], Tensor], slice]] = {
    "mean": (lambda states: states.mean(1), slice(None)),
    "mean_sqrt_len": (lambda states: states.sum(1) / states.shape[1] ** 0.5, slice(None)),
    "weightedmean": (_weighted, slice(None)),
    "max": (lambda states: states.amax(1), slice(None)),
    "cls": (lambda states: states[:, 0], slice(0, 1)),
    "lasttoken": (lambda states: states[:, -1], slice(-1, None)),
}
"""For each way of pooling the vector of a text [batch, width], and the tokens that it reads."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """The similarity of texts to another text.

    pooling  how one vector is made of those of the tokens, names of `_POOLED`
    other    the embedding of the other text, [width]
    """

    pooling: tuple[str, ...]
    other: Tensor

    def cosine(self, states: Tensor) -> Tensor:
        """Return the cosine of the embeddings of texts and that of the other, [batch] float64; gradients pass.

        states  the last hidden states [batch, token, width], without padding
        """
        return torch.nn.functional.cosine_similarity(embedding(states, self.pooling), self.other[None], dim=-1)

    def reads(self, tokens: int) -> tuple[int, ...]:
        """Return the positions of the tokens whose vectors are pooled."""
        positions = np.arange(tokens)
        return tuple(sorted({int(number) for name in self.pooling for number in positions[_POOLED[name][1]]}))


def embedding(states: Tensor, pooling: Sequence[str]) -> Tensor:
    """Return the embeddings of texts, [batch, width] float64; the vectors of several ways of pooling are joined."""
    return torch.cat([_POOLED[name][0](states.double()) for name in pooling], -1)


def similarity_to(prepared: Pass, other: str) -> Similarity:
    """Return the similarity to another text, which is read with the options of a pass."""
    loaded, request = prepared.loaded, prepared.request
    options = Request(max_tokens=request.max_tokens, add_bos=request.add_bos)
    (batch,) = Runner(loaded).prepare([Text(other)], options).batches
    states = hidden_states(loaded, edited_outputs(loaded, prepared.plan, batch))
    pooling = loaded.sentence.pooling
    return Similarity(pooling, embedding(states, pooling)[0].clone())


def check_embeds(loaded: Loaded) -> None:
    """Raise ModelError if a model gives no embedding of a text that attncli can compute."""
    name, sentence = type(loaded.model).__name__, loaded.sentence
    if loaded.is_encoder_decoder:
        raise ModelError(
            f"--explain similarity: {name} has an encoder and a decoder, an embedding is that of one of them"
        )
    if sentence.changed:
        raise ModelError(
            f"--explain similarity: {loaded.name} changes embeddings by a module {sentence.changed}, which attncli "
            "does not compute"
        )
    if unknown := [name for name in sentence.pooling if name not in _POOLED]:
        raise ModelError(
            f"--explain similarity: {loaded.name} pools tokens by '{unknown[0]:.60}', expected {', '.join(_POOLED)}"
        )


def hidden_states(loaded: Loaded, outputs: Any) -> Tensor:
    """Return the last hidden states, [batch, token, width]; raise ModelError if there are none or they are random."""
    states, name = getattr(outputs, "last_hidden_state", None), type(loaded.model).__name__
    if not isinstance(states, Tensor) or states.dim() != 3:
        raise ModelError(f"{name} returns no hidden states, of which embeddings are made: load it with --head base")
    # what the pooler of BERT makes of them is not read
    if random := [weight for weight in loaded.initialised if "pooler" not in weight]:
        raise ModelError(
            f"the hidden states of {name} are random: the checkpoint lacks {len(random)} of its weights "
            f"({list_weights(random)})"
        )
    return states
