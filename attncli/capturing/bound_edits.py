"""From edits as the user gives them to edits of single calls: heads, tokens and arrays that fit a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.capturing.edited_heads import OutputEdit, OutputEdits
from attncli.capturing.edited_weights import CallEdits, WeightEdit
from attncli.capturing.gates import LayerKey, ungated
from attncli.capturing.intercept import CallKey
from attncli.capturing.sites import CapturePlan, Site
from attncli.data import Input, Kind, Tokens
from attncli.data.edits import Edit, heads_of_edit
from attncli.data.focus import ALL, find_focus, positions_of
from attncli.data.segments import NamedPositions
from attncli.data.selection import Available
from attncli.errors import ModelError, UsageError
from attncli.inputs.partitions import named_segments

Tensor = torch.Tensor
LAYERS = 4096
"""More than the layers of any model: seeds of layers are apart by it."""


@dataclass(frozen=True, eq=False)
class BoundEdits:
    """The edits of the calls of a model on one batch.

    weights  edits of the weights of each call, by the key of the call
    outputs  edits of the outputs of heads, by kind and layer
    """

    weights: Mapping[CallKey, CallEdits] = field(default_factory=dict)
    outputs: OutputEdits = field(default_factory=dict)

    def followed_by(self, edits: Iterable[tuple[Site, Sequence[WeightEdit]]]) -> BoundEdits:
        """Return these edits, and further ones of the weights of some calls, which act after them."""
        weights = dict(self.weights)
        for site, of_call in edits:
            before = weights[site.key].edits if site.key in weights else ()
            weights[site.key] = CallEdits(site.label, (*before, *of_call))
        return BoundEdits(weights, self.outputs)


def available_heads(plan: CapturePlan) -> Available:
    """Return the heads that a plan captures, by kind and layer."""
    return {(site.kind, site.layer): tuple(range(site.heads)) for site in plan.sites}


def check_edits(edits: Iterable[Edit], plan: CapturePlan, inputs: Sequence[Input], where: str) -> None:
    """Check that edits fit a model and texts.

    Raise UsageError if a head does not exist, no text has the tokens between which attention is blocked, or given
    values have another length than a text; and ModelError if a layer cannot be edited.
    """
    for edit in edits:
        kinds = {site.kind for site, _ in _sites_of(edit, plan, where)}
        errors: list[UsageError] = []
        for text in inputs:
            for kind in kinds:
                try:
                    _check_fits(edit, text, kind)
                except UsageError as error:
                    errors.append(error)
        if errors and (edit.action != "block" or len(errors) == len(inputs) * len(kinds)):
            raise UsageError(f"{edit.spec}: {errors[0]}")


def bind(plan: CapturePlan, inputs: Sequence[Input], edits: Sequence[Edit], where: str = "this model") -> BoundEdits:
    """Return the edits of each call of a model on a batch of texts.

    where  name of the model, for errors
    A text without the tokens of a block is not changed by it. Raise errors as `check_edits` does.
    """
    return bind_rows(plan, inputs, [edits] * len(inputs), where)


def bind_rows(
    plan: CapturePlan, inputs: Sequence[Input], edits: Sequence[Sequence[Edit]], where: str = "this model"
) -> BoundEdits:
    """Return the edits of each call of a model on a batch in which each text has edits of its own, a list for each."""
    if len(edits) != len(inputs):
        raise ValueError(f"expected edits of {len(inputs)} texts, got those of {len(edits)}")
    distinct = {id(edit): edit for of_text in edits for edit in of_text}
    weights: dict[CallKey, list[WeightEdit]] = {}
    outputs: dict[LayerKey, list[OutputEdit]] = {}
    for edit in distinct.values():
        rows = torch.tensor([any(edit is other for other in of_text) for of_text in edits])
        for site, heads in _sites_of(edit, plan, where):
            chosen = torch.zeros((len(inputs), site.heads), dtype=torch.bool)
            chosen[:, list(heads)] = rows[:, None]
            if edit.changes_output:
                outputs.setdefault((site.kind, site.layer), []).append(_output_edit(edit, site, chosen))
            else:
                weights.setdefault(site.key, []).append(_weight_edit(edit, site, heads, chosen, inputs))
    labels = {site.key: site.label for site in plan.sites}
    return BoundEdits({key: CallEdits(labels[key], tuple(of_call)) for key, of_call in weights.items()}, outputs)


def _sites_of(edit: Edit, plan: CapturePlan, where: str) -> list[tuple[Site, tuple[int, ...]]]:
    """Return the calls that an edit changes, with the heads; raise ModelError if one cannot be edited."""
    selected, no_outputs = heads_of_edit(edit, available_heads(plan), where), ungated(plan)
    sites = [(site, heads) for site in plan.sites if (heads := selected.get((site.kind, site.layer), ()))]
    for site, _ in sites:
        reason = f"weights of {site.label} cannot be edited: {site.no_edits}" if site.no_edits else ""
        if edit.changes_output:
            reason = no_outputs.get((site.kind, site.layer), "")
        if reason:
            raise ModelError(f"{edit.spec}: {reason}")
    return sites


def _check_fits(edit: Edit, text: Input, kind: Kind) -> None:
    """Raise UsageError if a text does not have the tokens of an edit, or the length of its arrays."""
    if edit.action == "block":
        _block_masks(edit, text, kind)
    if edit.values is None or edit.action == "mean":
        return
    rows, keys = map(len, text.sides(kind))
    expected = (rows,) if edit.changes_output else (rows, keys)
    for values in edit.values.values() if isinstance(edit.values, Mapping) else [edit.values]:
        got = tuple(values.shape[:1] if edit.changes_output else values.shape[1:])
        if got != expected:
            shapes = (" x ".join(map(str, shape)) for shape in (got, expected))
            raise UsageError("it has values for {} tokens, the text has {}: give a text of this length".format(*shapes))


def _output_edit(edit: Edit, site: Site, chosen: Tensor) -> OutputEdit:
    where = chosen[:, None, :, None]
    if edit.action in ("zero", "scale"):
        return OutputEdit(where, factor=edit.number or 0.0)
    values = None if edit.values is None else edit.values[site.kind, site.layer]
    return OutputEdit(where, values=values)


def _weight_edit(edit: Edit, site: Site, heads: Sequence[int], chosen: Tensor, inputs: Sequence[Input]) -> WeightEdit:
    where = chosen[:, :, None, None]
    if edit.action == "block":
        masks = [_block_masks_or_none(edit, text, site.kind) for text in inputs]
        queries, keys = (torch.stack(side) for side in zip(*masks, strict=True))
        every = [None if name == ALL else side for name, side in ((edit.query, queries), (edit.key, keys))]
        return WeightEdit("block", where, queries=every[0], keys=every[1])
    if edit.values is not None:
        values = edit.values[site.kind, site.layer] if isinstance(edit.values, Mapping) else edit.values
        given = values if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
        return WeightEdit("replace", where, weights=_placed(given, heads, site.heads))
    number = edit.number
    if edit.action == "permute":
        number = layer_seed(int(edit.number or 0), site)
    return WeightEdit(edit.action, where, number)


def layer_seed(seed: int, site: Site) -> int:
    """Return the seed by which `permute` orders the keys of a layer: layers get orders of their own."""
    return seed * LAYERS + site.layer


def _placed(values: Tensor, heads: Sequence[int], count: int) -> Tensor:
    """Return weights [head, query, key] of the edited heads, or of one for all, as [1, 1 or all heads, query, key]."""
    if len(values) in (1, count):
        return values[None]
    if len(values) != len(heads):
        raise UsageError(f"expected weights of 1 or {len(heads)} heads, got those of {len(values)}")
    index = torch.zeros(count, dtype=torch.long, device=values.device)
    index[list(heads)] = torch.arange(len(heads), device=values.device)
    return values[index][None]


def _block_masks_or_none(edit: Edit, text: Input, kind: Kind) -> tuple[Tensor, Tensor]:
    """Return which queries and keys of a text a block names; none if the text has not both."""
    try:
        return _block_masks(edit, text, kind)
    except UsageError:
        queries, keys = (torch.zeros(len(side), dtype=torch.bool) for side in text.sides(kind))
        return queries, keys


def _block_masks(edit: Edit, text: Input, kind: Kind) -> tuple[Tensor, Tensor]:
    """Return which queries and keys of a text a block names, each [token] bool; raise UsageError if there are none."""
    named = zip((edit.query, edit.key), text.sides(kind), named_segments(text, kind), strict=True)
    queries, keys = (_mask(name or ALL, tokens, segments) for name, tokens, segments in named)
    return queries, keys


def _mask(name: str, tokens: Tokens, segments: NamedPositions) -> Tensor:
    mask = torch.zeros(len(tokens), dtype=torch.bool)
    mask[torch.from_numpy(positions_of(find_focus(tokens, name, "block", segments)))] = True
    return mask
