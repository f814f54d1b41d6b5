"""The texts and the heads of `importance`: which heads are removed together, and which tokens a model predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attncli.capturing import Site
from attncli.capturing.gates import LayerKey
from attncli.data import Array, Input, Kind, Selection
from attncli.data.focus import find_focus, positions_of
from attncli.errors import ModelError, TextError, UsageError
from attncli.inputs.batches import Batch, unpadded
from attncli.inputs.partitions import named_segments
from attncli.models import Loaded
from attncli.models.tasks import Task
from attncli.studies.importance.options import ImportanceOptions
from attncli.vocabulary import MASKED_SHARE

Tensors = Mapping[str, torch.Tensor]
LANGUAGE_MODELS: tuple[Task, ...] = ("causal-lm", "masked-lm", "seq2seq-lm")


@dataclass(frozen=True)
class Unit:
    """Heads of one layer that are removed together.

    head   number of the head; None for several heads that are removed as one
    group  number of the key head that they share; None unless heads are removed by group
    """

    layer: LayerKey
    heads: tuple[int, ...]
    head: int | None = None
    group: int | None = None

    @property
    def name(self) -> str:
        """How tables name it: 3.1, layer 3, or 3.4-7."""
        number = self.layer[1]
        if self.head is not None:
            return f"{number}.{self.head}"
        if self.group is None:
            return f"layer {number}"
        first, last = self.heads[0], self.heads[-1]
        return f"{number}.{first}" if first == last else f"{number}.{first}-{last}"


def units_of(heads: Selection, sites: Mapping[LayerKey, Site], unit: str) -> list[Unit]:
    """Return what is removed together, layer by layer; layers without gates are left out."""
    units: list[Unit] = []
    for layer, numbers in heads.items():
        if layer not in sites:
            continue
        site = sites[layer]
        if unit == "layer":
            units.append(Unit(layer, tuple(numbers)))
        elif unit == "head":
            units += [Unit(layer, (head,), head=head) for head in numbers]
        else:
            sharing = site.heads // (site.kv_heads or site.heads)
            for group in sorted({head // sharing for head in numbers}):
                units.append(Unit(layer, tuple(head for head in numbers if head // sharing == group), group=group))
    return units


@dataclass(frozen=True, eq=False)
class PredictedText:
    """One text as model input, and the tokens that the model predicts in it.

    positions  [n] rows of the logits; empty for a model that predicts no tokens
    targets    [n] token ids that they predict
    """

    text: Input
    tensors: Tensors
    positions: Array
    targets: Array


def predicted_texts(
    loaded: Loaded, batches: Sequence[Batch], task: Task, options: ImportanceOptions
) -> list[PredictedText]:
    """Return the texts one by one, with the tokens that are predicted; raise UsageError if a text has none.

    For a masked language model, 15 % of the ordinary tokens are masked, at least one, or those that the options name.
    """
    if options.tokens is not None and task not in LANGUAGE_MODELS:
        raise UsageError(f"{type(loaded.model).__name__} predicts no tokens: leave out --tokens")
    single = []
    for batch in batches:
        for part in unpadded(batch):
            for row, text in enumerate(part.inputs):
                tensors = {name: tensor[row : row + 1] for name, tensor in part.tensors.items()}
                single.append(_predicted(loaded, text, tensors, task, options))
    return sorted(single, key=lambda item: item.text.index)


def _predicted(loaded: Loaded, text: Input, tensors: Tensors, task: Task, options: ImportanceOptions) -> PredictedText:
    nothing = np.zeros(0, dtype=np.int64)
    if task == "masked-lm":
        return _masked(loaded, text, tensors, options)
    if task not in LANGUAGE_MODELS:
        return PredictedText(text, tensors, nothing, nothing)
    ids = tensors["decoder_input_ids" if task == "seq2seq-lm" else "input_ids"][0].cpu().numpy()
    if len(ids) < 2:
        side = "target" if task == "seq2seq-lm" else "text"
        problem = f"text {text.index}: its {side} has 1 token, which predicts no other: give a longer one"
        raise TextError(problem, text.index)
    positions = np.arange(len(ids) - 1)
    if options.tokens is not None:
        positions = named_tokens(text, "decoder", options.tokens) - 1
        if not len(positions := positions[positions >= 0]):
            problem = f"text {text.index}: no token predicts the first one: name others with --tokens"
            raise TextError(problem, text.index)
    return PredictedText(text, tensors, positions, ids[positions + 1])


def named_tokens(text: Input, kind: Kind, name: str) -> Array:
    """Return the positions of the tokens with a name, among the queries of a kind; UsageError if the text has none."""
    tokens, segments = text.sides(kind)[0], named_segments(text, kind, None)[0]
    return positions_of(find_focus(tokens, name, "--tokens", segments))


def _masked(loaded: Loaded, text: Input, tensors: Tensors, options: ImportanceOptions) -> PredictedText:
    mask = getattr(loaded.tokenizer, "mask_token_id", None)
    if mask is None:
        raise ModelError(f"the tokenizer of {loaded.name} has no mask token, which a masked language model needs")
    ordinary = np.flatnonzero(~np.asarray(text.source.special))
    if not len(ordinary):
        raise TextError(f"text {text.index} has only special tokens: give a text with words", text.index)
    count = max(1, round(MASKED_SHARE * len(ordinary)))
    if options.tokens is None:
        draw = np.random.default_rng([options.seed, text.index])
        positions = np.sort(draw.choice(ordinary, count, replace=False))
    else:
        positions = named_tokens(text, "encoder", options.tokens)
    ids = tensors["input_ids"].clone()
    targets = ids[0, positions].cpu().numpy()
    ids[0, positions] = mask
    return PredictedText(text, {**tensors, "input_ids": ids}, positions, targets)
