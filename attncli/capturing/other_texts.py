"""Edits made ready for a model: values of other texts for means and patches, and a short test that edits work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from attncli.capturing.bound_edits import BoundEdits, available_heads, bind, check_edits
from attncli.capturing.capture import in_eval_mode, probe_batch
from attncli.capturing.edited_pass import edited_outputs
from attncli.capturing.edited_weights import CallEdits, Span, WeightEdit
from attncli.capturing.gates import LayerKey, gate_sites, head_outputs
from attncli.capturing.probe import agree
from attncli.capturing.scales import with_scales
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan, Site
from attncli.data import Text
from attncli.data.edits import Edit, heads_of_edit, temperature, uniform
from attncli.errors import ModelError
from attncli.inputs.batches import Batch
from attncli.inputs.encode import encode
from attncli.models import Loaded

Tensor = torch.Tensor


def ready_edits(loaded: Loaded, plan: CapturePlan, edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Return edits with the values that they take from other texts, which the model reads without edits.

    Raise UsageError or ModelError if an edit does not fit the model, and ModelError if the model would not follow it.
    """
    check_edits(edits, plan, (), loaded.name)
    plain = replace(in_eval_mode(loaded), edits=(), writer=None)
    _check_followed(plain, plan, [edit for edit in edits if not edit.changes_output])
    return tuple(_with_values(plain, plan, edit) if edit.texts else edit for edit in edits)


def _check_followed(loaded: Loaded, plan: CapturePlan, edits: Sequence[Edit]) -> None:
    """Check on a short text that a model which calls softmax itself uses the result; raise ModelError if not.

    Streamed calls need no check: the probing pass has compared their output with attncli's own.
    """
    keys = {key for edit in edits for key in heads_of_edit(edit, available_heads(plan), loaded.name)}
    sites = [site for site in plan.sites if (site.kind, site.layer) in keys and site.route == "eager"]
    names = [f"{site.kind}:{site.layer}" for site in sites]
    if not names or loaded.tokenizer is None:
        return
    batch = with_scales(probe_batch(loaded), plan.scales)
    outputs = [
        edited_outputs(loaded, plan, batch, bind(plan, batch.inputs, of_pass, loaded.name))[0]
        for of_pass in ([], [temperature(1, names)], [uniform(names)])
    ]
    if not agree(outputs[1], outputs[0]) or torch.equal(outputs[2], outputs[0]):
        raise ModelError(f"{loaded.name} cannot be edited: it does not use the result of softmax in {', '.join(names)}")


def _with_values(loaded: Loaded, plan: CapturePlan, edit: Edit) -> Edit:
    layers = heads_of_edit(edit, available_heads(plan), loaded.name)
    batches = list(encode(loaded, [Text(text) for text in edit.texts]))
    if edit.changes_output:
        sites = {key: site for key, site in gate_sites(plan).items() if key in layers}
        outputs = [_outputs_of(loaded, plan, batch, sites) for batch in batches]
        if edit.action == "mean":
            return replace(edit, values={key: _mean([of_text[key] for of_text in outputs]) for key in sites})
        return replace(edit, values={key: output[0] for key, output in outputs[0].items()})
    calls = [site for site in plan.sites if (site.kind, site.layer) in layers]
    return replace(edit, values=_weights_of(loaded, plan, batches[0], calls))


def _mean(outputs: Sequence[Tensor]) -> Tensor:
    """Return the mean over all tokens of all texts, [1, head, dim]."""
    total = torch.stack([output.sum((0, 1), dtype=torch.float64) for output in outputs]).sum(0)
    return (total / sum(output.shape[0] * output.shape[1] for output in outputs))[None].to(outputs[0].dtype)


def _outputs_of(
    loaded: Loaded, plan: CapturePlan, batch: Batch, sites: Mapping[LayerKey, Site]
) -> dict[LayerKey, Tensor]:
    """Return the outputs of all heads of some layers on a batch, each [batch, query, head, dim]."""
    outputs: dict[LayerKey, Tensor] = {}

    def keep(key: LayerKey, output: Tensor) -> Tensor:
        outputs[key] = output.detach().clone()
        return output

    shadow = Shadow(loaded.model)
    with head_outputs(shadow.model, sites, keep):
        edited_outputs(loaded, plan, batch, BoundEdits(), shadow=shadow)
    return outputs


def _weights_of(loaded: Loaded, plan: CapturePlan, batch: Batch, calls: Sequence[Site]) -> dict[LayerKey, Tensor]:
    """Return the weights of all heads of some calls on the first text of a batch, each [head, query, key]."""
    rows: dict[LayerKey, list[Tensor]] = {}
    edits = {}
    for site in calls:
        key = site.kind, site.layer
        rows[key] = []

        def keep(weights: Tensor, _rows: Span, _keys: Span, kept: list[Tensor] = rows[key]) -> Tensor:
            kept.append(weights[0].detach().clone())
            return weights

        where = torch.ones((1, site.heads, 1, 1), dtype=torch.bool)
        edits[site.key] = CallEdits(site.label, (WeightEdit("replace", where, change=keep),))
    edited_outputs(loaded, plan, batch, BoundEdits(edits))
    return {key: torch.cat(kept, 1) for key, kept in rows.items()}
