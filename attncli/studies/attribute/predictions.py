"""The predictions that are explained, as a function of the vectors of the tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from attncli.capturing import Shadow, bind, edited_outputs
from attncli.capturing.bound_edits import BoundEdits
from attncli.capturing.fast_passes import fast_shadow, kept_rows, output_module
from attncli.capturing.word_vectors import Side, WordVectors, record_word_vectors, replaced_vectors
from attncli.data import Array, Input, Kind, Tokens
from attncli.engine.explain_request import SIMILARITY, ExplainRequest
from attncli.engine.explained import Explained, checked_logits, explain, explain_each
from attncli.engine.memory import allowed_memory, format_size
from attncli.engine.passes import Pass
from attncli.errors import ModelError, UsageError
from attncli.inputs.batches import repeated
from attncli.models import Loaded

Tensor = torch.Tensor
_WITH_WEIGHTS = 1024
"""Most tokens of a batch whose attention weights are kept."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of the predictions of one text.

    outputs       the predictions that are explained
    score         which number of them
    logits        those of the text
    word_vectors  the vectors of its tokens, by side; empty if no method reads them
    shadow        the copy of the modules that runs with eager attention
    fast          one that runs faster and has the same logits; `shadow` itself if there is none
    """

    prepared: Pass
    outputs: tuple[Explained, ...]
    score: str
    logits: Tensor
    word_vectors: Mapping[Side, WordVectors]
    shadow: Shadow
    fast: Shadow

    @classmethod
    def of(cls, prepared: Pass, wanted: ExplainRequest, score: str, vectors: bool, several: bool = True) -> Predictions:
        """Return the predictions of the text of a pass, after one pass over it.

        vectors  whether the vectors of its tokens are needed
        several  whether generated tokens are predictions of their own, not one together
        """
        loaded, plan, (batch, *_) = prepared.loaded, prepared.plan, prepared.batches
        shadow = Shadow(loaded.model)
        found: dict[Side, WordVectors] = {}
        if vectors:
            found, outputs = record_word_vectors(loaded, plan, batch, shadow)
        else:
            outputs = edited_outputs(loaded, plan, batch, shadow=shadow)
        states = wanted.form == SIMILARITY
        logits = checked_logits(loaded, outputs, states).clone()

        def run(other: Shadow) -> Tensor:
            return checked_logits(loaded, edited_outputs(loaded, plan, batch, shadow=other), states)

        fast = fast_shadow(loaded, plan, logits, run) if vectors else None
        explained = explain_each(prepared, wanted, logits) if several else (explain(prepared, wanted, logits),)
        return cls(prepared, explained, score, logits, found, shadow, fast or shadow)

    @property
    def text(self) -> Input:
        return self.prepared.batches[0].inputs[0]

    @property
    def tokens(self) -> dict[Side, Tokens]:
        """The tokens of each side."""
        sides: dict[Side, Tokens] = {"source": self.text.source}
        return sides if self.text.target is None else {**sides, "target": self.text.target}

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """The vectors of each side, [token, width]."""
        return tuple(of_side.vectors for of_side in self.word_vectors.values())

    def side_kind(self, side: Side) -> Kind:
        """Return a kind of attention whose keys are the tokens of a side."""
        return kinds_of_sides(self.prepared)[side]

    def read(self, side: Side) -> Array:
        """Return which tokens of a side each prediction can read, [output, token] bool.

        Tokens after the one that predicts are not read where the rows of attention are causal.
        """
        count = len(self.tokens[side])
        reads = np.ones((len(self.outputs), count), bool)
        is_causal = side == "target" or (self.text.target is None and not self.prepared.loaded.reads_both_ways)
        for number, output in enumerate(self.outputs if is_causal else ()):
            if output.positions:
                reads[number, max(output.positions) + 1 :] = False
        return reads

    def scores(
        self, vectors: Sequence[Tensor] = (), *, gradients: bool = False, edits: BoundEdits | None = None
    ) -> Tensor:
        """Return the scores [batch, output] float64 of texts that have other vectors.

        vectors    [batch, token, width] for each side; they may need gradients. Without any, those of the text
        gradients  whether gradients are needed
        edits      edits of attention; None for those of the model
        """
        count = len(vectors[0]) if vectors else 1
        logits, outputs = self.logits_of(count, vectors, gradients=gradients, edits=edits)
        return torch.stack([output.score(logits, self.score) for output in outputs], 1)

    def logits_of(
        self,
        count: int,
        vectors: Sequence[Tensor] = (),
        *,
        gradients: bool = False,
        edits: BoundEdits | None = None,
    ) -> tuple[Tensor, tuple[Explained, ...]]:
        """Return the logits of copies of the text, and the predictions with the rows that they have in them.

        count                      number of copies
        vectors, gradients, edits  as for `scores`
        """
        loaded, plan = self.prepared.loaded, self.prepared.plan
        batch = repeated(self.prepared.batches[0], count)
        shadow = self.fast if edits is None else self.shadow
        if edits is None:
            edits = bind(plan, [self.text] * count, loaded.edits, loaded.name)
        rows = self.rows
        replaced = dict(zip(self.word_vectors, vectors, strict=True)) if vectors else {}

        @contextmanager
        def inside(model: nn.Module) -> Iterator[None]:
            with replaced_vectors(self.word_vectors, replaced, model), kept_rows(rows, model):
                yield

        raw = edited_outputs(loaded, plan, batch, edits, gradients=gradients, shadow=shadow, inside=inside)
        outputs = self.outputs
        logits = checked_logits(loaded, raw, outputs[0].similar is not None)
        if rows and logits.shape[1] == len(rows):
            outputs = tuple(replace(output, rows=tuple(map(rows.index, output.rows))) for output in outputs)
        return logits, outputs

    @property
    def rows(self) -> list[int]:
        """The rows of the logits that all predictions need; empty for labels."""
        return sorted({row for output in self.outputs for row in output.rows})

    def copies(self, gradients: bool, weights: bool = False) -> int:
        """Return how many texts share a batch, as --batch-tokens and the allowed memory permit.

        gradients  whether all that the layers compute is kept for gradients
        weights    whether attention weights are needed
        Raise UsageError if one does not fit.
        """
        request, sites = self.prepared.request, self.prepared.plan.sites
        tokens, keeps_weights = max(map(len, self.tokens.values())), weights or self.fast is self.shadow
        width = max((vectors.shape[-1] for vectors in self.vectors), default=1)
        attention = tokens * max(site.heads for site in sites) if keeps_weights else 0
        rows = tokens if self.rows and output_module(self.prepared.loaded.model) is None else len(self.rows)
        cells = 3 * rows * self.logits.shape[-1] + tokens * (4 * attention + 24 * width)
        if gradients:
            cells += tokens * len(sites) * (3 * attention + 24 * width)
        needed, allowed = 4 * cells, allowed_memory(request.max_memory)
        if allowed is not None and allowed < needed:
            raise UsageError(
                f"one pass over {tokens} tokens takes {format_size(needed)}, allowed are {format_size(allowed)}: "
                f"shorten the text with --max-tokens {tokens // 2}, or allow more with --max-memory"
            )
        # weights of larger batches leave the cache of a processor
        most = min(request.batch_tokens, _WITH_WEIGHTS) if keeps_weights else request.batch_tokens
        fits = most // tokens
        return max(1, fits if allowed is None else min(fits, allowed // needed))

    def gradients_of(self, score: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of a score with respect to tensors; zeros for those that it does not depend on.

        Raise ModelError if the model gives no gradients, or numbers that are not finite.
        """
        name = type(self.prepared.loaded.model).__name__
        given: Sequence[Tensor | None] = [None] * len(inputs)
        if score.requires_grad:
            given = torch.autograd.grad(score, list(inputs), retain_graph=True, allow_unused=True)
        if all(gradient is None for gradient in given):
            raise ModelError(f"{name} gives no gradients: use --method occlusion, attention or rollout")
        gradients = [
            torch.zeros_like(of) if gradient is None else gradient for gradient, of in zip(given, inputs, strict=True)
        ]
        self.check_finite(gradients)
        return gradients

    def check_finite(self, values: Sequence[Tensor]) -> None:
        """Raise ModelError unless all values are finite."""
        if not all(bool(of_side.isfinite().all()) for of_side in values):
            loaded = self.prepared.loaded
            name, advice = type(loaded.model).__name__, precision_advice(loaded)
            raise ModelError(f"gradients of {name} in {loaded.dtype} are not finite{advice}")


def precision_advice(loaded: Loaded) -> str:
    """Return what an error about numbers that are not finite advises: float32, unless the model has this already."""
    return "" if loaded.dtype in ("float32", "float64") else ": use --dtype float32"


def kinds_of_sides(prepared: Pass) -> dict[Side, Kind]:
    """Return for each side of the one text of a pass a kind of attention whose keys are its tokens."""
    if prepared.batches[0].inputs[0].target is not None:
        return {"source": "cross", "target": "decoder"}
    return {"source": next((kind for kind, _ in prepared.heads if kind in ("encoder", "decoder")), "decoder")}
