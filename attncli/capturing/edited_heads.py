"""Edited outputs of heads: zero, scaled, or replaced by other outputs, for each text by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from attncli.capturing.gates import LayerKey, head_outputs
from attncli.capturing.sites import Site

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class OutputEdit:
    """An edit of the outputs of the heads of one layer, for the texts of a batch.

    where   [batch or 1, 1, head, 1] bool: the heads that are edited
    factor  number, or tensor broadcastable to `where`, that outputs are multiplied by
    values  [1 or query, head, dim] outputs that are put in the place of those of heads; None for the mean over tokens
    """

    where: Tensor
    factor: float | Tensor | None = None
    values: Tensor | None = None

    def applied(self, output: Tensor) -> Tensor:
        """Return outputs [batch, query, head, dim] after the edit."""
        if self.factor is not None:
            edited = output * self.factor
        elif self.values is not None:
            edited = self.values.to(output).expand_as(output)
        else:
            edited = output.mean(1, keepdim=True)
        return torch.where(self.where.to(output.device), edited, output)


OutputEdits = Mapping[LayerKey, Sequence[OutputEdit]]
"""The edits of outputs of each layer, in the order of the user."""


@contextmanager
def edited_heads(model: nn.Module, sites: Mapping[LayerKey, Site], edits: OutputEdits) -> Iterator[None]:
    """Edit the outputs of heads in every forward pass of the modules of a shadow inside the `with` block."""
    with head_outputs(model, {key: sites[key] for key in edits}, partial(_edit, edits)):
        yield


def _edit(edits: OutputEdits, key: LayerKey, output: Tensor) -> Tensor:
    for edit in edits[key]:
        output = edit.applied(output)
    return output
