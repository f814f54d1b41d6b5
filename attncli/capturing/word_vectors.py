"""The vectors that a model looks up for its tokens: recorded in one pass, replaced in others.

The token ids stay as they are in all passes. So what a model reads off the ids stays too: positions that are counted
from the padding, and the last token that is no padding, at which classifiers of decoders read the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from attncli.capturing.edited_pass import edited_outputs
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan
from attncli.errors import ModelError
from attncli.inputs.batches import Batch
from attncli.models import Loaded

Tensor = torch.Tensor
Side = Literal["source", "target"]
"""The tokens that the model reads, or of an encoder-decoder those of its encoder; and those of its decoder."""
_IDS: Mapping[Side, str] = {"source": "input_ids", "target": "decoder_input_ids"}


@dataclass(frozen=True, eq=False)
class WordVectors:
    """The vectors of the tokens of one side of a text.

    module   qualified name of the module that looks them up
    call     number of its call in a pass, from 0: two sides may share a module
    vectors  [token, width]
    """

    module: str
    call: int
    vectors: Tensor


@dataclass(eq=False)
class _Recorder:
    """Records the calls of modules that look up vectors by ids: name, number of the call, number of rows, output."""

    ids: Tensor
    calls: list[tuple[str, int, int, Tensor]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        number, self.counts[name] = self.counts[name], self.counts[name] + 1
        given = args[0] if args else None
        is_same = isinstance(given, Tensor) and given.shape == self.ids.shape and bool((given == self.ids).all())
        if is_same and isinstance(output, Tensor) and output.shape[:2] == self.ids.shape and output.dim() == 3:
            self.calls.append((name, number, int(getattr(module, "num_embeddings", 0)), output[0].clone()))


def record_word_vectors(
    loaded: Loaded, plan: CapturePlan, batch: Batch, shadow: Shadow
) -> tuple[dict[Side, WordVectors], Any]:
    """Return the vectors of the tokens of a batch of one text, by side, and the outputs of the model.

    Raise ModelError if the model looks up no vector for each token, as one that reads characters.
    """
    recorders = {side: _Recorder(batch.tensors[name]) for side, name in _IDS.items() if name in batch.tensors}
    outputs = edited_outputs(loaded, plan, batch, shadow=shadow, inside=partial(_recording, recorders))
    found: dict[Side, WordVectors] = {}
    for side, recorder in recorders.items():
        others = [(of_side.module, of_side.call) for of_side in found.values()]
        calls = [call for call in recorder.calls if call[:2] not in others]
        if not calls:
            raise ModelError(
                f"{type(loaded.model).__name__} looks up no vector for each {side} token: use a method that reads "
                "attention (--method attention or rollout)"
            )
        # positions and types of tokens are looked up too, in smaller tables
        name, number, _, vectors = max(calls, key=lambda call: call[2])
        found[side] = WordVectors(name, number, vectors)
    return found, outputs


@contextmanager
def _recording(recorders: Mapping[Side, _Recorder], model: nn.Module) -> Iterator[None]:
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) or hasattr(module, "num_embeddings"):
                for recorder in recorders.values():
                    hooks.callback(module.register_forward_hook(partial(recorder, name)).remove)
        yield


@contextmanager
def replaced_vectors(
    word_vectors: Mapping[Side, WordVectors], replaced: Mapping[Side, Tensor], model: nn.Module
) -> Iterator[None]:
    """Let the modules of a shadow read other vectors in every pass inside the `with` block.

    word_vectors  where the vectors of each side are looked up
    replaced      [batch, token, width] for each side that is replaced; they may need gradients
    """
    by_module: dict[str, dict[int, Tensor]] = {}
    for side, vectors in replaced.items():
        by_module.setdefault(word_vectors[side].module, {})[word_vectors[side].call] = vectors
    with ExitStack() as hooks:
        for name, calls in by_module.items():
            hook = _Replacer(calls)
            hooks.callback(model.get_submodule(name).register_forward_hook(hook).remove)
        yield


class _Replacer:
    """A hook that replaces what some calls of a module return."""

    def __init__(self, calls: Mapping[int, Tensor]) -> None:
        self._calls, self._number = calls, 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        number, self._number = self._number, self._number + 1
        return None if number not in self._calls else self._calls[number].to(output.dtype)
